"""POST: new uploads, with or without their first bytes (floor 4; tus 1.0.0, "Creation")."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd, NoBody
from tusserver.caller import EVERYONE
from tusserver.engine.finish import accepted
from tusserver.engine.granted import AlreadyMade
from tusserver.engine.receive import Intake, ReceiveFailed
from tusserver.engine.work import Work
from tusserver.errors import (
    ChecksumMismatch,
    DigestMismatch,
    HeaderInvalid,
    LengthExceeded,
    MaxSizeExceeded,
    Rejected,
    TusError,
    TypeRefused,
    UploadLocked,
)
from tusserver.ports import Decision, Event, EventKind
from tusserver.protocol.headers import format_metadata
from tusserver.protocol.messages import Created, Extras
from tusserver.protocol.rules import check_create, expires_at, limits_of
from tusserver.upload import MAX_INTEGER, IdTaken, Kind, Status, Upload, new_upload_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from tusserver.body import Body
    from tusserver.caller import Caller
    from tusserver.engine.clearing import Clearing
    from tusserver.engine.concat import Concatenation
    from tusserver.engine.events import Events
    from tusserver.engine.granted import Granted
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.receive import Receiver
    from tusserver.engine.remove import Remover
    from tusserver.ports import Lease, RequestInfo
    from tusserver.protocol.messages import Create
    from tusserver.upload import UploadId

_NO_CHANGES = Decision()


class Creator:
    """Serves POST."""

    def __init__(
        self,
        parts: EngineParts,
        *,
        receiver: Receiver,
        remover: Remover,
        concatenation: Concatenation,
        events: Events,
        granted: Granted,
        clearing: Clearing,
    ) -> None:
        """Use the engine's parts."""
        self._granted = granted
        self._clearing = clearing
        self._parts = parts
        self._receiver = receiver
        self._remover = remover
        self._concatenation = concatenation
        self._events = events

    async def create(
        self,
        command: Create,
        body: Body,
        *,
        proceed: Callable[[], Awaitable[None]],
        request: RequestInfo | None,
    ) -> Created:
        """Make an upload, and store its first bytes if the request brings some.

        Raises: MaxSizeExceeded, LengthExceeded, StorageStalled, StorageFull, StateUnavailable,
        Rejected, HookFailed, ChecksumMismatch, DigestMismatch, HeaderInvalid (a digest in the
        metadata that cannot be read), TypeRefused, what `Granted.admit` and `Quota.admit` raise
        (nothing is created), and for a final upload what `Concatenation.create` raises.
        """
        caller = _caller(request)
        if not command.partial:
            self._parts.kinds.check_metadata(command.metadata, caller)
        self._parts.digests.expected(command.metadata)  # refuses what it cannot read
        check_create(command, limits_of(caller, self._parts.limits))
        self._parts.storage.check_answers()
        upload, decision = await self._new_upload(command, caller, request)

        async def admit(admitted: Upload) -> None:
            await self._granted.admit(admitted, caller, request)
            await self._parts.quota.admit(admitted)
            await self._events.intend(EventKind.POST_CREATE, admitted, request)

        try:
            if command.parts:
                created = await self._concatenation.create(
                    command, upload, admit=admit, request=request
                )
            else:
                await admit(upload)
                created = await self._create_single(
                    command, upload, body, proceed=proceed, request=request
                )
        except AlreadyMade as made:
            return Created(upload=made.upload, extras=Extras(headers=decision.headers))
        except IdTaken:
            # What is noted of the id belongs to whoever was given it, too.
            raise UploadLocked("An upload with this id is just being made.") from None
        except BaseException:
            # Nothing came of it that would count.
            self._parts.quota.note(replace(upload, status=Status.REMOVED))
            self._events.doubtful(EventKind.POST_CREATE, upload, request)
            await self._granted.give_back(upload)
            raise
        self._parts.meter.upload_created(created.upload.kind)
        self._events.happened(EventKind.POST_CREATE, created.upload, request)
        if decision is _NO_CHANGES:
            return created
        extras = Extras(
            headers={**decision.headers, **created.extras.headers},
            body=created.extras.body or decision.body,
        )
        return replace(created, extras=extras)

    async def _new_upload(
        self, command: Create, caller: Caller, request: RequestInfo | None
    ) -> tuple[Upload, Decision]:
        """Make the record, and ask the application for its consent."""
        parts, now = self._parts, self._parts.now()
        kind = Kind.PARTIAL if command.partial else Kind.SINGLE
        upload = Upload(
            upload_id=new_upload_id(),
            created_at=now,
            length=None if command.parts else command.length,
            epoch=parts.storage.epoch,
            metadata=command.metadata,
            kind=Kind.FINAL if command.parts else kind,
            parts=tuple(part.upload_id for part in command.parts),
            concat=command.concat,
            assembled=not command.parts,
            expires_at=expires_at(kind, Status.OPEN, now, parts.limits),
            owner=caller.owner or "",
            grant=caller.grant,
        )
        if not parts.hooks.wants(EventKind.PRE_CREATE):
            return upload, _NO_CHANGES
        event_id = f"{upload.upload_id}-{EventKind.PRE_CREATE.value}"
        shown = await self._with_length(upload)
        event = Event(EventKind.PRE_CREATE, shown, event_id, request)
        decision = accepted(await parts.hooks.before(event))
        if decision.metadata is not None:
            upload = replace(upload, metadata=format_metadata(decision.metadata))
        if decision.upload_id is not None:
            upload = replace(upload, upload_id=decision.upload_id)
            await self._check_free(upload.upload_id)
        return upload, decision

    async def _check_free(self, upload_id: UploadId) -> None:
        """Refuse an id that the application gave before. Raises: Rejected."""
        found, _ = await self._parts.records.load(upload_id)
        if found is None:
            await self._parts.records.drop(upload_id)  # What the state store kept of another.
        if found is not None and found.is_unmade and (await self._clearing.clear(upload_id)).goes:
            found = None  # A crash broke that off.
        if found is not None:
            raise Rejected(409, "There is an upload with the id that the application gave.")
        if self._parts.publisher is not None:
            # A crash may have come between the end of an upload and that of what was noted of it.
            await self._parts.publisher.forget(upload_id)

    async def _with_length(self, upload: Upload) -> Upload:
        """Give a new upload as the application is shown it: a final one as long as its parts."""
        if not upload.parts:
            return upload
        found = await self._concatenation.load_parts(upload)
        lengths = [part.length for part in found if part is not None and part.length is not None]
        is_known = len(lengths) == len(upload.parts) and 0 < sum(lengths) <= MAX_INTEGER
        return replace(upload, length=sum(lengths)) if is_known else upload

    async def _create_single(
        self,
        command: Create,
        upload: Upload,
        body: Body,
        *,
        proceed: Callable[[], Awaitable[None]],
        request: RequestInfo | None,
    ) -> Created:
        parts = self._parts
        work = Work(upload.upload_id)
        # Refused before anything is made: a client that gets 429 begins anew.
        async with self._brought(command, upload, body) as brought, parts.slots.turn(work):
            max_size = limits_of(_caller(request), parts.limits).max_size
            lease = await parts.storage.create(upload, sync=parts.strict, max_size=max_size)
            try:
                await self._add(lease, upload)
                if not command.has_body and upload.length != 0:
                    return Created(upload=upload)
                if command.has_body:
                    await proceed()
                intake = Intake(
                    work=work,
                    lease=lease,
                    record=upload,
                    length=upload.length,
                    body=brought,
                    checksum=command.checksum if command.has_body else None,
                    request=request,
                    keeps_prefix=False,
                )
                return await self._receive(intake, with_body=command.has_body)
            finally:
                await lease.release()

    def _brought(
        self, command: Create, upload: Upload, body: Body
    ) -> AbstractAsyncContextManager[Body]:
        """Give the upload data that a creation brings, if any, kept to the quota."""
        if not command.has_body:
            return nullcontext(NoBody())
        return self._parts.quota.appending(upload, body, length=upload.length)

    async def _add(self, lease: Lease, upload: Upload) -> None:
        """Make the upload known; leave nothing behind if that fails."""
        try:
            await self._parts.records.add(upload)
        except TusError:
            await self._parts.storage.remove(lease)
            raise

    async def _receive(self, intake: Intake, *, with_body: bool) -> Created:
        """Receive the first bytes. The upload exists: the client is to learn its URL.

        Only what the client must correct, and what made nothing of an empty upload, is an error.
        """
        try:
            result = await self._receiver.receive(intake)
        except ReceiveFailed as failed:
            refused = isinstance(
                failed.error,
                ChecksumMismatch
                | DigestMismatch
                | LengthExceeded
                | MaxSizeExceeded
                | HeaderInvalid
                | TypeRefused,
            )
            # What is finished is so also where only the ledger knows; what is unmade looks so.
            record = failed.record
            stays = record.is_complete or (with_body and not record.is_unmade)
            if refused or not stays:
                await self._remover.erase(intake.lease, record)
                raise failed.error from failed
            close = intake.body.end is not BodyEnd.COMPLETE
            return Created(upload=record, with_body=with_body, close=close)
        return Created(upload=result.upload, with_body=with_body, extras=result.extras)


def _caller(request: RequestInfo | None) -> Caller:
    return EVERYONE if request is None else request.caller
