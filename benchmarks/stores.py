"""Stores with many uploads, made by the code of the server's own rooms.

Half of the uploads are finished, and some may be expired. Beside local state, they may be in a
Redis, which must be an empty one of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState
from tusserver.storage.ledger import format_ledger
from tusserver.storage.local import LocalStorage
from tusserver.upload import Status, Upload, new_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tusserver.upload import UploadId

LENGTH = 4096
METADATA = "filename aG9saWRheSBwaWN0dXJlIDAwMS5qcGc=,filetype aW1hZ2UvanBlZw=="
BATCH = 500


def records(count: int, *, epoch: str, expired: bool) -> Iterator[Upload]:
    """Make records: half of them finished; the expired ones are all unfinished."""
    now = datetime.now(UTC)
    life = timedelta(hours=-1) if expired else timedelta(days=7)
    for number in range(count):
        done = not expired and number % 2 == 0
        yield Upload(
            upload_id=new_upload_id(),
            created_at=now - timedelta(days=1),
            length=LENGTH,
            offset=LENGTH if done else LENGTH // 2,
            synced=LENGTH if done else LENGTH // 2,
            epoch=epoch,
            metadata=METADATA,
            status=Status.COMPLETE if done else Status.OPEN,
            expires_at=None if done else now + life,
        )


def write_files(root: Path, store_id: str, uploads: list[Upload]) -> None:
    """Write what the server would have written for these uploads."""
    for upload in uploads:
        shard = root / upload.upload_id[:2]
        shard.mkdir(exist_ok=True)
        # Nobody reads them: a hole tells as much as bytes, and a million of them fit the disk.
        descriptor = os.open(shard / upload.upload_id, os.O_CREAT | os.O_WRONLY, 0o640)
        os.ftruncate(descriptor, LENGTH)
        os.close(descriptor)
        ledger = format_ledger(upload, store_id, None)
        (shard / f"{upload.upload_id}.meta").write_bytes(ledger)


@asynccontextmanager
async def store(
    root: Path, url: str
) -> AsyncIterator[tuple[LocalStorage, LocalState | RedisState]]:
    """Open the parts that keep uploads, as a server does."""
    kind = "local" if url == "local" else "redis"
    storage = LocalStorage(root, reserve=0, state_kind=kind, mailbox_name="")
    await storage.open()
    state = LocalState(storage) if url == "local" else RedisState(url)
    try:
        await state.attach(storage.store_id)
        yield storage, state
    finally:
        await state.close()
        await storage.close()


async def fill(root: Path, url: str, count: int, *, expired: bool) -> list[UploadId]:
    """Put uploads into the store; give the ids of some of them."""
    some: list[UploadId] = []
    async with store(root, url) as (storage, state):
        made = records(count, epoch=storage.epoch, expired=expired)
        while batch := list(itertools.islice(made, BATCH)):
            some.append(batch[0].upload_id)
            await asyncio.to_thread(write_files, root, storage.store_id, batch)
            if isinstance(state, RedisState):
                await add_all(state, batch)
    return some


async def add_all(state: RedisState, uploads: list[Upload]) -> None:
    """Put records into Redis: at the same time, so that it gets them in few messages."""
    await asyncio.gather(*(state.add(upload) for upload in uploads))
