"""PATCH: bytes appended to an upload (floor 4; tus 1.0.0, "PATCH")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tusserver.caller import EVERYONE
from tusserver.engine.receive import Intake, ReceiveFailed
from tusserver.engine.work import Work
from tusserver.errors import DigestMismatch, LengthExceeded, TypeRefused, UploadLocked
from tusserver.protocol.messages import Appended
from tusserver.protocol.rules import check_append, check_offset, check_visible, limits_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.body import Body
    from tusserver.engine.falls import Falls
    from tusserver.engine.lost import Lost
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.receive import Receiver
    from tusserver.engine.remove import Remover
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import Lease, RequestInfo
    from tusserver.protocol.messages import Append
    from tusserver.upload import Upload, UploadId


class Appender:
    """Serves PATCH."""

    def __init__(
        self,
        parts: EngineParts,
        *,
        takeover: Takeover,
        receiver: Receiver,
        lost: Lost,
        falls: Falls,
        remover: Remover,
    ) -> None:
        """Use the engine's parts."""
        self._remover = remover
        self._parts = parts
        self._falls = falls
        self._takeover = takeover
        self._receiver = receiver
        self._lost = lost

    async def append(
        self,
        command: Append,
        body: Body,
        *,
        proceed: Callable[[], Awaitable[None]],
        request: RequestInfo | None,
    ) -> Appended:
        """Check, take the upload over, store the body; give the record after it.

        `proceed` is awaited once nothing stands against the body (it sends 100 Continue).
        Every TusError of the checks and of receiving may be raised.
        """
        work = Work(command.upload_id)
        with self._parts.slots.coming(work):
            upload, length = await self._look(command, request)
            if upload.is_complete:
                return await self._append_nothing(upload, command, body, proceed)
            async with (
                self._parts.quota.appending(_told(upload, command), body, length=length) as limited,
                self._takeover.hold(work) as held,
            ):
                lease = held or await self._recover(command.upload_id)
                known = None if held is None else upload
                try:
                    intake = await self._admit(
                        command, limited, work=work, lease=lease, known=known, request=request
                    )
                    if not isinstance(intake, Intake):
                        return await self._append_nothing(intake, command, limited, proceed)
                    await proceed()
                    # That may take hours: what was read before is not kept for as long.
                    del upload, known
                    return await self._receiver.receive(intake)
                except ReceiveFailed as failed:
                    is_wrong = isinstance(failed.error, TypeRefused | DigestMismatch)
                    if is_wrong or failed.error is work.refusal:
                        await self._remover.discard(work, lease, failed.record, request)
                    raise failed.error from failed
                finally:
                    if held is None:
                        await lease.release()

    async def _look(
        self, command: Append, request: RequestInfo | None
    ) -> tuple[Upload, int | None]:
        """Check what can be checked without the lease; give the upload, and its length if known.

        A running append goes on if this one is refused.
        """
        caller = EVERYONE if request is None else request.caller
        limits = limits_of(caller, self._parts.limits)
        upload, holder = await self._takeover.find(command.upload_id)
        check_visible(upload, caller)
        if command.upload_id in self._parts.slots.asking:
            raise UploadLocked
        length: int | None = None
        for _ in range(3):
            length = check_append(upload, command, limits)
            if upload.is_complete:
                break
            sight = await self._takeover.offset_for_append(upload, holder)
            if sight.offset is None and sight.waited:
                # Whoever held it has let go meanwhile: the record is the truth.
                upload, holder = await self._takeover.find(command.upload_id, known=upload)
                length = check_append(upload, command, limits)
            offset = upload.offset if sight.offset is None else sight.offset
            check_offset(command, limits, length=length, offset=offset)
            if not self._takeover.has_moved(command.upload_id):
                break
            upload, holder = await self._takeover.find(command.upload_id, known=upload)
        return upload, length

    async def _recover(self, upload_id: UploadId) -> Lease:
        """Take the lease of an upload without a data file: lost, or removed since."""
        upload, _ = await self._takeover.find(upload_id)
        return await self._lost.recover(upload)

    async def _admit(
        self,
        command: Append,
        body: Body,
        *,
        work: Work,
        lease: Lease,
        known: Upload | None,
        request: RequestInfo | None,
    ) -> Intake | Upload:
        """Check everything again under the lease; give the upload alone if it is complete."""
        caller = EVERYONE if request is None else request.caller
        limits = limits_of(caller, self._parts.limits)
        upload, _ = await self._takeover.find(command.upload_id, known=known)
        upload = await self._falls.settle(lease, upload)
        length = check_append(upload, command, limits)
        if upload.is_complete:
            return upload
        check_offset(command, limits, length=length, offset=upload.offset)
        return Intake(
            work=work,
            lease=lease,
            record=upload,
            length=length,
            body=body,
            checksum=command.checksum,
            request=request,
        )

    async def _append_nothing(
        self,
        upload: Upload,
        command: Append,
        body: Body,
        proceed: Callable[[], Awaitable[None]],
    ) -> Appended:
        """Answer a PATCH on a complete upload: fine, if it brings nothing (CORE-PATCH-12)."""
        check_offset(command, self._parts.limits, length=upload.length, offset=upload.offset)
        if command.body_length is None:
            await proceed()
            if await body.read():
                raise LengthExceeded
        return Appended(upload=upload)


def _told(upload: Upload, command: Append) -> Upload:
    """Give the record as it will be: its append, about to be stopped, told the offset."""
    return upload if upload.offset == command.offset else replace(upload, offset=command.offset)
