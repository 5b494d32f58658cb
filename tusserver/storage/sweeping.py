"""Going through all files of a store (floor 4): its records, and what belongs to none.

Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.errors import StoreMismatch
from tusserver.storage.files import TEMPORARY, is_at, lock
from tusserver.storage.layout import ledger_owner
from tusserver.upload import Status, UploadId, is_upload_id

if TYPE_CHECKING:
    from pathlib import Path

    from tusserver.storage.layout import Places
    from tusserver.storage.leases import Leases
    from tusserver.upload import Upload


def scan_ids(places: Places, after: UploadId | None, limit: int) -> list[UploadId]:
    """Name up to `limit` uploads that have a ledger, in order. Raises: OSError."""
    found: list[UploadId] = []
    for shard in places.shards():
        if after is not None and shard < after[:2]:
            continue
        owners = sorted(
            owner for name in _names(places.root / shard) if (owner := ledger_owner(name))
        )
        start = 0 if after is None else bisect_right(owners, after)
        found += owners[start : start + limit - len(found)]
        if len(found) >= limit:
            break
    return found


def scan(places: Places, leases: Leases, after: UploadId | None, limit: int) -> list[Upload]:
    """Read up to `limit` valid records in the order of their ids. Raises: OSError.

    Gives fewer than `limit` only at the end: what is not valid or not ours is passed over.
    """
    found: list[Upload] = []
    while len(found) < limit:
        wanted = limit - len(found)
        upload_ids = scan_ids(places, after, wanted)
        for upload_id in upload_ids:
            with suppress(StoreMismatch):
                record = leases.peek(upload_id, held_here=True).record
                if record is not None:
                    found.append(record)
        if len(upload_ids) < wanted:
            break
        after = upload_ids[-1]
    return found


class Orphans:
    """Finds and deletes files that belong to no upload, and what a removal left behind."""

    def __init__(self, places: Places, leases: Leases, *, older_than: float) -> None:
        """Touch nothing that was written in the last `older_than` seconds."""
        self._places = places
        self._leases = leases
        self._before = time.time() - older_than

    def temporaries(self) -> int:
        """Delete files that never got their final name; give their number. Raises: OSError."""
        directories = [self._places.root / shard for shard in self._places.shards()]
        count = 0
        for directory in (*directories, self._places.private):
            for name in _names(directory):
                if name.endswith(TEMPORARY) and self._is_old(directory / name):
                    (directory / name).unlink(missing_ok=True)
                    count += 1
        return count

    def candidates(self, shard: str) -> list[UploadId]:
        """Name what looks like an orphan in one shard. Raises: OSError."""
        owners = set()
        for name in _names(self._places.root / shard):
            if is_upload_id(name):
                owners.add(UploadId(name))
            elif (owner := ledger_owner(name)) is not None:
                owners.add(owner)
        return sorted(owner for owner in owners if self._is_orphan(owner) is not None)

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
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []
