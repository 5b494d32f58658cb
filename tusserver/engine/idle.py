"""Puts on the disk what an ended append left in the page cache (floor 4).

After 30 idle seconds, and at a graceful stop, every open upload this process wrote is synced.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tusserver.engine.work import Work
from tusserver.errors import StateUnavailable, StorageFault, TusError, UploadLocked
from tusserver.protocol.rules import after_sync
from tusserver.upload import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.engine.falls import Falls
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.takeover import Takeover
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
LOOK_EVERY = 5.0
TOGETHER = 8
"""Uploads synced at the same time."""
MAX_DIRTY = 4096
"""Uploads remembered; beyond it the one that is idle the longest is synced at once."""


class IdleSync:
    """Remembers uploads with unsynced bytes, and syncs them when they fall idle."""

    def __init__(self, parts: EngineParts, takeover: Takeover, falls: Falls) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._falls = falls
        self._dirty: dict[UploadId, float] = {}

    def note(self, upload: Upload) -> None:
        """Remember an upload whose append has ended."""
        self._dirty.pop(upload.upload_id, None)
        if self._is_unsynced(upload):
            self._dirty[upload.upload_id] = self._parts.clock.monotonic()

    def adopt(self, upload: Upload) -> None:
        """Remember an upload that another process may have left: killed, it syncs nothing."""
        here = upload.epoch == self._parts.storage.epoch
        if here and self._is_unsynced(upload) and len(self._dirty) < MAX_DIRTY:
            self._remember(upload.upload_id)

    def _is_unsynced(self, upload: Upload) -> bool:
        open_ = upload.status is Status.OPEN
        return open_ and upload.synced < upload.offset and self._parts.syncs

    def _remember(self, upload_id: UploadId) -> None:
        self._dirty.setdefault(upload_id, self._parts.clock.monotonic())

    async def run(self) -> None:
        """Look for idle uploads for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._sync_all(self._due())
            except Exception:
                logger.exception("syncing idle uploads failed; it goes on in %.0f s", LOOK_EVERY)

    def _due(self) -> list[UploadId]:
        idle_since = self._parts.clock.monotonic() - IDLE_SECONDS
        excess = len(self._dirty) - MAX_DIRTY
        return [
            upload_id
            for place, (upload_id, since) in enumerate(self._dirty.items())
            if since <= idle_since or place < excess
        ]

    async def sync_everything(self) -> None:
        """Sync all that is remembered: the last thing before a graceful stop."""
        await self._sync_all(list(self._dirty))

    async def _sync_all(self, upload_ids: list[UploadId]) -> None:
        """Sync some at a time: the file system makes one commit of what waits together."""
        waiting = iter(upload_ids)
        async with asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(self._sync_some(waiting))

    async def _sync_some(self, waiting: Iterator[UploadId]) -> None:
        for upload_id in waiting:
            self._dirty.pop(upload_id, None)
            done = False
            try:
                done = await self._sync(upload_id)
            except StorageFault:
                done = True
                logger.warning("upload %s could not be synced and falls back", upload_id)
            except StateUnavailable as error:
                logger.warning("idle uploads are not synced: %s", error.message)
                # The others need not ask: what is left stays remembered.
                for _ in waiting:
                    pass
            except TusError as error:
                logger.warning("upload %s is not synced: %s", upload_id, error.message)
            finally:
                if not done:
                    self._remember(upload_id)

    async def _sync(self, upload_id: UploadId) -> bool:
        """Sync one upload that nobody is writing; tell whether it is, or need not be.

        The sync itself needs no lease.
        """
        parts = self._parts
        upload, holder = await parts.records.load(upload_id)
        if upload is None or upload.status is not Status.OPEN:
            return True
        if holder is not None:
            return False
        try:
            await parts.storage.sync(upload_id)
        except StorageFault:
            self._falls.note(upload_id)
            raise
        try:
            return await self._note_synced(upload)
        except UploadLocked:
            return False

    async def _note_synced(self, upload: Upload) -> bool:
        """Commit that a sync has covered an upload; tell whether it needs no other one."""
        parts, upload_id = self._parts, upload.upload_id
        async with self._takeover.hold_if_free(Work(upload_id, chore=True)) as lease:
            if lease is None:
                return True
            current, _ = await parts.records.load(upload_id)
            # What was written after the sync had begun is not covered by it.
            if current is not None and current.version == upload.version:
                synced = after_sync(current, synced=upload.offset)
                await parts.records.commit(lease, synced, sync=True)
                return True
            return current is None or not self._is_unsynced(current)
