"""What follows the last byte of an upload (floor 4).

Order: the application's consent, fdatasync of the data, the ledger with offset = length and
the finish event pending (synced), the state, the answer; then the event, at least once.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tusserver.engine.digest import Digests
from tusserver.engine.work import Phase
from tusserver.errors import Rejected, StateUnavailable, StorageFault
from tusserver.ports import Decision, Event, EventKind
from tusserver.protocol.messages import Appended, Extras
from tusserver.protocol.rules import after_finish
from tusserver.upload import Kind

if TYPE_CHECKING:
    from tusserver.engine.checkpoints import Checkpoints
    from tusserver.engine.concat import Concatenation
    from tusserver.engine.events import Events
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.work import Work
    from tusserver.ports import Lease, RequestInfo
    from tusserver.upload import Limits, Upload


_GO_ON = Decision()


class Finisher:
    """Finishes uploads whose bytes are all there."""

    def __init__(self, parts: EngineParts, events: Events) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._events = events
        self.digests = Digests(parts)
        self.concatenation: Concatenation | None = None
        """Told of finished parts; set by the engine, which makes the two."""

    async def finish(
        self,
        work: Work,
        lease: Lease,
        checkpoints: Checkpoints,
        request: RequestInfo | None,
    ) -> Appended:
        """Finish an upload whose last byte is in the file. Holds the lease.

        Raises: HookFailed or Rejected (the upload stays open, one commit before its end),
        StorageFault, StateUnavailable, DigestMismatch (the file is not what the client meant).
        """
        parts, length = self._parts, checkpoints.position
        digest = await self.digests.conclude(work, checkpoints)
        decision = _GO_ON
        if self._asks(checkpoints.record):
            shown = self._finished(checkpoints, length, digest)
            decision = await self.consent(work, shown, request, checkpoints=checkpoints)
        work.phase = Phase.FINISHING
        await checkpoints.sync_outcome()
        await checkpoints.end()
        await parts.storage.trim(lease, length)
        if parts.syncs:
            try:
                await parts.storage.sync(work.upload_id)
            except StorageFault:
                await checkpoints.fall_back()
                raise
        upload = self._finished(checkpoints, length, digest)
        try:
            await self.commit(lease, upload, request)
        except StateUnavailable:
            checkpoints.record = upload
            raise
        checkpoints.record = upload
        return Appended(upload=upload, extras=Extras(headers=decision.headers, body=decision.body))

    def _finished(self, checkpoints: Checkpoints, length: int, digest: str) -> Upload:
        finished = self.finished(checkpoints.record, length, limits=checkpoints.limits)
        return finished if digest == finished.digest else finished.changed(digest=digest)

    def finished(self, upload: Upload, length: int, *, limits: Limits | None = None) -> Upload:
        """Give the record that the finish will commit; `limits` hold instead of the engine's."""
        parts = self._parts
        return after_finish(
            upload,
            length=length,
            synced=parts.syncs,
            event_id=secrets.token_hex(16) if parts.wants_finish_event(upload) else "",
            epoch=parts.storage.epoch,
            now=parts.now(),
            limits=limits or parts.limits,
        )

    async def commit(
        self, lease: Lease, upload: Upload, request: RequestInfo | None = None
    ) -> None:
        """Commit a finished upload and set off what follows from it."""
        parts = self._parts
        try:
            await parts.records.commit(lease, upload, sync=parts.syncs)
        except StateUnavailable:
            # The ledger has it, durably: it is finished, whatever the state store knows.
            self._follow_up(upload, request)
            raise
        self._follow_up(upload, request)

    def _follow_up(self, upload: Upload, request: RequestInfo | None) -> None:
        self._parts.meter.upload_finished(upload.kind)
        if upload.kind is Kind.PARTIAL:
            if self.concatenation is not None:
                self.concatenation.part_finished(upload.upload_id)
        else:
            self._events.deliver_soon(upload, request)

    def _asks(self, upload: Upload) -> bool:
        """Tell whether the application is asked before this upload is finished."""
        return upload.kind is not Kind.PARTIAL and self._parts.hooks.wants(EventKind.PRE_FINISH)

    async def consent(
        self,
        work: Work,
        upload: Upload,
        request: RequestInfo | None,
        *,
        checkpoints: Checkpoints | None = None,
    ) -> Decision:
        """Ask the application before an upload is finished (not for parts: CAT-19).

        What is received is committed first, but for the last byte: a hook may take long.
        Raises: HookFailed, Rejected.
        """
        if not self._asks(upload):
            return _GO_ON
        if checkpoints is not None:
            await checkpoints.commit_rest()
            if checkpoints.error is not None:
                raise checkpoints.error
        work.phase = Phase.HOOK
        event_id = upload.event_id or f"{upload.upload_id}-finish"
        event = Event(EventKind.PRE_FINISH, upload, event_id, request)
        return accepted(await self._parts.hooks.before(event))


def accepted(decision: Decision) -> Decision:
    """Give a decision that goes on; raise Rejected for one that does not."""
    if decision.reject is not None:
        status, text = decision.reject
        headers = tuple(decision.headers.items())
        raise Rejected(status, text, headers=headers, body=decision.body)
    return decision
