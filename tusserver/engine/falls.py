"""Uploads whose sync failed (floor 4; docs/architecture.md, "Durability").

The kernel tells of a lost write once. From then on only what was synced before is known to be
there: the offset falls back to it, before anybody writes on, however long that takes. The file is
cut there as well: the kernel keeps what it could not write in memory as if it had, and what is
written over such pages may never come to the disk although the next sync succeeds (ext4 does not
mark the blocks as written any more).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tusserver.engine.work import Work
from tusserver.errors import TusError
from tusserver.protocol.rules import after_fault
from tusserver.upload import Status

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import Lease
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Falls:
    """Remembers which uploads are to fall back, and lets them."""

    def __init__(self, parts: EngineParts, takeover: Takeover) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._due: set[UploadId] = set()

    def note(self, upload_id: UploadId) -> None:
        """Let an upload fall back as soon as its lease can be had."""
        if upload_id not in self._due:
            self._due.add(upload_id)
            self._parts.crew.start_job(self._fall(upload_id), name=f"fall of {upload_id}")

    def is_due(self, upload_id: UploadId) -> bool:
        """Tell whether an upload has yet to fall back: it must not be finished."""
        return upload_id in self._due

    async def settle(self, lease: Lease, upload: Upload) -> Upload:
        """Let an upload fall back if it is to; give the record that holds. Holds the lease."""
        if upload.upload_id in self._due:
            if upload.status is Status.OPEN:
                if upload.offset > upload.synced:
                    upload = after_fault(upload)
                    await self._parts.records.commit(lease, upload)
                await self._parts.storage.trim(lease, upload.offset)
            self._due.discard(upload.upload_id)
        return upload

    async def _fall(self, upload_id: UploadId) -> None:
        while upload_id in self._due:
            try:
                async with self._takeover.hold(Work(upload_id, chore=True)) as lease:
                    upload, _ = await self._parts.records.load(upload_id)
                    if lease is None or upload is None:
                        self._due.discard(upload_id)
                    else:
                        await self.settle(lease, upload)
            except TusError as error:
                logger.warning(
                    "upload %s: its sync failed, and its offset could not be taken back yet: %s",
                    upload_id,
                    error.message,
                )
                if self._parts.slots.is_stopping:
                    return
                await asyncio.sleep(RETRY_SECONDS)
