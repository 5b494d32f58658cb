"""What every state store is tested with: a bench that commits as the engine does."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, Self

import pytest

from tests.support.ports import free_port
from tests.support.redis_fixture import need_redis_server
from tests.support.redis_server import RedisServer
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tusserver.ports import Holder, Lease, StateStore
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


class LocalBench:
    """The ledger of a real directory as the state."""

    def __init__(self, storage: LocalStorage) -> None:
        self.storage = storage
        self.state = LocalState(storage)

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory: Path) -> AsyncIterator[Self]:
        storage = LocalStorage(directory, reserve=0, state_kind="local", mailbox_name="")
        await storage.open()
        bench = cls(storage)
        await bench.state.attach(storage.store_id)
        yield bench
        await bench.state.close()
        await storage.close()

    async def create(self, upload: Upload) -> None:
        lease = await self.storage.create(upload, sync=False)
        await self.state.add(upload)
        await lease.release()

    async def commit(self, upload: Upload) -> None:
        lease = await self._lease(upload.upload_id)
        await self.storage.record(lease, upload, sync=False)
        await self.state.save(upload)
        await lease.release()

    async def remove(self, upload_id: UploadId) -> None:
        await self.storage.remove(await self._lease(upload_id))
        await self.state.delete(upload_id)

    async def _lease(self, upload_id: UploadId) -> Lease:
        async def nobody_holds_it(_: Holder | None) -> None:
            raise AssertionError("the lease was not released")

        lease = await self.storage.lease(upload_id, on_contended=nobody_holds_it, timeout=1)
        assert lease is not None
        return lease


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
