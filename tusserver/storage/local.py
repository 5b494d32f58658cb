"""Uploads as files of a local directory: the `Storage` of the embedded default (floor 4).

Data in preallocated files, written at offsets only; a ledger beside each; mutual exclusion by
the kernel's locks. File calls run in threads of the store's own: one pool for short calls, those
of `Syncing`, those of large bodies, of reads and of assemblies, so that none waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tusserver.errors import UploadLocked
from tusserver.measures import NO_METER, timed
from tusserver.ports import Segment
from tusserver.storage import pins
from tusserver.storage.appending import Appender
from tusserver.storage.files import close, open_locked
from tusserver.storage.holding import Holdings
from tusserver.storage.identity import adopt_identity
from tusserver.storage.joining import Joiner
from tusserver.storage.layout import Places
from tusserver.storage.leases import Contended, own
from tusserver.storage.opening import open_store
from tusserver.storage.pieces import WRITE_THREADS
from tusserver.storage.pool import FilePool, TimedWriter, waits_of_thread
from tusserver.storage.pulse import Pulse
from tusserver.storage.space import SMALL, first_reservation
from tusserver.storage.sweeping import Orphans, Scanner, delete_orphans
from tusserver.storage.syncing import Syncing
from tusserver.storage.trouble import tell_locked, translated
from tusserver.upload import IdTaken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path
    from typing import Any

    from tusserver.body import Body, Tap
    from tusserver.measures import Meter
    from tusserver.ports import Holder, Lease, Peek, Progress
    from tusserver.storage.identity import Identity
    from tusserver.storage.opening import Opened
    from tusserver.storage.placing import Placing
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

COPY_THREADS = 2
FIRST_PAUSE = 0.010
LAST_PAUSE = 0.250
"""Seconds between two attempts to take a lease whose holder said that it let go."""


class LocalStorage:
    """A `Storage` in a directory; see `ports.Storage` for what its methods promise.

    All methods are safe to cancel: they end when the file call they made has returned.
    """

    can_concat = True

    def __init__(
        self,
        directory: Path,
        *,
        reserve: int,
        state_kind: str,
        mailbox_name: str,
        threads: int = 8,
        loop_writes: bool = True,
        placing: Placing | None = None,
        meter: Meter = NO_METER,
    ) -> None:
        """Use `directory`, keeping `reserve` bytes of its file system free.

        `state_kind` names the kind of state the store is used with, `mailbox_name` goes to workers
        that want what this one holds. Without `loop_writes` threads do all that writes.
        `placing`: for a process of our own, where threads with quick calls run.
        """
        self._places = Places(directory.absolute())
        self._reserve = reserve
        self._state_kind = state_kind
        self._mailbox_name = mailbox_name
        self._meter = meter
        self._placing = placing
        self._pool = FilePool(threads, "tusserver-file", placing=placing)
        self._syncing = Syncing()
        self._copy_pool = FilePool(COPY_THREADS, "tusserver-copy")
        self._large = FilePool(WRITE_THREADS, "tusserver-write")
        self._pulse = Pulse(is_trusted=loop_writes)
        self.check_answers = self._pulse.check
        self._writer = TimedWriter(self._pool, pulse=self._pulse, waits=waits_of_thread)
        self._holdings = Holdings(self._places, self._pool, self._writer, placing=placing)
        self._held = self._holdings.held
        self._elected: dict[str, int] = {}
        self._opened: Opened | None = None
        self._scans: Scanner | None = None

    # --- life ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Make or check the store. Raises: ConfigError, StorageFault."""
        work = partial(
            open_store,
            self._places,
            reserve=self._reserve,
            state=self._state_kind,
            mailbox=self._mailbox_name,
            let_go=self._holdings.let_go,
            pulse=self._pulse,
        )
        self._opened = opened = await self._run(work, self._places.root, "opening the store")
        self._holdings.open(
            opened.leases, file_system=opened.file_system, is_local=opened.durable_writes
        )

    async def close(self) -> None:
        """Let go of files and threads; leases are released before."""
        for chore in list(self._elected):
            await self.resign(chore)
        await self._holdings.close()
        for pool in (self._large, self._pool, self._syncing, self._copy_pool):
            await pool.close()
        await asyncio.to_thread(self._pulse.close)
        if self._placing is not None:
            self._placing.release()

    async def adopt(self) -> str:
        """Bind the directory, which need not be open, to this kind of state; give its store id.

        Ends with the storage closed. Raises: ConfigError, StorageFault.
        """
        try:
            return (await self._run(self._adopt, self._places.identity, "adopting")).store_id
        finally:
            await self.close()

    def _adopt(self) -> Identity:
        self._places.make()
        return adopt_identity(self._places, state=self._state_kind)

    @property
    def _store(self) -> Opened:
        if self._opened is None:
            raise RuntimeError("the storage is not open")
        return self._opened

    @property
    def store_id(self) -> str:
        """Give the random id of this store."""
        return self._store.identity.store_id

    @property
    def epoch(self) -> str:
        """Name the present life of machine and volume."""
        return self._store.epoch

    @property
    def durable_writes(self) -> bool:
        """Tell whether `normal` durability suffices (false on network file systems)."""
        return self._store.durable_writes

    async def _run(
        self,
        function: Callable[[], _T],
        path: Path,
        doing: str,
        *,
        undo: Callable[[_T], None] | None = None,
    ) -> _T:
        """Run a file call in the pool; `path` and `doing` say in the log what failed."""
        with translated(path, doing):
            return await self._pool.run(function, undo=undo)

    # --- leases --------------------------------------------------------------------------

    async def create(self, upload: Upload, *, sync: bool, max_size: int | None = None) -> Lease:
        """Make the data file, reserve its space, write the ledger; give the new upload's lease.

        `max_size` bounds what is reserved for an upload of unknown length. Raises: StorageFull,
        MaxSizeExceeded, StorageFault, IdTaken.
        """
        leases, path = self._store.leases, self._places.data(upload.upload_id)
        make = partial(leases.make, upload, sync=sync, max_size=max_size)
        with translated(path, "making"):
            if sync:
                lease = await self._syncing.run(make, undo=leases.undo_make)
            else:
                # It may take long to reserve the space of larger ones.
                small = first_reservation(upload, max_size) <= SMALL
                lease = await self._pool.run(make, undo=leases.undo_make, quick=small)
        if lease is None:
            raise IdTaken
        return self._holdings.hold(lease)

    async def revive(self, upload: Upload) -> Lease | None:
        """Make an empty data file for a record that lost its own; None if one is there by now.

        A record that promises bytes gets no space: it is to be marked invalid. Raises: StorageFull,
        StoreMismatch, StateConflict, StorageFault.
        """
        leases, path = self._store.leases, self._places.data(upload.upload_id)
        make = partial(leases.revive, upload)
        lease = await self._run(make, path, "making anew", undo=leases.undo_revive)
        return None if lease is None else self._holdings.hold(lease)

    async def lease(
        self,
        upload_id: UploadId,
        *,
        on_contended: Callable[[Holder | None], Awaitable[None]],
        timeout: float,
    ) -> Lease | None:
        """Take the lease; None when there is no data file.

        Raises: UploadLocked after `timeout` seconds, what `on_contended` raises, StoreMismatch,
        StorageStalled, StorageFault.
        """
        self.check_answers()
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + timeout, FIRST_PAUSE
        taken = await self._holdings.take(upload_id)
        while isinstance(taken, Contended):
            await on_contended(taken.holder)
            taken = await self._holdings.take(upload_id)
            if not isinstance(taken, Contended):
                break
            left = deadline - loop.time()
            if left > 0:
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 2, LAST_PAUSE)
                taken = await self._holdings.take(upload_id)
            if isinstance(taken, Contended) and loop.time() >= deadline:
                tell_locked(upload_id, taken.holder, timeout)
                raise UploadLocked
        return taken

    async def remove(self, lease: Lease) -> None:
        """Delete data and ledger, and release the lease. The removal mark is committed before."""
        held = own(lease)
        if held.begin_release():
            self._holdings.forget(held)
            await self._run(partial(self._store.leases.remove, held), held.path, "removing")

    # --- bytes ---------------------------------------------------------------------------

    def append(
        self,
        lease: Lease,
        body: Body,
        *,
        offset: int,
        window: int,
        tap: Tap | None,
        progress: Progress,
    ) -> Coroutine[Any, Any, int]:
        """Do what `Storage.append` says. Raises MaxSizeExceeded too: the file system's."""
        held = own(lease)
        held.check_held()
        appender = Appender(self._pool, self._large, self._writer, self._store.space)
        return appender.append(held, body, offset=offset, window=window, tap=tap, progress=progress)

    async def sync(self, upload_id: UploadId) -> None:
        """Put the data of an upload on the disk (fdatasync). Needs no lease.

        Raises: StorageFault, after which the same sync must not be tried again.
        """
        path, held = self._places.data(upload_id), self._held.get(upload_id)
        with translated(path, "syncing", lost=True), timed(self._meter.synced):
            await self._syncing.sync(path, held)

    def write_early(self, lease: Lease, start: int, end: int) -> bool:
        """Have the disk begin with these bytes; see `Syncing.write_early`."""
        return self._syncing.write_early(own(lease), start, end)

    async def trim(self, lease: Lease, length: int) -> None:
        """Give back what was reserved beyond `length` bytes."""
        held = own(lease)
        if held.reserved == length and self._store.space.can_allocate:
            return  # What is reserved is as long as the file then.
        await self._run(partial(os.ftruncate, held.descriptor, length), held.path, "trimming")
        held.reserved = length

    async def concat(
        self, lease: Lease, parts: Sequence[tuple[UploadId, int]], *, stop: Callable[[], bool]
    ) -> bool:
        """Join parts (id, length) into the leased upload's file, from byte 0, inside the kernel.

        Raises: StorageFull, StorageFault (also for a part that is missing or too short).
        """
        held = own(lease)
        paths = [(self._places.data(part_id), length) for part_id, length in parts]
        joiner = Joiner(held, paths, space=self._store.space)
        return await joiner.join(self._copy_pool, stop=stop)

    def segment(self, upload_id: UploadId, length: int) -> Segment:
        """Say where the first `length` bytes of an upload lie."""
        return Segment(self._places.data(upload_id), length)

    async def check_space(self, length: int) -> None:
        """Raise StorageFull if `length` more bytes would touch the free-space reserve."""
        check = partial(self._store.space.check, length)
        await self._run(check, self._places.root, "looking at the space of")

    # --- the ledger ----------------------------------------------------------------------

    async def peek(self, upload_id: UploadId) -> Peek:
        """Read the ledger without a lease. Raises StoreMismatch for another store's record."""
        return await self._holdings.peek(upload_id)

    async def record(self, lease: Lease, upload: Upload, *, sync: bool) -> None:
        """Write the ledger; with `sync` it, and the names of the files, are on the disk.

        On failure the record before holds. Raises: StorageFault, StorageFull, StateConflict (the
        ledger has a newer version).
        """
        if not sync and self.record_at_once(lease, upload):
            return
        held = own(lease)
        held.check_held()
        pool = self._syncing if sync else self._pool
        with translated(held.ledger.path, "recording in"):
            await pool.run(partial(held.write, upload, sync=sync))

    def record_at_once(self, lease: Lease, upload: Upload) -> bool:
        """Write the ledger while the disk is quick; False: use `record`. Raises what that does."""
        held = own(lease)
        held.check_held()
        ledger, put = held.ledger, partial(self._writer.write_now, held.ledger.descriptor)
        with translated(ledger.path, "recording in"):
            steps = (ledger.steps(upload) if self._writer.is_quick else None) or []
            done = steps and all(put(memoryview(data), at) == len(data) for data, at in steps)
            if done:
                ledger.wrote(upload, steps)
        return bool(done)

    async def scan(
        self, after: UploadId | None, limit: int, *, gently: bool = False
    ) -> list[Upload]:
        """Read up to `limit` ledger records in the order of their ids, after `after`."""
        with translated(self._places.root, "listing"):
            return await self._scanner.records(after, limit, gently=gently)

    async def scan_ids(self, after: UploadId | None, limit: int) -> list[UploadId]:
        """Name up to `limit` uploads that have a ledger file, in order, without reading them."""
        with translated(self._places.root, "listing"):
            return await self._scanner.ids(after, limit)

    @property
    def _scanner(self) -> Scanner:
        if self._scans is None:
            self._scans = Scanner(self._places, self._store.leases, self._pool)
        return self._scans

    # --- pins ----------------------------------------------------------------------------

    async def pin(self, part_id: UploadId, final_id: UploadId, *, sync: bool) -> None:
        """Note durably that a final upload needs this part. Call under the part's lease."""
        root = self._places.pins
        await self._run(partial(pins.pin, root, part_id, final_id, sync=sync), root, "pinning in")

    async def unpin(self, part_id: UploadId, final_id: UploadId) -> None:
        """Take the note back; does nothing if it is gone."""
        root = self._places.pins
        await self._run(partial(pins.unpin, root, part_id, final_id), root, "unpinning in")

    async def pins(self, part_id: UploadId) -> tuple[UploadId, ...]:
        """Name the final uploads that noted they need this part."""
        root = self._places.pins
        return await self._run(partial(pins.pins, root, part_id), root, "reading")

    # --- chores --------------------------------------------------------------------------

    async def elect(self, chore: str) -> bool:
        """Become the one process of this store that does a chore, until `resign` or death."""
        if chore in self._elected:
            return True
        path = self._places.private / f"{chore}.lock"
        descriptor = await self._run(partial(open_locked, path), path, "locking", undo=close)
        if descriptor is None:
            return False
        self._elected[chore] = descriptor
        return True

    async def resign(self, chore: str) -> None:
        """Let another process do the chore."""
        descriptor = self._elected.pop(chore, None)
        await self._pool.run(partial(close, descriptor))

    async def sweep_orphans(
        self,
        *,
        older_than: float,
        known: Callable[[UploadId], Awaitable[bool]] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete unlocked files with no valid ledger, untouched for so many seconds; count them.

        Of an upload that is `known` to the state store nothing is deleted but what has a removal
        mark. Also finishes removals that a crash broke off. `dry_run`: they are only counted.
        """
        leases = self._store.leases
        orphans = Orphans(self._places, leases, older_than=older_than, dry_run=dry_run)
        with translated(self._places.root, "sweeping"):
            return await delete_orphans(orphans, self._pool, known)
