"""A store with many uploads: all are listed, exactly the expired ones go, requests go on."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.stores import add_all, records, write_files
from tests.engine.conftest import FedBody, build, eventually
from tusserver.compose import SystemClock
from tusserver.engine.sweeper import AT_ONCE, REST
from tusserver.errors import StateUnavailable, StorageFault
from tusserver.storage.local import LocalStorage
from tusserver.upload import Limits

__all__ = ["build"]

COUNT, EXPIRED = 1800, 200


class WatchedStorage(LocalStorage):
    """Counts the leases that are held at the same time on uploads that are to be removed."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.watched = set()
        self.held = set()
        self.most = 0
        self.scans_fail = False
        self.scan_seconds = 0.0
        self.first_round = asyncio.Event()

    async def lease(self, upload_id, **options):
        lease = await super().lease(upload_id, **options)
        if lease is not None and upload_id in self.watched:
            self.held.add(upload_id)
            self.most = max(self.most, len(self.held))
        return lease

    async def remove(self, lease):
        await super().remove(lease)
        self.held.discard(lease.upload_id)

    async def scan(self, after, limit, *, gently=False):
        if self.scans_fail:
            raise StorageFault
        await asyncio.sleep(self.scan_seconds)
        return await super().scan(after, limit, gently=gently)

    async def sweep_orphans(self, **options):
        count = await super().sweep_orphans(**options)
        self.first_round.set()
        return count


async def fill(house, *, count, expired):
    """Put uploads into the store of an engine; give their ids."""
    storage, state = house.parts.storage, house.parts.state
    # The engine's own first round would tend some of them before all are there.
    await storage.first_round.wait()
    made = list(records(count, epoch=storage.epoch, expired=expired))
    await asyncio.to_thread(write_files, house.directory, storage.store_id, made)
    if not state.is_ledger:
        for start in range(0, count, 100):
            await add_all(state, made[start : start + 100])
    return {upload.upload_id for upload in made}


async def listed(house, limit):
    found, after = [], None
    while page := await house.parts.state.list(after, limit):
        found += [upload.upload_id for upload in page]
        after = found[-1]
    return found


async def use(house, swept):
    """Upload, look and download until the sweeping is over; give the ids."""
    made = set()
    while not swept.done():
        upload = await house.create(5)
        await house.append(upload, 0, FedBody(b"hello"))
        assert (await house.head(upload)).offset == 5
        assert await house.content(upload) == b"hello"
        made.add(upload.upload_id)
    return made


def sweeping():
    return [task for task in asyncio.all_tasks() if task.get_name() == "sweeping"]


@pytest.fixture(autouse=True)
async def fast_loop():
    """Keep no stack of each of 100,000 calls, as the debugging of asyncio does."""
    asyncio.get_running_loop().set_debug(False)


@pytest.fixture
async def house(build, state_url):
    return await build(
        storage=WatchedStorage,
        state_url=None if state_url == "local" else state_url,
        clock=SystemClock(),
        grace=0.0,
        # It is about sweeping: requests are not to wait for the disk.
        durability="process",
    )


@pytest.mark.timeout(60)
async def test_exactly_the_expired_uploads_are_removed_while_requests_go_on(house):
    stay = await fill(house, count=COUNT, expired=False)
    go = await fill(house, count=EXPIRED, expired=True)
    assert await listed(house, 97) == sorted(stay | go)
    house.parts.storage.watched = go
    swept = asyncio.create_task(house.engine.sweeper.sweep())
    made = await use(house, swept)
    assert await swept == EXPIRED
    assert len(made) > 3
    assert await listed(house, 1000) == sorted(stay | made)
    left = {path.name for path in house.directory.glob("??/*")}
    assert left == {name for one in stay | made for name in (one, f"{one}.meta")}
    assert 1 < house.parts.storage.most <= AT_ONCE


async def test_a_sweep_without_its_state_store_ends_and_leaves_nothing_running(build, start_redis):
    redis = start_redis()
    house = await build(storage=WatchedStorage, state_url=redis.url, clock=SystemClock(), grace=0.0)
    go = await fill(house, count=200, expired=True)
    swept = asyncio.create_task(house.engine.sweeper.sweep())
    assert await eventually(lambda: len(list(house.directory.glob("??/*.meta"))) <= 190)
    redis.kill()
    with pytest.raises(StateUnavailable):
        await swept
    assert not sweeping()
    redis.start()
    removed = await house.engine.sweeper.sweep()
    assert removed > 0
    assert await listed(house, 1000) == []
    assert not [name for name in go if list(house.directory.glob(f"??/{name}*"))]


async def test_a_store_that_takes_long_to_read_is_not_read_all_the_time(build, monkeypatch):
    house = await build(storage=WatchedStorage, chores=False)
    await house.create(10)
    sweeper = house.engine.sweeper
    sweeper._interval = 0.1
    await sweeper.sweep()
    quick = sweeper.pause
    house.parts.storage.scan_seconds = 1.5
    await sweeper.sweep()
    assert quick < 1.5 * REST <= sweeper.pause
    monkeypatch.setattr("tusserver.engine.sweeper.LONGEST_REST", 0.5)
    assert sweeper.pause == 0.5
    monkeypatch.undo()
    house.parts.storage.scan_seconds = 0.0
    await sweeper.sweep()
    assert sweeper.pause < 1.5 * REST


async def test_what_was_seen_expired_is_removed_without_being_looked_for(build):
    house = await build(
        storage=WatchedStorage, limits=Limits(expire_after=100.0), grace=50.0, chores=False
    )
    upload = await house.create(10)
    house.clock.pass_(101)
    assert await house.engine.sweeper.sweep() == 0
    house.parts.storage.scans_fail = True
    house.clock.pass_(51)
    with pytest.raises(StorageFault):
        await house.engine.sweeper.sweep()
    assert await house.record(upload) is None


async def test_what_was_not_seen_for_long_enough_stays(build):
    house = await build(
        storage=WatchedStorage, limits=Limits(expire_after=100.0), grace=50.0, chores=False
    )
    upload = await house.create(10)
    house.clock.pass_(101)
    assert await house.engine.sweeper.sweep() == 0
    house.clock.pass_(49)
    assert await house.engine.sweeper.sweep() == 0
    assert await house.record(upload)
