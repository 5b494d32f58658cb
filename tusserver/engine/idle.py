"""Puts on the disk what an ended append left in the page cache (floor 4).

After 30 idle seconds, and at a graceful stop, every open upload this process wrote is synced.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tusserver.engine.work import Work
from tusserver.errors import StorageFault, TusError
from tusserver.protocol.rules import after_fault, after_sync
from tusserver.upload import Status

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.takeover import Takeover
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
LOOK_EVERY = 5.0
MAX_DIRTY = 4096
"""Uploads remembered; beyond it the one that is idle the longest is synced at once."""


class IdleSync:
    """Remembers uploads with unsynced bytes, and syncs them when they fall idle."""

    def __init__(self, parts: EngineParts, takeover: Takeover) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._dirty: dict[UploadId, float] = {}

    def note(self, upload: Upload) -> None:
        """Remember an upload whose append has ended."""
        self._dirty.pop(upload.upload_id, None)
        unsynced = upload.status is Status.OPEN and upload.synced < upload.offset
        if unsynced and self._parts.syncs:
            self._dirty[upload.upload_id] = self._parts.clock.monotonic()

    def fall_back_soon(self, upload_id: UploadId) -> None:
        """Let an upload fall back to what was synced: a sync failed after its append."""
        self._parts.crew.start_job(self._fall_back(upload_id), name=f"fall of {upload_id}")

    async def _fall_back(self, upload_id: UploadId) -> None:
        async with self._takeover.hold(Work(upload_id)) as lease:
            upload, _ = await self._parts.records.load(upload_id)
            if lease is not None and upload is not None and upload.status is Status.OPEN:
                await self._parts.records.commit(lease, after_fault(upload))

    async def run(self) -> None:
        """Look for idle uploads for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            idle_since = self._parts.clock.monotonic() - IDLE_SECONDS
            excess = len(self._dirty) - MAX_DIRTY
            due = [
                upload_id
                for place, (upload_id, since) in enumerate(self._dirty.items())
                if since <= idle_since or place < excess
            ]
            await self._sync_all(due)

    async def sync_everything(self) -> None:
        """Sync all that is remembered: the last thing before a graceful stop."""
        await self._sync_all(list(self._dirty))

    async def _sync_all(self, upload_ids: list[UploadId]) -> None:
        for upload_id in upload_ids:
            self._dirty.pop(upload_id, None)
            try:
                await self._sync(upload_id)
            except TusError as error:
                logger.warning("upload %s is not synced: %s", upload_id, error.message)

    async def _sync(self, upload_id: UploadId) -> None:
        """Sync one upload that nobody is writing; the sync itself needs no lease."""
        parts = self._parts
        upload, holder = await parts.records.load(upload_id)
        if upload is None or holder is not None or upload.status is not Status.OPEN:
            return
        fault: StorageFault | None = None
        try:
            await parts.storage.sync(upload_id)
        except StorageFault as error:
            fault = error
        async with self._takeover.hold_if_free(Work(upload_id)) as lease:
            if lease is None:
                return  # Somebody goes on writing: the sync is theirs now.
            current, _ = await parts.records.load(upload_id)
            if current is None or current.status is not Status.OPEN:
                return
            if fault is not None:
                await parts.records.commit(lease, after_fault(current))
                raise fault
            await parts.records.commit(lease, after_sync(current, synced=upload.offset), sync=True)
