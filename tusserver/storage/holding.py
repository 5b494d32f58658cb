"""What this process holds, and the files of what it has just let go (floor 4; preadv2(2)).

The requests of a small upload follow each other within moments. So its two files stay open for a
few seconds after its lease was let go: the next request locks and reads them at once, where opening
them again takes a thread. Nothing is believed of them: the lock is the kernel's, the record is read
anew, from the page cache or not at all, and files that are no longer the ones under their names are
opened again. Not done where the bytes lie on another machine: there each of these calls may wait.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tusserver.ports import Peek
from tusserver.storage.files import lock, unlock
from tusserver.storage.leases import Contended, FileLease, Spare
from tusserver.storage.pool import FilePool
from tusserver.storage.trouble import translated
from tusserver.upload import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.storage.layout import Places
    from tusserver.storage.leases import Leases
    from tusserver.storage.placing import Placing
    from tusserver.storage.pool import TimedWriter
    from tusserver.upload import UploadId

logger = logging.getLogger(__name__)

KEPT_SECONDS = 3.0
LOOK_SECONDS = 1.0
"""How often what was kept for long enough is closed."""
MAX_KEPT = 256
DESCRIPTORS_PER_KEPT = 64
"""Of so many files that the process may open, one upload is kept open."""
CLOSED_AT_ONCE = 64
READ_THREADS = 4
"""Threads that read records: that goes on where nothing can be written."""

_NO_QUICK_READ = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class CacheReader:
    """Reads what is in memory, and never waits for a disk."""

    def __init__(self, file_system: str) -> None:
        """Know the file system by its type's name."""
        # It has no disk, and does not know the flag.
        self._flags = 0 if file_system == "tmpfs" else getattr(os, "RWF_NOWAIT", -1)
        self.is_possible = self._flags >= 0 and hasattr(os, "preadv")

    def __call__(self, descriptor: int, count: int) -> bytes | None:
        """Read `count` bytes from the start of a file; None if they are not all in memory.

        Raises: OSError.
        """
        if not self.is_possible:
            return None
        buffer = bytearray(count)
        try:
            found = os.preadv(descriptor, [buffer], 0, self._flags)
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno not in _NO_QUICK_READ:
                raise
            self.is_possible = False
            return None
        return bytes(buffer) if found == count else None


class Holdings:
    """Takes and lets go leases of one store for this process."""

    def __init__(
        self,
        places: Places,
        pool: FilePool,
        writer: TimedWriter,
        *,
        placing: Placing | None = None,
    ) -> None:
        """Use these threads; `writer` knows whether the disk is quick, `placing` where they run."""
        self._places = places
        self._pool = pool
        self._reads = FilePool(READ_THREADS, "tusserver-read", placing=placing)
        self._writer = writer
        self._leases: Leases | None = None
        self._read: CacheReader | None = None
        self._room = 0
        self.held: dict[UploadId, FileLease] = {}
        self._spares: OrderedDict[UploadId, Spare] = OrderedDict()
        self._closing: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def open(self, leases: Leases, *, file_system: str, is_local: bool) -> None:
        """Begin with these leases; files stay open only where `is_local`."""
        self._leases = leases
        reader = CacheReader(file_system)
        if is_local and reader.is_possible:
            self._read = reader
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            few = soft != resource.RLIM_INFINITY
            self._room = min(MAX_KEPT, soft // DESCRIPTORS_PER_KEPT) if few else MAX_KEPT

    async def close(self) -> None:
        """Close what was kept open."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for spare in self._spares.values():
            self._abandon(spare)
        self._spares.clear()
        closing, self._closing = self._closing, []
        if closing:
            await self._pool.run(partial(_close_all, closing))
        await self._reads.close()

    @property
    def _open(self) -> Leases:
        if self._leases is None:
            raise RuntimeError("the storage is not open")
        return self._leases

    # --- holding -------------------------------------------------------------------------

    def hold(self, lease: FileLease) -> FileLease:
        """Remember a lease that was just made or taken."""
        self._drop(lease.upload_id)
        self.held[lease.upload_id] = lease
        return lease

    def forget(self, lease: FileLease) -> None:
        """Forget a lease that is about to end."""
        if self.held.get(lease.upload_id) is lease:
            del self.held[lease.upload_id]

    async def take(self, upload_id: UploadId) -> FileLease | Contended | None:
        """Try to take a lease once; None when there is no data file.

        Raises: StoreMismatch, StorageFault.
        """
        kept = self._take_kept(upload_id)
        if kept is not None:
            kept.ledger.is_fresh = True
            return self.hold(kept)
        leases = self._open
        with translated(self._places.data_name(upload_id), "locking"):
            take = partial(leases.take, upload_id)
            taken = await self._pool.run(take, undo=leases.undo_take, quick=True)
        return self.hold(taken) if isinstance(taken, FileLease) else taken

    def _take_kept(self, upload_id: UploadId) -> FileLease | None:
        """Take the lease by files that were kept open, if nobody has it and they are right."""
        spare = self._spares.get(upload_id)
        if spare is None or spare.descriptor < 0 or self._read is None:
            return None
        # Who is asked to wait is told by the file under the name who holds it.
        if not self._writer.is_quick or not lock(spare.descriptor):
            return None
        del self._spares[upload_id]
        lease = self._open.resume(spare, self._read)
        if lease is None:
            with suppress(OSError):
                unlock(spare.descriptor)
            self._abandon(spare)
        return lease

    async def let_go(self, lease: FileLease) -> None:
        """End a lease. What it locked is free when this returns."""
        self.forget(lease)
        if self._read is None or not self._writer.is_quick or not lease.ledger.is_open:
            await self._pool.run(partial(self._open.end, lease), quick=True)
            return
        self._open.unlock(lease)
        self._keep(lease)

    # --- reading -------------------------------------------------------------------------

    async def peek(self, upload_id: UploadId) -> Peek:
        """Read a record and who holds its lease. Raises: StoreMismatch, StorageFault."""
        held = self.held.get(upload_id)
        peek = self._peek_open(upload_id, held)
        if peek is not None:
            return peek
        with translated(self._places.ledger_name(upload_id), "reading"):
            look = partial(self._open.peek, upload_id, held_here=held is not None)
            return await self._reads.run(look, quick=True)

    def _peek_open(self, upload_id: UploadId, held: FileLease | None) -> Peek | None:
        """Read a record through a file that is open; None if that does not go at once."""
        spare = held or self._spares.get(upload_id)
        if spare is None or self._read is None:
            return None
        try:
            if held is not None and (record := held.ledger.recall()) is not None:
                return Peek(record, held.ledger.holder)
            look = spare.ledger.look(self._read)
        except OSError:
            return None
        # Whether somebody else who is named there is alive is asked of the data file's lock.
        if look is None or (look.holder is not None and held is None):
            return None
        return Peek(look.record, look.holder)

    # --- keeping -------------------------------------------------------------------------

    def _keep(self, lease: FileLease) -> None:
        """Keep the files of an upload that nobody holds now; of a finished one the ledger."""
        loop, record = asyncio.get_running_loop(), lease.ledger.record
        descriptor = lease.descriptor
        if record is None or record.status is not Status.OPEN:
            self._closing.append(descriptor)
            descriptor = -1
        self._drop(lease.upload_id)
        self._spares[lease.upload_id] = Spare(
            lease.upload_id, lease.name, descriptor, lease.ledger, loop.time()
        )
        while len(self._spares) > self._room:
            self._abandon(self._spares.popitem(last=False)[1])
        if len(self._closing) >= CLOSED_AT_ONCE:
            self._close_some()
        if self._timer is None:
            self._timer = loop.call_later(LOOK_SECONDS, self._tend)

    def _drop(self, upload_id: UploadId) -> None:
        spare = self._spares.pop(upload_id, None)
        if spare is not None:
            self._abandon(spare)

    def _abandon(self, spare: Spare) -> None:
        """Have the files of an upload closed soon."""
        if spare.descriptor >= 0:
            self._closing.append(spare.descriptor)
        descriptor = spare.ledger.abandon()
        if descriptor >= 0:
            self._closing.append(descriptor)

    def _tend(self) -> None:
        """Close what was kept for long enough."""
        loop = asyncio.get_running_loop()
        self._timer = None
        until = loop.time() - KEPT_SECONDS
        while self._spares:
            oldest = next(iter(self._spares.values()))
            if oldest.since > until:
                break
            self._drop(oldest.upload_id)
        self._close_some()
        if self._spares:
            self._timer = loop.call_later(LOOK_SECONDS, self._tend)

    def _close_some(self) -> None:
        closing, self._closing = self._closing, []
        if closing:
            self._pool.start(partial(_close_all, closing))


def _close_all(descriptors: Sequence[int]) -> None:
    """Close files. Blocks: the last one of a deleted file frees its blocks."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError as exc:
            logger.warning("closing a file that nobody writes failed: %s", exc)
