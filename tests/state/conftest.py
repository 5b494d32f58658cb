"""What every state store is tested with: a bench that commits as the engine does."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, Self, cast

import pytest

from tests.support.redis_fixture import need_redis_server
from tests.support.redis_server import RedisServer, free_port
from tusserver.ports import Peek
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tusserver.ports import StateStore, Storage
    from tusserver.upload import Upload, UploadId

STORE_ID = "store-of-the-tests"


class Bench(Protocol):
    """A state store, and the commits of an engine: the ledger first, then the state."""

    state: StateStore

    async def create(self, upload: Upload) -> None: ...

    async def commit(self, upload: Upload) -> None: ...

    async def remove(self, upload_id: UploadId) -> None: ...


class RedisBench:
    """Redis alone: it is asked nothing about the ledger."""

    def __init__(self, state: RedisState) -> None:
        self.state = state
        self.create = state.add
        self.commit = state.save
        self.remove = state.delete


class Ledger:
    """The part of a storage that the state reads, without files."""

    def __init__(self) -> None:
        self.records: dict[UploadId, Upload] = {}

    async def peek(self, upload_id: UploadId) -> Peek:
        return Peek(self.records.get(upload_id), None)

    async def scan(self, after: UploadId | None, limit: int) -> list[Upload]:
        upload_ids = sorted(known for known in self.records if after is None or known > after)
        return [self.records[upload_id] for upload_id in upload_ids[:limit]]


class LocalBench:
    """The ledger as the state."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.state = LocalState(cast("Storage", self.ledger))

    @classmethod
    @asynccontextmanager
    async def opened(cls, _directory: Path) -> AsyncIterator[Self]:
        bench = cls()
        await bench.state.attach(STORE_ID)
        yield bench
        await bench.state.close()

    async def create(self, upload: Upload) -> None:
        self.ledger.records[upload.upload_id] = upload
        await self.state.add(upload)

    async def commit(self, upload: Upload) -> None:
        self.ledger.records[upload.upload_id] = upload
        await self.state.save(upload)

    async def remove(self, upload_id: UploadId) -> None:
        del self.ledger.records[upload_id]
        await self.state.delete(upload_id)


@pytest.fixture(scope="session")
def cluster_server() -> Iterator[RedisServer]:
    """A cluster of one node: it refuses every command whose keys lie in two slots."""
    need_redis_server()
    with RedisServer(cluster_enabled="yes", cluster_port=str(free_port())) as server:
        server.cli("CLUSTER ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 10
        while server.cli("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline, "the cluster did not come up"
            time.sleep(0.02)
        yield server


@pytest.fixture
async def state(redis_server: RedisServer) -> AsyncIterator[RedisState]:
    """A state store in the shared, empty Redis."""
    store = RedisState(redis_server.url)
    await store.attach(STORE_ID)
    yield store
    await store.close()
