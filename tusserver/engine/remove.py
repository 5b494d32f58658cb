"""DELETE, and what else makes an upload go away (floor 4; tus 1.0.0, "Termination").

Order: lease, removal mark in ledger and state, files, the record. A crash in between leaves
the mark; start-up and sweeper finish what it says.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tusserver.caller import EVERYONE
from tusserver.engine.finish import accepted
from tusserver.engine.work import Phase, Work
from tusserver.errors import PartPinned, TusError, UploadLocked, UploadNotFound
from tusserver.ports import Decision, Event, EventKind
from tusserver.protocol.messages import Terminated
from tusserver.protocol.rules import check_exists, check_visible
from tusserver.upload import Kind, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tusserver.engine.events import Events
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import Lease, RequestInfo
    from tusserver.upload import Upload, UploadId


class Remover:
    """Removes uploads, never under a running writer."""

    def __init__(self, parts: EngineParts, takeover: Takeover, events: Events) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._events = events

    async def terminate(self, upload_id: UploadId, *, request: RequestInfo | None) -> Terminated:
        """Stop a running append and remove the upload.

        Raises: UploadNotFound, PartPinned, Rejected, HookFailed, UploadLocked.
        """
        caller = EVERYONE if request is None else request.caller
        upload = check_visible(await self._find(upload_id), caller)
        await self._check_pins(upload)
        # Whoever is appending is only disturbed once nothing stands against the removal.
        async with self._hook_phase(upload_id):
            await self._consent(upload, request)
        work = Work(upload_id)
        async with self._takeover.hold(work) as lease:
            upload = await self._find(upload_id)
            await self._check_pins(upload)
            await self.discard(work, lease, upload, request)
        return Terminated()

    async def evict(self, upload_id: UploadId) -> Upload:
        """Remove an upload for the operator; give the record that it had.

        No hook can refuse that, and what clients no longer see goes too: an expired upload, an
        invalid one. A running append is stopped. Raises: UploadNotFound, PartPinned,
        UploadLocked.
        """
        work = Work(upload_id)
        async with self._takeover.hold(work) as lease:
            upload, _ = await self._parts.records.load(upload_id)
            if upload is None:
                raise UploadNotFound
            await self._check_pins(upload)
            await self.discard(work, lease, upload, None)
        return upload

    async def discard(
        self, work: Work, lease: Lease | None, upload: Upload, request: RequestInfo | None
    ) -> None:
        """Remove an upload for a request, and tell of it. Holds the lease, as `erase` does."""
        work.phase = Phase.FINISHING
        await self._events.secure(upload)  # the finish is told before the end
        async with self._events.about(EventKind.POST_TERMINATE, upload, request):
            await self.erase(lease, upload, sync=self._parts.strict)
        self._parts.meter.upload_terminated(upload.kind)

    async def erase(self, lease: Lease | None, upload: Upload, *, sync: bool = False) -> None:
        """Remove an upload whatever its state. Holds the lease, which is gone afterwards.

        With `sync` no power cut brings it back: its mark is on the disk before its files go.

        Without a lease there is no data file, and one is made for its lock. Raises: UploadLocked
        if somebody else makes it.
        """
        parts = self._parts
        await self._events.secure(upload)
        # The finish of one that is not assembled was never told.
        is_done = upload.is_complete and upload.assembled
        ends_grant = is_done and upload.kind is not Kind.PARTIAL
        if ends_grant:
            await self._note_use(upload)
        if upload.status is not Status.REMOVED:
            # Already expired, the mark is found by who sweeps, also without a ledger.
            upload = upload.next(status=Status.REMOVED, expires_at=parts.now())
        # A length that needs no space: the disk may be full.
        lease = lease or await parts.storage.revive(replace(upload, length=upload.offset))
        if lease is None:
            raise UploadLocked
        try:
            await parts.records.commit(lease, upload, sync=sync)
            await parts.storage.remove(lease)
        finally:
            await lease.release()
        await parts.records.drop(upload.upload_id)
        if parts.publisher is not None:
            await parts.publisher.forget(upload.upload_id)
        if upload.kind is Kind.FINAL:
            for part_id in set(upload.parts):
                await parts.storage.unpin(part_id, upload.upload_id)
        if not ends_grant:
            await self._strike_out(upload)

    async def _note_use(self, upload: Upload) -> None:
        """Remember that a signed URL has had its upload, when nothing else will tell any more."""
        book = self._parts.grants
        if book is not None and upload.grant:
            async with book.page(upload.grant) as page:
                page.used = True

    async def _strike_out(self, upload: Upload) -> None:
        """Let an upload that is gone take no room of its signed URL any more."""
        book = self._parts.grants
        if book is None or not upload.grant:
            return
        with suppress(TusError):  # It counts no more after a minute.
            async with book.page(upload.grant) as page:
                page.entries = [e for e in page.entries if e.upload_id != upload.upload_id]

    async def is_pinned(self, upload: Upload) -> bool:
        """Tell whether a final upload that is not yet assembled needs this part."""
        if upload.kind is not Kind.PARTIAL:
            return False
        parts = self._parts
        for final_id in await parts.storage.pins(upload.upload_id):
            final, _ = await parts.records.load(final_id)
            alive = final is not None and final.status.rank <= Status.COMPLETE.rank
            if final is not None and alive and not final.assembled:
                return True
            await parts.storage.unpin(upload.upload_id, final_id)
        return False

    async def _check_pins(self, upload: Upload) -> None:
        if await self.is_pinned(upload):
            raise PartPinned

    async def _find(self, upload_id: UploadId) -> Upload:
        upload, _ = await self._parts.records.load(upload_id)
        return check_exists(upload, self._parts.now())

    @asynccontextmanager
    async def _hook_phase(self, upload_id: UploadId) -> AsyncIterator[None]:
        asking = self._parts.slots.asking
        if upload_id in asking:
            raise UploadLocked
        asking.add(upload_id)
        try:
            yield
        finally:
            asking.discard(upload_id)

    async def _consent(self, upload: Upload, request: RequestInfo | None) -> None:
        hooks = self._parts.hooks
        if hooks.wants(EventKind.PRE_TERMINATE):
            event_id = f"{upload.upload_id}-{EventKind.PRE_TERMINATE.value}"
            event = Event(EventKind.PRE_TERMINATE, upload, event_id, request)
            decision: Decision = await hooks.before(event)
            accepted(decision)
