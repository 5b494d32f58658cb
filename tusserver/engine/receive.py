"""The body of one request on its way into an upload (floor 4).

Used by PATCH and by creation-with-upload, always under the lease: bytes, then commits, then,
when all bytes are there, the finish. Source: tus 1.0.0, "PATCH", "Checksum".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tusserver.account import note_append
from tusserver.body import ALGORITHMS, BodyEnd, Tap
from tusserver.caller import EVERYONE
from tusserver.engine.beginnings import Beginnings
from tusserver.engine.checkpoints import Checkpoints
from tusserver.errors import (
    AppendSuperseded,
    BodyTimeout,
    ChecksumMismatch,
    HeaderInvalid,
    InternalError,
    LengthExceeded,
    MaxSizeExceeded,
    RequestMalformed,
    ShuttingDown,
    StorageFault,
    TusError,
)
from tusserver.protocol.headers import parse_checksum
from tusserver.protocol.messages import Appended
from tusserver.protocol.rules import limits_of, window
from tusserver.upload import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from tusserver.body import Body, Running
    from tusserver.engine.falls import Falls
    from tusserver.engine.finish import Finisher
    from tusserver.engine.idle import IdleSync
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.work import Work
    from tusserver.ports import Lease, RequestInfo
    from tusserver.protocol.messages import Checksum
    from tusserver.upload import Limits, Upload

_ENDS: Mapping[BodyEnd, type[TusError]] = {
    BodyEnd.DISCONNECTED: RequestMalformed,
    BodyEnd.MALFORMED: RequestMalformed,
    BodyEnd.TIMEOUT: BodyTimeout,
    BodyEnd.SUPERSEDED: AppendSuperseded,
    BodyEnd.SHUTDOWN: ShuttingDown,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What is to be received: under which lease, into which record, how far."""

    work: Work
    lease: Lease
    record: Upload
    length: int | None
    """The length that holds once this body was accepted: stored or declared with it."""
    body: Body
    checksum: Checksum | None
    request: RequestInfo | None
    keeps_prefix: bool = True
    """Whether the fitting bytes of an over-long body count."""


class ReceiveFailed(Exception):
    """A body that did not end well, and the record as it was committed after it."""

    def __init__(self, error: TusError, record: Upload) -> None:
        """Join the error for the client and the record that holds now."""
        super().__init__(error)
        self.error = error
        self.record = record


class Receiver:
    """Receives bodies into leased uploads."""

    def __init__(
        self, parts: EngineParts, finisher: Finisher, idle: IdleSync, falls: Falls
    ) -> None:
        """Use the engine's parts; `finisher` does what follows the last byte."""
        self._parts = parts
        self._falls = falls
        self._late_fault = falls.note  # one for all appends
        self._idle = idle
        self._finisher = finisher
        self._beginnings = Beginnings(parts)

    async def receive(self, intake: Intake) -> Appended:
        """Store the body, commit, and finish the upload if all bytes are there.

        Raises ReceiveFailed with the committed record, for every way in which a body can fail.
        """
        limits = await self._limits_for(intake)
        intake = self._beginnings.wrap(intake)
        running = self._finisher.digests.resume(intake.record, intake.length)
        checkpoints = self._checkpoints(intake, limits, running)
        tap = _tap(intake.checksum, running)
        intake.work.begin(checkpoints)
        self._parts.slots.on_stop(intake.work, intake.body.stop)
        self._parts.meter.append_began(checkpoints)
        result: Appended | None = None
        failure: TusError | None = None
        try:
            await self._beginnings.check(intake)
            try:
                await self._storing(intake, checkpoints, tap)
            except LengthExceeded as error:
                too_long = MaxSizeExceeded(limits.max_size)
                failure = error if intake.length is not None else too_long
            except TusError as error:
                failure = error
            await checkpoints.settle()
            failure = checkpoints.error or intake.work.refusal or failure or _failure(intake.body)
            result = await self._conclude(intake, checkpoints, tap, failure)
        except TusError as error:
            failure = error
        finally:
            end = intake.body.end or BodyEnd.REFUSED
            self._parts.meter.append_ended(checkpoints, end.value)
            # Whatever happens: once the lease is let go, nothing may be committed.
            await checkpoints.end()
            self._idle.note(checkpoints.record)
            self._finisher.digests.keep(checkpoints.record, checkpoints.digest)
            note_append(intake.record.offset, checkpoints.record.offset)
        if failure is not None or result is None:
            raise ReceiveFailed(failure or InternalError(), checkpoints.record) from failure
        return result

    def _storing(
        self, intake: Intake, checkpoints: Checkpoints, tap: Tap | None
    ) -> Awaitable[object]:
        """Give what stores the body when it is awaited."""
        offset = intake.record.offset
        return self._parts.storage.append(
            intake.lease,
            intake.body,
            offset=offset,
            window=window(offset, intake.length, checkpoints.limits),
            tap=tap,
            progress=checkpoints,
        )

    async def _conclude(
        self,
        intake: Intake,
        checkpoints: Checkpoints,
        tap: Tap | None,
        failure: TusError | None,
    ) -> Appended:
        """Commit or finish what was stored, also when the body did not end well."""
        if checkpoints.error is not None:
            raise checkpoints.error
        if self._falls.is_due(intake.record.upload_id):
            raise StorageFault
        if isinstance(failure, LengthExceeded) and not intake.keeps_prefix:
            raise failure
        if intake.checksum is not None and tap is not None:
            try:
                _check_digest(intake, tap, failure)
            except TusError:
                checkpoints.discard()
                raise
            checkpoints.accept()
        if failure is not None and intake.length == 0:
            raise failure  # No byte came that would have to be kept.
        if checkpoints.position == intake.length:
            return await self._finisher.finish(
                intake.work, intake.lease, checkpoints, intake.request
            )
        await checkpoints.commit_rest()
        if checkpoints.error is not None:
            raise checkpoints.error
        return Appended(upload=checkpoints.record)

    def _checkpoints(self, intake: Intake, limits: Limits, running: Running | None) -> Checkpoints:
        return Checkpoints(
            self._parts,
            lease=intake.lease,
            record=intake.record,
            length=intake.length,
            limits=limits,
            body=intake.body,
            held_back=intake.checksum is not None,
            late_fault=self._late_fault,
            request=intake.request,
            running=running,
        )

    async def _limits_for(self, intake: Intake) -> Limits:
        """Give the limits for an upload: a part that a final upload needs does not expire."""
        request, upload = intake.request, intake.record
        caller = EVERYONE if request is None else request.caller
        limits = limits_of(caller, self._parts.limits)
        if upload.kind is Kind.PARTIAL and await self._parts.storage.pins(upload.upload_id):
            return replace(limits, expire_after=None)
        return limits


def _tap(checksum: Checksum | None, running: Running | None) -> Tap | None:
    if checksum is None:
        return None if running is None else Tap(whole=running)
    # Which digest a trailer will bring is not known before the end of the body.
    names = ALGORITHMS if checksum.digest is None else (checksum.algorithm,)
    return Tap(*names, whole=running)


def _check_digest(intake: Intake, tap: Tap, failure: TusError | None) -> None:
    """Prove that the whole body came and has the announced digest (tus 1.0.0, "Checksum")."""
    if failure is not None:
        raise failure
    announced = _announced(intake)
    if announced.digest is None or not tap.matches(announced.algorithm, announced.digest):
        raise ChecksumMismatch


def _announced(intake: Intake) -> Checksum:
    """Give the digest to compare with, from the header or else from the trailer."""
    checksum = intake.checksum
    if checksum is not None and checksum.digest is not None:
        return checksum
    trailer = intake.body.trailer("Upload-Checksum")
    if trailer is None:
        raise HeaderInvalid("Upload-Checksum", "announced as a trailer, but it did not come")
    return parse_checksum(trailer, tuple(ALGORITHMS))


def _failure(body: Body) -> TusError | None:
    """Give what is wrong with how the body ended, if anything is."""
    error = None if body.end is None else _ENDS.get(body.end)
    return None if error is None else error()
