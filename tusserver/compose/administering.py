"""What an operator does with a store, also while servers run on it (floor 5).

Nothing here makes a store: a directory or a Redis that was mistyped is told, not used.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.compose.engine import build_engine
from tusserver.engine.sweeper import ORPHAN_AGE
from tusserver.errors import StorageFault, UploadNotFound
from tusserver.protocol.rules import in_epoch, is_expired, newer
from tusserver.state.redis import RedisState
from tusserver.storage.layout import Places
from tusserver.upload import Kind, Status, UploadId, is_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from tusserver.config import Settings
    from tusserver.engine.clearing import Fate
    from tusserver.engine.core import UploadEngine
    from tusserver.ports import Holder
    from tusserver.upload import Upload

PAGE = 500


class NoStoreError(Exception):
    """There is no store where the settings say; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which uploads are to be listed; None: all."""

    owner: str | None = None
    status: Status | None = None
    expired: bool = False
    """Only those whose time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An upload as an operator sees it."""

    upload: Upload
    holder: Holder | None
    """Who is writing it at this moment."""
    pins: tuple[UploadId, ...]
    """The final uploads that need it as a part."""
    data: Path
    ledger: Path


class Administration:
    """The uploads of one store, whoever else uses it."""

    def __init__(self, engine: UploadEngine, directory: Path) -> None:
        """Use an engine that has been started."""
        self._engine = engine
        self._parts = engine.parts
        self._places = Places(directory)

    def now(self) -> datetime:
        """Give the time by which uploads are expired."""
        return self._parts.now()

    async def listed(
        self, after: UploadId | None, limit: int | None, wanted: Wanted
    ) -> AsyncIterator[list[Found]]:
        """Give the uploads that are wanted in the order of their ids, a page at a time.

        `limit`: so many at most; None: all.
        """
        left = limit
        async for page in self._pages(after, PAGE if left is None else min(left, PAGE)):
            found = [upload for upload in page if self._is_wanted(upload, wanted)]
            if left is not None:
                found = found[:left]
                left -= len(found)
            if found:
                yield [await self._look_at(upload) for upload in found]
            if left == 0:
                return

    def _is_wanted(self, upload: Upload, wanted: Wanted) -> bool:
        return (
            (wanted.owner is None or upload.owner == wanted.owner)
            and (wanted.status is None or upload.status is wanted.status)
            and (not wanted.expired or is_expired(upload, self._parts.now()))
        )

    async def find(self, upload_id: str) -> Found:
        """Look at one upload. Raises: UploadNotFound."""
        upload, _ = await self._parts.records.load(checked_id(upload_id))
        if upload is None:
            raise UploadNotFound
        return await self._look_at(upload)

    async def _look_at(self, upload: Upload) -> Found:
        upload_id = upload.upload_id
        is_part = upload.kind is Kind.PARTIAL
        return Found(
            upload=upload,
            holder=await self._holder(upload_id),
            pins=await self._parts.storage.pins(upload_id) if is_part else (),
            data=self._places.data(upload_id),
            ledger=self._places.ledger(upload_id),
        )

    async def _holder(self, upload_id: UploadId) -> Holder | None:
        # Of a ledger that cannot be read (it was logged) the state store knows the record.
        with suppress(StorageFault):
            return (await self._parts.storage.peek(upload_id)).holder
        return None

    async def remove(self, upload_id: str) -> Upload:
        """Remove an upload, also from under a running server, which is asked to let go.

        Raises: UploadNotFound, PartPinned, UploadLocked.
        """
        return await self._engine.evict(checked_id(upload_id))

    async def sweep(self, *, dry_run: bool) -> AsyncIterator[tuple[Upload, Fate]]:
        """Remove what is expired now and what a crash left; give each upload and its fate.

        `dry_run`: nothing is removed. One whose files fail is logged and left out.
        """
        clearing = self._engine.clearing
        async for page in self._pages(None, PAGE):
            for upload in page:
                try:
                    fate = await clearing.foresee(upload)
                    if fate.goes and not dry_run:
                        fate = await clearing.clear(upload.upload_id)
                except StorageFault:
                    continue
                yield upload, fate

    async def sweep_orphans(self, *, dry_run: bool) -> int:
        """Remove old files that belong to no upload, or only count them."""
        known = None if self._parts.state.is_ledger else self._is_known
        return await self._parts.storage.sweep_orphans(
            older_than=ORPHAN_AGE, known=known, dry_run=dry_run
        )

    async def _is_known(self, upload_id: UploadId) -> bool:
        record = await self._parts.state.get(upload_id)
        return record is not None and record.status is not Status.REMOVED

    async def _pages(self, after: UploadId | None, limit: int) -> AsyncIterator[list[Upload]]:
        """Read all records, from the ledgers and from the state store: either may lack some."""
        more = True
        while more:
            ledgers = await self._parts.storage.scan(after, limit)
            stored = (
                [] if self._parts.state.is_ledger else await self._parts.state.list(after, limit)
            )
            full = [page[-1].upload_id for page in (ledgers, stored) if len(page) == limit]
            # What lies behind the end of a full page comes with the next one.
            end = min(full, default=None)
            page: dict[UploadId, Upload] = {}
            for upload in (*ledgers, *stored):
                if end is None or upload.upload_id <= end:
                    known = page.get(upload.upload_id)
                    page[upload.upload_id] = newer(known, upload) or upload
            yield [in_epoch(page[found], self._parts.storage.epoch) for found in sorted(page)]
            more, after = end is not None, end


def checked_id(text: str) -> UploadId:
    """Give an upload id. Raises: UploadNotFound for what can be none."""
    if not is_upload_id(text):
        raise UploadNotFound
    return UploadId(text)


@asynccontextmanager
async def administration(settings: Settings, *, changing: bool) -> AsyncIterator[Administration]:
    """Open the store of the settings beside the servers that use it.

    `changing`: something will be removed, which takes leases, counts, and is told to receivers.
    Raises: NoStoreError, ConfigError, StorageFault, StateUnavailable.
    """
    directory = await asyncio.to_thread(_find_store, settings)
    engine = build_engine(settings)
    try:
        await _check_state(engine, settings)
        if changing:
            await engine.start(chores=False)
        else:
            await engine.parts.storage.open()
            await engine.parts.state.attach(engine.parts.storage.store_id)
        yield Administration(engine, directory)
    finally:
        await engine.close()


def _find_store(settings: Settings) -> Path:
    """Give the directory of a store that is there. Raises: NoStoreError."""
    directory = Path(settings.upload_dir).absolute()
    if not Places(directory).identity.exists():
        raise NoStoreError(
            f"{directory} holds no store: correct --upload-dir, or start a server on it"
        )
    return directory


async def _check_state(engine: UploadEngine, settings: Settings) -> None:
    """Raise NoStoreError where a Redis would be claimed for the store."""
    state = engine.parts.state
    if isinstance(state, RedisState) and await state.claimed_by() is None:
        raise NoStoreError(
            f"{settings.state_shown} holds the records of no store: correct --state, or start a "
            "server with it"
        )
