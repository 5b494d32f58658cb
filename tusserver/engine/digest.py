"""The digest of the whole file (floor 4; RFC 9530, section 3).

Computed while the bytes come, and kept in memory between the requests of one process. Where that
is not possible (another process had the upload, a restart, an offset that fell back, a file made
of parts) the finished file is read once, by two threads for all uploads.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.body import Running
from tusserver.engine.work import Phase
from tusserver.errors import (
    AppendSuperseded,
    DigestMismatch,
    HeaderInvalid,
    ShuttingDown,
    StorageFault,
)
from tusserver.protocol.digests import format_digest

if TYPE_CHECKING:
    from tusserver.engine.checkpoints import Checkpoints
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.work import Work
    from tusserver.ports import Segment
    from tusserver.protocol.messages import Checksum
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

MAX_KEPT = 4096
"""Digests kept between requests, about a KiB each; the longest unused are forgotten first."""
READERS = 2
STEP = 64 * 1024 * 1024
"""Bytes that a thread reads before the next file has its turn."""
PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    """A digest that waits for the next request, and the record whose bytes it covers."""

    running: Running
    epoch: str
    version: int

    def continues(self, record: Upload) -> bool:
        """Tell whether the bytes before the record's offset are those that were hashed.

        An offset that fell back may have come here again with other bytes. That takes two commits
        at least; a sync in between is one, and leaves nothing unsynced.
        """
        commits = record.version - self.version
        untouched = commits == 0 or (commits == 1 and record.synced == record.offset)
        return untouched and record.epoch == self.epoch and record.offset == self.running.offset


class Digests:
    """Computes the digests of uploads, and compares them with what clients say."""

    def __init__(self, parts: EngineParts) -> None:
        """Use the engine's parts; no thread is made before one is needed."""
        self._parts = parts
        self._kept: OrderedDict[UploadId, _Kept] = OrderedDict()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="tusserver-digest")

    async def close(self) -> None:
        """Wait for the threads, which end with their step."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    # --- while bytes come ----------------------------------------------------------------

    def resume(self, record: Upload, length: int | None) -> Running | None:
        """Give the digest of what is there, to be carried on; None if none is wanted or known."""
        kept = self._kept.pop(record.upload_id, None)
        wanted = self._wanted(record)
        if not wanted:
            return None
        if record.offset == 0:
            running = Running(wanted)
        elif kept is not None and kept.continues(record):
            running = kept.running
        else:
            return None
        running.length = length
        return running

    def keep(self, record: Upload, running: Running | None) -> None:
        """Keep the digest of what was committed for the next request."""
        if running is None or record.status.rank or running.offset != record.offset:
            return
        if record.offset:
            self._kept[record.upload_id] = _Kept(running, record.epoch, record.version)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def _wanted(self, upload: Upload) -> set[str]:
        """Name the algorithms by which an upload is to be hashed."""
        told = self._parts.digests.told(upload)
        return {checksum.algorithm for checksum in self._expected(upload)} | ({told} - {""})

    def _expected(self, upload: Upload) -> tuple[Checksum, ...]:
        try:
            return self._parts.digests.expected(upload.metadata)
        except HeaderInvalid:
            # Refused when it comes from a client: it was made before, or is the application's.
            return ()

    # --- when all are there --------------------------------------------------------------

    async def conclude(self, work: Work, checkpoints: Checkpoints) -> str:
        """Give the digest of an upload whose bytes are all in its file. Holds the lease.

        When the file has to be read, what is received is committed first, but for the last byte:
        it may take long. Raises: DigestMismatch, StorageFault, ShuttingDown.
        """
        upload, length = checkpoints.record, checkpoints.position
        wanted = self._wanted(upload)
        if not wanted:
            return ""
        running = checkpoints.hashed(length)
        if running is None:
            await checkpoints.commit_rest()
            if checkpoints.error is not None:
                raise checkpoints.error
            work.phase = Phase.FINISHING
            running = await self._read(upload.upload_id, length, wanted)
        return self._checked(upload, running)

    async def of_joined(self, work: Work, final: Upload) -> str:
        """Give the digest of a final upload that was put together. Holds the lease.

        Raises: DigestMismatch, StorageFault, ShuttingDown, AppendSuperseded (it is removed).
        """
        wanted = self._wanted(final)
        if not wanted:
            return ""
        running = await self._read(final.upload_id, final.offset, wanted, work=work)
        return self._checked(final, running)

    def _checked(self, upload: Upload, running: Running) -> str:
        for said in self._expected(upload):
            if not hmac.compare_digest(running.digest(said.algorithm), said.digest or b""):
                raise DigestMismatch
        told = self._parts.digests.told(upload)
        return format_digest(told, running.digest(told)) if told else ""

    async def _read(
        self, upload_id: UploadId, length: int, wanted: set[str], *, work: Work | None = None
    ) -> Running:
        """Hash a file from its first byte on; `work` may be asked to stop meanwhile."""
        running = Running(wanted)
        segment = self._parts.storage.segment(upload_id, length)
        loop = asyncio.get_running_loop()
        while running.offset < length:
            if self._parts.slots.is_stopping:
                raise ShuttingDown
            if work is not None and work.stopped is not None:
                raise AppendSuperseded
            await loop.run_in_executor(self._pool, _hash_step, segment, running)
        return running


def _hash_step(segment: Segment, running: Running) -> None:
    """Hash the next bytes of a file. Blocks. Raises: StorageFault."""
    path = segment.path
    end = min(segment.length, running.offset + STEP)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.posix_fadvise(descriptor, running.offset, STEP, os.POSIX_FADV_SEQUENTIAL)
            while running.offset < end:
                count = min(PIECE, end - running.offset)
                data = os.pread(descriptor, count, running.offset)
                if not data:
                    logger.error("%s is shorter than its record says: look who changes it", path)
                    raise StorageFault
                running.update(data)
        finally:
            os.close(descriptor)
    except OSError as exc:
        logger.error("%s cannot be read: %s: check the disk and the kernel's log", path, exc)  # noqa: TRY400
        raise StorageFault from exc
