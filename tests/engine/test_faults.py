"""A disk whose sync fails: whatever comes in between, the offset falls to what was synced."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, RecordingStorage, eventually
from tusserver.body import BodyEnd
from tusserver.errors import OffsetMismatch, RequestMalformed, StorageFault

MIB = 1024 * 1024
CHUNK = bytes(range(256)) * 1024


class TroubledDisk(RecordingStorage):
    """A disk whose syncs wait at a gate, and fail when told to."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = False
        self.syncing = 0
        self.ledger_fails = False

    async def sync(self, upload_id):
        self.syncing += 1
        await self.gate.wait()
        if self.failing:
            raise StorageFault
        await super().sync(upload_id)

    async def record(self, lease, upload, *, sync):
        if self.ledger_fails:
            raise StorageFault
        await super().record(lease, upload, sync=sync)


@pytest.fixture
async def house(build):
    return await build(storage=TroubledDisk)


@pytest.fixture
async def eager(house, monkeypatch):
    """A house in which each checkpoint begins a background sync."""
    monkeypatch.setattr("tusserver.engine.checkpoints.SYNC_SECONDS", 0.0)
    return house


async def background_sync(house, upload):
    """Start an append whose background sync hangs."""
    house.parts.storage.gate.clear()
    body = FedBody(*[CHUNK] * 4 * 17, end=None)
    append = house.start_append(upload, 0, body)
    assert await eventually(lambda: house.parts.storage.syncing == 1)
    return append, body


async def fallen(house, upload, offset=0):
    async def at_offset():
        return (await house.record(upload)).offset == offset

    return await eventually(at_offset)


async def test_a_sync_that_fails_after_its_append_takes_the_offset_back(eager):
    upload = await eager.create(64 * MIB)
    append, body = await background_sync(eager, upload)
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append
    assert (await eager.head(upload)).offset == 17 * MIB
    eager.parts.storage.failing = True
    eager.parts.storage.gate.set()
    assert await fallen(eager, upload)


async def test_no_newer_append_builds_on_bytes_that_a_failed_sync_lost(eager):
    upload = await eager.create(18 * MIB)
    append, body = await background_sync(eager, upload)
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append
    second = FedBody(end=None)
    newer = eager.start_append(upload, 17 * MIB, second)
    await eager.receiving(upload)
    eager.parts.storage.failing = True
    eager.parts.storage.gate.set()
    # Requests come at the same time as the fall, each newer than it.
    with pytest.raises(Exception):  # noqa: B017, PT011 - which of them loses is a matter of time
        await eager.append(upload, 17 * MIB, FedBody(*[CHUNK] * 4))
    with pytest.raises(Exception):  # noqa: B017, PT011 - the same
        await newer
    eager.parts.storage.failing = False
    assert await fallen(eager, upload)
    with pytest.raises(OffsetMismatch):
        await eager.append(upload, 17 * MIB, FedBody(*[CHUNK] * 4))


async def test_a_sync_that_fails_after_a_commit_failed_takes_the_offset_back(eager):
    upload = await eager.create(64 * MIB)
    append, body = await background_sync(eager, upload)
    work = await eager.receiving(upload)
    await eventually(lambda: work.progress.position == 17 * MIB)
    eager.parts.storage.ledger_fails = True
    with pytest.raises(StorageFault):
        await work.progress.commit_now(at_once=True)
    eager.parts.storage.ledger_fails = False
    eager.parts.storage.failing = True
    eager.parts.storage.gate.set()
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(StorageFault):
        await append
    assert await fallen(eager, upload)


async def test_an_offset_that_could_not_be_taken_back_at_once_is_taken_back_later(
    house, monkeypatch
):
    monkeypatch.setattr("tusserver.engine.falls.RETRY_SECONDS", 0.05)
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234"))
    storage = house.parts.storage
    storage.failing = storage.ledger_fails = True
    with pytest.raises(StorageFault):
        await house.append(upload, 5, FedBody(b"56789"))
    assert (await house.record(upload)).offset == 5
    storage.failing = storage.ledger_fails = False
    assert await fallen(house, upload)


async def test_an_idle_upload_whose_sync_fails_falls_back_under_a_running_append(house):
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    storage = house.parts.storage
    storage.gate.clear()
    syncing = asyncio.create_task(house.engine._idle.sync_everything())
    assert await eventually(lambda: storage.syncing)
    append = house.start_append(upload, 60, FedBody(b"y", end=None))
    await house.receiving(upload)
    storage.failing = True
    storage.gate.set()
    await syncing
    with pytest.raises(StorageFault):
        await append
    assert await fallen(house, upload)


async def test_bytes_written_anew_after_a_sync_began_do_not_count_as_synced(house, build):
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    storage = house.parts.storage
    storage.gate.clear()
    syncing = asyncio.create_task(house.engine._idle.sync_everything())
    assert await eventually(lambda: storage.syncing)
    other = await build()

    async def leave(_holder):
        return None

    lease = await other.parts.storage.lease(upload.upload_id, on_contended=leave, timeout=1)
    record = await other.record(upload)
    await other.parts.records.commit(lease, record.next(offset=0))
    await lease.release()
    await other.append(upload, 0, FedBody(b"z" * 60))
    storage.gate.set()
    await syncing
    assert (await house.record(upload)).synced == 0


async def test_what_is_being_synced_at_a_graceful_stop_is_still_synced(house):
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    idle, storage = house.engine._idle, house.parts.storage
    storage.gate.clear()
    syncing = asyncio.create_task(idle.sync_everything())
    assert await eventually(lambda: storage.syncing)
    syncing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await syncing
    storage.gate.set()
    await idle.sync_everything()
    assert (await house.record(upload)).synced == 60


async def test_what_a_killed_process_left_is_synced_by_who_sweeps(house, build):
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    after = await build()
    await house.parts.storage.resign("sweep")

    async def synced():
        await after.engine.sweeper.sweep()
        await after.engine._idle.sync_everything()
        return (await after.record(upload)).synced == 60

    assert await eventually(synced)
