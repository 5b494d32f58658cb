"""The ledger as the state: the embedded default, with no database to run (floor 4).

`Storage.create` and `Storage.record` write the ledger before anything here is called: what is
left to do is to read it, and to notice when that order was broken.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from tusserver.errors import StateConflict
from tusserver.protocol.rules import is_expired

if TYPE_CHECKING:
    from builtins import list as list_of
    from datetime import datetime

    from tusserver.ports import Storage
    from tusserver.upload import Upload, UploadId

SCAN_BATCH = 256
"""Records read at a time: bounds memory, and the time between two await points."""


class LocalState:
    """A `StateStore` that is the ledger itself."""

    is_ledger = True
    kind = "local"

    def __init__(self, storage: Storage) -> None:
        """Read the ledger of this storage."""
        self._storage = storage

    async def attach(self, store_id: str) -> None:
        """Do nothing: the ledger cannot belong to another store than the data beside it."""

    async def add(self, upload: Upload) -> None:
        """Check that the ledger holds the new record. Raises: StateConflict."""
        await self._check_holds(upload)

    async def get(self, upload_id: UploadId) -> Upload | None:
        """Read the ledger's record; None if there is none. Raises: StoreMismatch."""
        return (await self._storage.peek(upload_id)).record

    async def save(self, upload: Upload) -> None:
        """Check that the ledger holds this version. Raises: StateConflict."""
        await self._check_holds(upload)

    async def restore(self, upload: Upload) -> Upload:
        """Give what the ledger holds: it is the truth; the given record if it holds none."""
        return await self.get(upload.upload_id) or upload

    async def delete(self, upload_id: UploadId) -> None:
        """Do nothing: `Storage.remove` deleted the ledger with the data."""

    async def expired(self, now: datetime, limit: int) -> list_of[UploadId]:
        """Name uploads whose `expires_at` is not after `now`, the oldest first.

        Reads the whole ledger in batches; never keeps more than `limit` and one batch of it.
        """
        due: list_of[tuple[datetime, UploadId]] = []
        after: UploadId | None = None
        while batch := await self._storage.scan(after, SCAN_BATCH):
            due += [
                (upload.expires_at, upload.upload_id)
                for upload in batch
                if upload.expires_at is not None and is_expired(upload, now)
            ]
            due = heapq.nsmallest(limit, due)
            after = batch[-1].upload_id
        return [upload_id for _, upload_id in due]

    async def list(self, after: UploadId | None, limit: int) -> list_of[Upload]:
        """Read up to `limit` records in the order of their ids, after `after`."""
        return await self._storage.scan(after, limit)

    async def close(self) -> None:
        """Do nothing: the storage is closed by who opened it."""

    async def _check_holds(self, upload: Upload) -> None:
        record = await self.get(upload.upload_id)
        if record is None or record.version != upload.version:
            found = "no record" if record is None else f"version {record.version}"
            raise StateConflict(
                f"The ledger holds {found} of the upload, not version {upload.version}."
            )
