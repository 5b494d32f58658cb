"""The one place where ledger and state store meet (floor 4).

The ledger beside the data is the truth; the state store is what processes share. Everything
that reads or commits a record goes through here, in the order ledger, then state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from tusserver.errors import StateConflict, TusError
from tusserver.measures import FAILED, NO_METER, OK, timed
from tusserver.protocol.rules import in_epoch, newer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.measures import Meter
    from tusserver.ports import Holder, Lease, Peek, StateStore, Storage
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)


class Records:
    """Loads and commits the records of uploads."""

    def __init__(
        self,
        storage: Storage,
        state: StateStore,
        *,
        note: Callable[[Upload], None] | None = None,
        meter: Meter = NO_METER,
    ) -> None:
        """Join the two that keep a record; `note` is told of each one that was committed."""
        self._note = note
        self._meter = meter
        self._storage = storage
        self._state = state

    async def load(
        self, upload_id: UploadId, *, known: Upload | None = None
    ) -> tuple[Upload | None, Holder | None]:
        """Give the newest record as it holds in this epoch, and who holds the lease.

        A record that the state store lost or that is behind there is put back from the ledger.
        `known` is what was loaded a moment ago: if the ledger still has it, the state store,
        which is always written after the ledger, cannot be ahead and is not asked again.

        Raises: StateUnavailable, StorageFault, StoreMismatch.
        """
        if self._state.is_ledger:
            peek = await self._storage.peek(upload_id)
            record = peek.record
        else:
            peek, record = await self._compare(upload_id, known)
        if record is None:
            return None, peek.holder
        return in_epoch(record, self._storage.epoch), peek.holder

    async def _compare(
        self, upload_id: UploadId, known: Upload | None
    ) -> tuple[Peek, Upload | None]:
        """Look into the ledger and the state store; put right what the state store has."""
        if known is not None:
            peek = await self._storage.peek(upload_id)
            if peek.record == known:
                return peek, known
        peek, stored = await self._look(upload_id)
        if peek.is_gone and stored is not None and self._has_files(stored):
            # Unless it was made in this moment: the state store is told of it last.
            peek = await self._storage.peek(upload_id)
            if peek.is_gone:
                logger.warning(
                    "upload %s: the state store has a record of it, but its files are gone; it was "
                    "removed and the state store set back, or somebody deletes files in the upload "
                    "directory",
                    upload_id,
                )
                return peek, None
        record = newer(peek.record, stored)
        if record is not None and record != stored:
            record = await self._restore(record, kept=peek.record is not None)
        return peek, record

    def _has_files(self, stored: Upload) -> bool:
        """Tell whether an upload of which there is nothing on the disk was removed from there.

        A power cut takes only what was never synced, and what is complete is of no use then.
        """
        return stored.epoch == self._storage.epoch or stored.is_complete or stored.synced > 0

    async def _look(self, upload_id: UploadId) -> tuple[Peek, Upload | None]:
        """Read the ledger while the state store is asked."""
        # One task more, where `asyncio.gather` makes two of its own and a future for both.
        asking = asyncio.create_task(self._state.get(upload_id))
        try:
            return await self._storage.peek(upload_id), await asking
        except BaseException:
            if not asking.cancel() and not asking.cancelled():
                asking.exception()  # It is known that something went wrong.
            raise

    async def _restore(self, record: Upload, *, kept: bool) -> Upload | None:
        """Put a record back into the state store; `kept`: the ledger had one a moment ago."""
        restored = await self._state.restore(record)
        if kept and (await self._storage.peek(record.upload_id)).record is None:
            # Its removal came in between: the record must not come back.
            await self._state.delete(record.upload_id)
            return None
        return restored

    async def add(self, upload: Upload) -> None:
        """Make a new record known; the ledger was written by `Storage.create`."""
        if not self._state.is_ledger:
            await self._state.add(upload)

    async def commit(self, lease: Lease, upload: Upload, *, sync: bool = False) -> None:
        """Write a record to the ledger, then to the state store. Holds the lease.

        When the state store fails, the ledger has the record and the next load repairs it.

        Raises: StorageFault, StateUnavailable, StateConflict.
        """
        with timed(self._meter.committed):
            await self._commit(lease, upload, sync=sync)

    def commit_at_once(self, lease: Lease, upload: Upload) -> bool:
        """Commit as `commit` does where nothing has to be waited for; False where it has.

        Raises: StorageFault, StateConflict.
        """
        if not self._state.is_ledger:
            return False
        start = time.perf_counter()
        try:
            done = self._storage.record_at_once(lease, upload)
        except TusError:
            self._meter.committed(time.perf_counter() - start, FAILED)
            raise
        if done:
            if self._note is not None:
                self._note(upload)
            self._meter.committed(time.perf_counter() - start, OK)
        return done

    async def _commit(self, lease: Lease, upload: Upload, *, sync: bool) -> None:
        await self._storage.record(lease, upload, sync=sync)
        if self._note is not None:
            self._note(upload)
        if self._state.is_ledger:
            return
        try:
            await self._state.save(upload)
        except StateConflict:
            # Redis was flushed, rolled back or lost a commit: who holds the lease is right.
            stored = await self._state.restore(upload)
            if stored != upload:
                logger.exception(
                    "upload %s: the state store has version %d (%s), further than version %d (%s) "
                    "of the process that holds the lease; do two stores share one directory?",
                    upload.upload_id,
                    stored.version,
                    stored.status.value,
                    upload.version,
                    upload.status.value,
                )
                raise

    async def drop(self, upload_id: UploadId) -> None:
        """Drop the record of an upload whose files are gone."""
        if not self._state.is_ledger:
            await self._state.delete(upload_id)
