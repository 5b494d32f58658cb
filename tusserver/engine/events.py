"""Events that are told after something happened (floor 4).

The finish event is told at least once, over crashes, always with the same event id: the
record says whether it is pending, and the sweeper finds those that a crash left.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tusserver.errors import HookFailed, StorageFault, StorageFull, TusError, UploadLocked
from tusserver.ports import Event, EventKind
from tusserver.upload import EventState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tusserver.engine.parts import EngineParts
    from tusserver.ports import Holder, RequestInfo
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

RETRY_FIRST = 1.0
RETRY_LAST = 300.0
MAX_WAITING = 10_000
"""Deliveries that wait in memory; the sweeper finds the others again."""


class Events:
    """Delivers events to the application."""

    def __init__(self, parts: EngineParts) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._delivering: set[UploadId] = set()
        self._taken: set[str] = set()
        """Ids of events that were taken, which the record cannot say."""
        self._closing = asyncio.Event()

    def tell(self, kind: EventKind, upload: Upload, request: RequestInfo | None) -> None:
        """Tell of something that need not arrive: once, failures are logged."""
        hooks = self._parts.hooks
        if hooks.wants(kind):
            event = _event(kind, upload, request)
            self._parts.crew.start_job(hooks.after(event), name=f"{kind.value} hook")

    async def intend(self, kind: EventKind, upload: Upload, request: RequestInfo | None) -> None:
        """Note durably, for receivers, what is about to happen.

        `happened` or `doubtful` follows. Raises: StorageFull, StorageFault.
        """
        if self._parts.outbox.wants(kind):
            await self._parts.outbox.intend(_event(kind, upload, request))

    def happened(self, kind: EventKind, upload: Upload, request: RequestInfo | None) -> None:
        """Tell of what was intended."""
        self.tell(kind, upload, request)
        if self._parts.outbox.wants(kind):
            self._parts.outbox.confirm(_event(kind, upload, request))

    def doubtful(self, kind: EventKind, upload: Upload, request: RequestInfo | None) -> None:
        """Say that something came in between: the records tell whether it happened."""
        if self._parts.outbox.wants(kind):
            self._parts.outbox.doubt(_event(kind, upload, request))

    @asynccontextmanager
    async def about(
        self, kind: EventKind, upload: Upload, request: RequestInfo | None
    ) -> AsyncIterator[None]:
        """Tell of what the block does, once it is done. Raises what `intend` raises."""
        await self.intend(kind, upload, request)
        try:
            yield
        except BaseException:
            self.doubtful(kind, upload, request)
            raise
        self.happened(kind, upload, request)

    async def secure(self, upload: Upload) -> None:
        """Publish, and give a pending finish event to the outbox, before its record goes.

        Raises: StorageFull, StorageFault.
        """
        is_kept = self._parts.outbox.wants(EventKind.POST_FINISH)
        if upload.event is EventState.PENDING and (is_kept or self._parts.publisher is not None):
            await self._keep(upload, None)

    def deliver_soon(self, upload: Upload, request: RequestInfo | None = None) -> None:
        """Deliver a pending finish event, trying again until it was taken."""
        if upload.event is not EventState.PENDING or upload.upload_id in self._delivering:
            return
        if upload.event_id in self._taken:
            return
        if not self._parts.wants(EventKind.POST_FINISH):
            return  # It waits for a process that has a listener.
        if len(self._delivering) >= MAX_WAITING or self._closing.is_set():
            return
        self._delivering.add(upload.upload_id)
        work = self._deliver(upload, request)
        self._parts.crew.start_job(work, name=f"finish of {upload.upload_id}")

    async def _keep(self, upload: Upload, request: RequestInfo | None) -> Event:
        """Publish the file, give the finish event its final form, and that to the outbox."""
        published = ""
        if self._parts.publisher is not None:
            data = self._parts.storage.segment(upload.upload_id, upload.offset).path
            published = await self._parts.publisher.publish(upload, data)
        event = Event(EventKind.POST_FINISH, upload, upload.event_id, request, published)
        if self._parts.outbox.wants(EventKind.POST_FINISH):
            await self._parts.outbox.put(event)
        return event

    async def _deliver(self, upload: Upload, request: RequestInfo | None) -> None:
        event: Event | None = None
        pause = RETRY_FIRST
        try:
            if request is None and not await self._is_pending(upload.upload_id):
                return  # It was told while the record was on its way from a list.
            while not self._closing.is_set():
                try:
                    event = event or await self._keep(upload, request)
                    await self._parts.hooks.after(event)
                except (HookFailed, StorageFault, StorageFull) as error:
                    logger.warning(
                        "upload %s: post-finish failed, next try in %.0f s: %s",
                        upload.upload_id,
                        pause,
                        error.message,
                    )
                    await self._sleep(pause)
                    pause = min(pause * 2, RETRY_LAST)
                else:
                    await self._mark_sent(upload.upload_id)
                    return
        finally:
            self._delivering.discard(upload.upload_id)

    async def _is_pending(self, upload_id: UploadId) -> bool:
        try:
            upload, _ = await self._parts.records.load(upload_id)
        except TusError:
            return True
        return upload is None or upload.event is EventState.PENDING

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _mark_sent(self, upload_id: UploadId) -> None:
        """Record that the event was taken; if that fails it is told again, with the same id."""
        parts = self._parts
        try:
            lease = await parts.storage.lease(upload_id, on_contended=_wait, timeout=2.0)
            if lease is None:
                await self._note_lost(upload_id)
                return
            try:
                upload, _ = await parts.records.load(upload_id)
                if upload is not None and upload.event is EventState.PENDING:
                    await parts.records.commit(lease, upload.next(event=EventState.SENT))
            finally:
                await lease.release()
        except UploadLocked:
            logger.info("upload %s: its finish event may be told again", upload_id)
        except TusError as error:
            logger.warning(
                "upload %s: its finish event will be told again: %s", upload_id, error.message
            )

    async def _note_lost(self, upload_id: UploadId) -> None:
        """Remember whose event was taken where there is no file whose lock the record needs."""
        upload, _ = await self._parts.records.load(upload_id)
        if upload is not None and upload.is_complete and len(self._taken) < MAX_WAITING:
            self._taken.add(upload.event_id)
            logger.warning(
                "upload %s: its data file is gone since it was complete, so that its finish event "
                "was taken is forgotten at the end of this process: copy or publish files instead "
                "of moving them, or remove the upload",
                upload_id,
            )

    def close(self) -> None:
        """Stop trying; what is pending is told after the next start."""
        self._closing.set()


def _event(kind: EventKind, upload: Upload, request: RequestInfo | None) -> Event:
    """Make an event that comes but once in an upload's life."""
    return Event(kind, upload, f"{upload.upload_id}-{kind.value}", request)


async def _wait(_holder: Holder | None) -> None:
    """Wait for the holder without asking it for anything."""
