"""Leases on data files: flock(2) on an open file description of our own (floor 4).

The kernel frees the lock when its holder dies, so there is nothing to wait for and nothing to
renew; and nobody writes without it. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.ports import Holder, Peek
from tusserver.storage.files import (
    DATA_MODE,
    is_at,
    is_locked,
    lock,
    remove_directory,
    unlock,
)
from tusserver.storage.layout import Names
from tusserver.storage.ledgerfile import LedgerFile, LedgerReader, read_holder
from tusserver.storage.space import first_reservation
from tusserver.upload import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tusserver.ports import Lease
    from tusserver.storage.layout import Places
    from tusserver.storage.ledgerfile import QuickRead
    from tusserver.storage.space import Space
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class FileLease:
    """The lock of one data file, and the open files that go with it."""

    __slots__ = (
        "_let_go",
        "_released",
        "_upload_id",
        "descriptor",
        "ledger",
        "name",
        "reserved",
    )

    def __init__(
        self,
        upload_id: UploadId,
        *,
        name: str,
        descriptor: int,
        ledger: LedgerFile,
        reserved: int,
        let_go: Callable[[FileLease], Awaitable[None]],
    ) -> None:
        """Own an open, locked data file; `let_go` ends that."""
        self._upload_id = upload_id
        self._let_go = let_go
        self._released = False
        self.name = name
        """The path of the data file as text."""
        self.descriptor = descriptor
        self.ledger = ledger
        self.reserved = reserved
        """Up to where blocks are reserved."""

    @property
    def path(self) -> Path:
        """Give the path of the data file."""
        return Path(self.name)

    @property
    def upload_id(self) -> UploadId:
        """Name the upload."""
        return self._upload_id

    def check_held(self) -> None:
        """Raise RuntimeError if it was let go: nothing may be written any more."""
        if self._released:
            raise RuntimeError(f"the lease of {self._upload_id} was let go")

    def write(self, upload: Upload, *, sync: bool) -> None:
        """Write a record to the ledger; see `LedgerFile.write`. Blocks.

        Raises: FileNotFoundError if an upload is to be complete whose data was taken away.
        """
        if upload.status is Status.COMPLETE and not is_at(self.descriptor, self.name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
        self.ledger.write(upload, sync=sync)

    async def release(self) -> None:
        """Let go; a cancellation does not stop it. Does nothing the second time."""
        if self.begin_release():
            await self._let_go(self)

    def begin_release(self) -> bool:
        """Tell whether it is still to be let go, and let nobody else do it."""
        released, self._released = self._released, True
        return not released


def own(lease: Lease) -> FileLease:
    """Take a lease of this storage for what it is. Raises: TypeError for another one."""
    if not isinstance(lease, FileLease):
        raise TypeError(f"a lease of another storage: {lease!r}")
    return lease


@dataclass(slots=True)
class Spare:
    """The open files of an upload whose lease was let go; nothing of them is locked."""

    upload_id: UploadId
    name: str
    """The path of the data file."""
    descriptor: int
    """Of the data; below 0 where only the ledger is of use."""
    ledger: LedgerFile
    since: float
    """The loop's time at which the lease was let go."""


@dataclass(frozen=True, slots=True)
class Contended:
    """Somebody else holds the lease."""

    holder: Holder | None


class Leases:
    """Takes, makes and ends the leases of one store. Its methods block and raise OSError too."""

    def __init__(
        self,
        places: Places,
        *,
        store_id: str,
        epoch: str,
        mailbox: str,
        space: Space,
        let_go: Callable[[FileLease], Awaitable[None]],
    ) -> None:
        """Name `mailbox` to those who want a lease that is held here."""
        self._places = places
        self._store_id = store_id
        self._epoch = epoch
        self._mailbox = mailbox
        self._space = space
        self._let_go = let_go
        self._names = Names()
        self.reader = LedgerReader(store_id)

    def take(self, upload_id: UploadId) -> FileLease | Contended | None:
        """Try to take a lease once; None when there is no data file. Raises: StoreMismatch."""
        path = self._places.data_name(upload_id)
        lease: FileLease | None = None
        while lease is None:
            try:
                descriptor = os.open(path, _FLAGS)
            except FileNotFoundError:
                return None
            with _closed_on_error(descriptor):
                locked = lock(descriptor)
                # Between open and lock the file may have been removed by its holder.
                if locked and is_at(descriptor, path):
                    size = os.fstat(descriptor).st_size
                    lease = self._lease(upload_id, descriptor, size)
                    lease.ledger.open(self.reader, upload_id)
            if lease is None:
                os.close(descriptor)
                if not locked:
                    return Contended(read_holder(self._places.ledger_name(upload_id)))
        try:
            self._check_whole(lease)
        except BaseException:
            self.end(lease)
            raise
        return lease

    def resume(self, spare: Spare, read: QuickRead) -> FileLease | None:
        """Make a lease of files that were kept open, and are locked; None if they are not right.

        Does not block. What is not as it was is to be opened anew: `take` says what is wrong.
        """
        try:
            status = os.fstat(spare.descriptor)
            look = spare.ledger.look(read)
            # Removed, or another name for it was made: then this one may be gone.
            if status.st_nlink != 1 or look is None or look.record.status is not Status.OPEN:
                return None
            if status.st_size < self._promised(look.record):
                return None
            spare.ledger.hold(self._holder())
        except OSError:
            return None
        return FileLease(
            spare.upload_id,
            name=spare.name,
            descriptor=spare.descriptor,
            ledger=spare.ledger,
            reserved=status.st_size,
            let_go=self._let_go,
        )

    def _promised(self, record: Upload) -> int:
        return record.offset if record.epoch == self._epoch else record.synced

    def _check_whole(self, lease: FileLease) -> None:
        """Mark an upload invalid whose file is shorter than the bytes that were promised.

        Reserved or not, a file of ours is never shorter than the offset: somebody cut it, or a
        crash fell between making a lost file anew and saying so.
        """
        record = lease.ledger.record
        if record is None or record.status.rank > Status.COMPLETE.rank or not record.assembled:
            return
        promised = self._promised(record)
        if lease.reserved < promised:
            logger.error(
                "%s: has %d bytes, but %d were stored; the upload is marked invalid and clients "
                "will start anew: look for who changes files in the upload directory",
                lease.path,
                lease.reserved,
                promised,
            )
            lease.ledger.write(record.next(status=Status.INVALID), sync=True)

    def make(self, upload: Upload, *, sync: bool, max_size: int | None) -> FileLease | None:
        """Make data file and ledger of a new upload; None if they are there, or being made.

        Leaves nothing behind on failure. Raises: StorageFull, MaxSizeExceeded, LedgerError.
        """
        lease = self._begin(upload.upload_id) or self._take_left(upload.upload_id)
        if lease is None:
            return None
        try:
            reserved = first_reservation(upload, max_size)
            self._space.reserve_new(lease.descriptor, reserved)
            lease.reserved = reserved
            if sync:
                os.fsync(lease.descriptor)
            lease.ledger.write_new(upload, sync=sync)
        except BaseException:
            self.remove(lease)
            raise
        return lease

    def revive(self, upload: Upload) -> FileLease | None:
        """Make an empty data file for a record that lost its own; None if one is there by now.

        Raises: StorageFull, StoreMismatch, StateConflict.
        """
        lease = self._begin(upload.upload_id)
        if lease is None:
            return None
        try:
            lease.ledger.open(self.reader, upload.upload_id)
            lease.ledger.write(upload, sync=False)
            # While the record promises bytes the file stays empty: so a crash right here is seen.
            if upload.offset == 0:
                self._space.reserve_new(lease.descriptor, first_reservation(upload))
                lease.reserved = os.fstat(lease.descriptor).st_size
        except BaseException:
            self.undo_revive(lease)
            raise
        return lease

    def _begin(self, upload_id: UploadId) -> FileLease | None:
        """Make an empty data file and lock it; None if there is one."""
        path = self._places.data_name(upload_id)
        try:
            descriptor = self._open_new(upload_id, path)
        except FileExistsError:
            return None
        with _closed_on_error(descriptor):
            if lock(descriptor):
                return self._lease(upload_id, descriptor, 0)
        # Somebody who knew the id was quicker: the file is theirs now.
        os.close(descriptor)
        return None

    def _take_left(self, upload_id: UploadId) -> FileLease | None:
        """Take a data file that has no ledger, emptied: whoever made it died before it had one."""
        path, ledger = self._places.data_name(upload_id), self._places.ledger_name(upload_id)
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            return None
        with _closed_on_error(descriptor):
            held = lock(descriptor) and is_at(descriptor, path)
            is_left = held and not os.path.lexists(ledger)
            if is_left and os.fstat(descriptor).st_nlink == 1:
                os.ftruncate(descriptor, 0)
                return self._lease(upload_id, descriptor, 0)
            if is_left:
                os.unlink(path)  # noqa: PTH108 - its bytes stay: they have another name
        os.close(descriptor)
        return self._begin(upload_id) if is_left else None

    def _open_new(self, upload_id: UploadId, path: str) -> int:
        flags = _FLAGS | os.O_CREAT | os.O_EXCL
        try:
            return os.open(path, flags, DATA_MODE)
        except FileNotFoundError:
            self._places.make_shard(upload_id)
            return os.open(path, flags, DATA_MODE)

    def _holder(self) -> Holder:
        return Holder(pid=os.getpid(), mailbox=self._mailbox, since=datetime.now(UTC))

    def _lease(self, upload_id: UploadId, descriptor: int, size: int) -> FileLease:
        return FileLease(
            upload_id,
            name=self._places.data_name(upload_id),
            descriptor=descriptor,
            ledger=LedgerFile(
                self._places.ledger_name(upload_id), self._store_id, self._holder(), self._names
            ),
            reserved=size,
            let_go=self._let_go,
        )

    def end(self, lease: FileLease) -> None:
        """Take the holder's name out of the ledger, unlock and close. Never raises."""
        self._unlock(lease, lease.ledger.close)
        try:
            os.close(lease.descriptor)
        except OSError as exc:
            logger.warning("%s: closing it failed: %s", lease.path, exc)

    def unlock(self, lease: FileLease) -> None:
        """Take the holder's name out of the ledger and unlock; the files stay open.

        Does not block on a local file system. Never raises.
        """
        self._unlock(lease, lease.ledger.leave)

    def _unlock(self, lease: FileLease, leave: Callable[[], None]) -> None:
        try:
            leave()
        except OSError as exc:
            # A stale name is a hint that nobody relies on; the lock itself is given back below.
            logger.warning("%s: the holder's name stays in it: %s", lease.path, exc)
        try:
            unlock(lease.descriptor)
        except OSError as exc:
            logger.warning("%s: unlocking it failed: %s", lease.path, exc)

    def remove(self, lease: FileLease) -> None:
        """Delete what belongs to an upload, then end its lease.

        The data goes first: a crash in between leaves a ledger with the removal mark.
        """
        try:
            self.delete(lease.upload_id)
        finally:
            self.end(lease)

    def undo_make(self, lease: FileLease | None) -> None:
        """Delete what `make` made for a caller that is gone."""
        if lease is not None:
            self.remove(lease)

    def undo_revive(self, lease: FileLease | None) -> None:
        """Delete the data file that `revive` made; the record stays as it is."""
        if lease is not None:
            lease.path.unlink(missing_ok=True)
            self.end(lease)

    def undo_take(self, taken: FileLease | Contended | None) -> None:
        """End the lease that `take` got for a caller that is gone."""
        if isinstance(taken, FileLease):
            self.end(taken)

    def delete(self, upload_id: UploadId) -> None:
        """Delete data, ledger and pins of an upload whose lock is held."""
        self._places.data(upload_id).unlink(missing_ok=True)
        self._places.ledger(upload_id).unlink(missing_ok=True)
        remove_directory(self._places.pins / upload_id)

    def peek(self, upload_id: UploadId, *, held_here: bool) -> Peek:
        """Read record and holder. Raises: StoreMismatch."""
        ledger, holder = self.reader.read(self._places.ledger_name(upload_id), upload_id)
        name = self._places.data_name(upload_id)
        if holder is not None and not held_here and not is_locked(name):
            holder = None  # It died and left its name.
        if ledger is None:
            return Peek(None, holder, is_gone=not os.path.lexists(name))
        return Peek(ledger.record, holder)


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise
