"""Going through all files of a store (floor 4): its records, and what belongs to none.

What is no coroutine here blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tusserver.errors import StoreMismatch
from tusserver.storage.files import TEMPORARY, is_at, lock
from tusserver.storage.layout import LEDGER, ledger_owner
from tusserver.upload import Status, UploadId, is_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tusserver.storage.layout import Places
    from tusserver.storage.leases import Leases
    from tusserver.storage.pool import FilePool
    from tusserver.upload import Upload

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

SLICE = 0.0005
"""Seconds after which a thread that reads many ledgers lets others run: the interpreter lets it
keep them waiting for ten times as long, at each step of a request."""
PAUSE = 1.5
"""How much longer than it reads a gentle reader rests."""
STRETCH = 0.05
"""Seconds for which a gentle reader keeps its thread: the way to one and back costs as much as
reading several ledgers."""
NAMES = 500
"""Names of files that are looked at in one step."""
GOOD_FOR = 10.0
"""Seconds for which the list of a directory serves who reads on."""
RESTS = 16
"""Pages of which is kept what comes behind them."""
OF_ONE_FILE = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.EIO})
"""What one ledger may have, without which the others can be read."""
MAX_UNREADABLE = 1_000


async def in_slices(
    pool: FilePool, steps: Iterator[_T | None], *, gently: bool
) -> AsyncIterator[list[_T]]:
    """Take blocking steps in threads of a pool, a slice at a time; give what they find.

    `gently`: rest in between, for longer than a slice took.
    """
    take = partial(_take_stretch if gently else _take_slice, steps)
    done = False
    while not done:
        found, done = await pool.run(take)
        yield found


def _take_stretch(steps: Iterator[_T | None]) -> tuple[list[_T], bool]:
    """Take slices and rest after each; tell whether the steps are over."""
    found: list[_T] = []
    deadline = time.monotonic() + STRETCH
    done = False
    while not done and time.monotonic() < deadline:
        some, done = _take_slice(steps)
        found += some
        time.sleep(SLICE * PAUSE)
    return found, done


def _take_slice(steps: Iterator[_T | None]) -> tuple[list[_T], bool]:
    """Take steps for a moment; tell whether they are over."""
    found: list[_T] = []
    # Time on the processor: to wait for a disk keeps nobody else waiting.
    deadline = time.thread_time() + SLICE
    for step in steps:
        if step is not None:
            found.append(step)
        if time.thread_time() >= deadline:
            return found, False
    return found, True


@dataclass(frozen=True, slots=True)
class _Rest:
    """What was listed and not given yet: it need not be listed again for the next page."""

    owners: list[UploadId]
    shard: str
    """The last directory that was listed."""
    seen_at: float
    """When, in seconds of a monotonic clock."""


class Scanner:
    """Reads the records of a store in slices, between which requests get their turn."""

    def __init__(self, places: Places, leases: Leases, pool: FilePool) -> None:
        """Read in these threads."""
        self._places = places
        self._reader = leases.reader
        self._pool = pool
        self._unreadable: set[str] = set()
        self._rests: dict[UploadId, _Rest] = {}
        """By the last upload of the page before."""

    async def ids(
        self, after: UploadId | None, limit: int, *, gently: bool = False
    ) -> list[UploadId]:
        """Name up to `limit` uploads that have a ledger, in order. Raises: OSError.

        Who asks for one page soon after another gets what was there when a directory was listed.
        """
        rest = self._rest_after(after)
        if len(rest.owners) < limit:
            seen_at = time.monotonic()
            found, shard = rest.owners, rest.shard
            steps = self._shards(after, behind=shard)
            async for listed in in_slices(self._pool, steps, gently=gently):
                for name, owners in listed:
                    shard, found = name, found + owners
                if len(found) >= limit:
                    break
            rest = _Rest(found, shard, seen_at)
        page = rest.owners[:limit]
        if page:
            self._rests.pop(page[-1], None)
            self._rests[page[-1]] = replace(rest, owners=rest.owners[limit:])
            if len(self._rests) > RESTS:
                del self._rests[next(iter(self._rests))]
        return page

    def _rest_after(self, after: UploadId | None) -> _Rest:
        rest = None if after is None else self._rests.get(after)
        if rest is None or rest.seen_at < time.monotonic() - GOOD_FOR:
            return _Rest([], "", 0.0)
        return rest

    def _shards(
        self, after: UploadId | None, *, behind: str
    ) -> Iterator[tuple[str, list[UploadId]] | None]:
        """List the directories behind one, without who does not come after an upload."""
        for shard in self._places.shards():
            if shard <= behind or (after is not None and shard < after[:2]):
                continue
            names = _names(self._places.root / shard)
            owners: list[UploadId] = []
            for start in range(0, len(names), NAMES):
                some = map(ledger_owner, names[start : start + NAMES])
                owners += [owner for owner in some if owner is not None]
                yield None
            owners.sort()
            yield shard, owners if after is None else owners[bisect_right(owners, after) :]

    async def records(self, after: UploadId | None, limit: int, *, gently: bool) -> list[Upload]:
        """Read up to `limit` valid records in the order of their ids. Raises: OSError.

        Gives fewer than `limit` only at the end: what is not valid, not ours or cannot be read by
        itself is passed over.
        """
        found: list[Upload] = []
        while len(found) < limit:
            wanted = limit - len(found)
            upload_ids = await self.ids(after, wanted, gently=gently)
            async for records in in_slices(self._pool, self._read(upload_ids), gently=gently):
                found += records
            if len(upload_ids) < wanted:
                break
            after = upload_ids[-1]
        return found

    def _read(self, upload_ids: list[UploadId]) -> Iterator[Upload | None]:
        root = str(self._places.root)
        for upload_id in upload_ids:
            # Putting a path together from parts takes nearly as long as reading the file.
            path = f"{root}/{upload_id[:2]}/{upload_id}{LEDGER}"
            try:
                ledger, _ = self._reader.read(path, upload_id)
            except StoreMismatch:
                ledger = None
            except OSError as error:
                if error.errno not in OF_ONE_FILE:
                    raise
                ledger = None
                self._tell(path, error)
            yield None if ledger is None else ledger.record

    def _tell(self, path: str, error: OSError) -> None:
        """Log, once, what is wrong with one ledger."""
        if path not in self._unreadable and len(self._unreadable) < MAX_UNREADABLE:
            self._unreadable.add(path)
            logger.error(
                "%s cannot be read: %s; its upload does not expire and is not counted: check who "
                "may read the file, and whether the disk is well",
                path,
                error.strerror,
            )


class Orphans:
    """Finds and deletes files that belong to no upload, and what a removal left behind."""

    def __init__(
        self, places: Places, leases: Leases, *, older_than: float, dry_run: bool = False
    ) -> None:
        """Touch nothing that was written in the last `older_than` seconds.

        `dry_run`: touch nothing at all, only say what would be deleted.
        """
        self._dry_run = dry_run
        self._places = places
        self._leases = leases
        self._before = time.time() - older_than

    def temporaries(self) -> Iterator[str | None]:
        """Delete files that never got their final name; name them. Raises: OSError."""
        directories = [self._places.root / shard for shard in self._places.shards()]
        for directory in (*directories, self._places.private):
            for name in _names(directory):
                if name.endswith(TEMPORARY) and self._is_old(directory / name):
                    if not self._dry_run:
                        (directory / name).unlink(missing_ok=True)
                    yield name
            yield None

    def candidates(self) -> Iterator[UploadId | None]:
        """Name what looks like an orphan. Raises: OSError."""
        for shard in self._places.shards():
            owners = set()
            for name in _names(self._places.root / shard):
                if is_upload_id(name):
                    owners.add(UploadId(name))
                elif (owner := ledger_owner(name)) is not None:
                    owners.add(owner)
            for owner in sorted(owners):
                yield owner if self._is_orphan(owner) is not None else None

    def delete(self, upload_id: UploadId, *, known: bool) -> bool:
        """Delete an orphan if it still is one when its lock is held. Raises: OSError.

        `known`: the state store has a record of it, so only a removal may be finished.
        """
        path = self._places.data(upload_id)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            # A ledger alone has no lock; nobody writes to an upload without its data file.
            return self._delete_checked(upload_id, known=known)
        except OSError as error:
            if error.errno in OF_ONE_FILE:
                return False  # None of ours.
            raise
        try:
            if not lock(descriptor) or not is_at(descriptor, path):
                return False
            return self._delete_checked(upload_id, known=known)
        finally:
            os.close(descriptor)

    def _delete_checked(self, upload_id: UploadId, *, known: bool) -> bool:
        removal = self._is_orphan(upload_id)
        if removal is None or (known and not removal):
            return False
        if not self._dry_run:
            self._leases.delete(upload_id)
        return True

    def _is_orphan(self, upload_id: UploadId) -> bool | None:
        """Give None for what must stay; else whether a removal mark was committed."""
        data, ledger = self._places.data(upload_id), self._places.ledger(upload_id)
        if not self._is_old(data) or not self._is_old(ledger):
            return None
        try:
            found, _ = self._leases.reader.read(ledger, upload_id)
        except StoreMismatch:
            return None
        except OSError as error:
            if error.errno in OF_ONE_FILE:
                return None
            raise
        if found is None:
            return False
        # Both slots torn: it was an upload once, so it is for the operator to judge.
        removed = found.record is not None and found.record.status is Status.REMOVED
        return True if removed else None

    def _is_old(self, path: Path) -> bool:
        """Tell whether a file was not written lately; True if there is none."""
        try:
            return path.lstat().st_mtime <= self._before
        except FileNotFoundError:
            return True


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names are what is wanted
    except FileNotFoundError:
        return []


async def delete_orphans(
    orphans: Orphans, pool: FilePool, known: Callable[[UploadId], Awaitable[bool]] | None
) -> int:
    """Delete what belongs to no upload, but for what is `known` elsewhere; count it."""
    count = 0
    async for deleted in in_slices(pool, orphans.temporaries(), gently=True):
        count += len(deleted)
    async for found in in_slices(pool, orphans.candidates(), gently=True):
        for upload_id in found:
            keep = known is not None and await known(upload_id)
            count += await pool.run(partial(orphans.delete, upload_id, known=keep))
    return count
