"""However an append ends: nothing is committed after its lease, no version is used twice."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, RecordingStorage, eventually
from tusserver.errors import ShuttingDown, StorageFault
from tusserver.protocol.messages import Append, Create
from tusserver.storage.local import LocalStorage

MIB = 1024 * 1024


class BrokenBody(FedBody):
    """A body whose reading fails as only a fault of this program can."""

    async def read(self):
        if self._chunks.empty():
            raise RuntimeError("a fault of the program")
        return await super().read()


class GatedLedger(RecordingStorage):
    """A ledger that notes what is written and can be made to wait after a write."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.written = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0

    async def record(self, lease, upload, *, sync):
        await super().record(lease, upload, sync=sync)
        self.written.append(upload)
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1


@pytest.fixture
async def house(build):
    return await build(storage=GatedLedger)


async def test_a_body_that_fails_unexpectedly_leaves_no_commit_behind(house, build):
    upload = await house.create(100)
    with pytest.raises(RuntimeError, match="of the program"):
        await house.append(upload, 0, BrokenBody(b"x" * 60, end=None))
    written = len(house.parts.storage.written)
    other = await build()
    assert (await other.append(upload, (await other.head(upload)).offset, FedBody())).offset in {
        0,
        60,
    }
    version = (await other.record(upload)).version
    await asyncio.sleep(1.2)  # the time of a checkpoint
    assert len(house.parts.storage.written) == written
    assert (await other.record(upload)).version == version


async def test_an_append_that_is_cancelled_leaves_no_commit_behind(house):
    upload = await house.create(100)
    append = house.start_append(upload, 0, FedBody(b"x" * 60, end=None))
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 60)
    for task in asyncio.all_tasks():
        if task.get_name() == "request":
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await append
    written = len(house.parts.storage.written)
    await asyncio.sleep(1.2)
    assert len(house.parts.storage.written) == written
    assert house.parts.slots.holder(upload.upload_id) is None


async def test_a_commit_in_flight_is_seen_through_before_the_lease_is_let_go(house, build):
    upload = await house.create(100)
    body = FedBody(end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    # Before there is anything that a checkpoint might commit.
    storage = house.parts.storage
    storage.gate.clear()
    body.feed(b"x" * 60)
    await eventually(lambda: work.progress.position == 60)
    head = asyncio.create_task(work.progress.commit_now(at_once=True))
    assert await eventually(lambda: storage.waiting)
    for _ in range(3):
        for task in asyncio.all_tasks():
            if task.get_name() == "request":
                task.cancel()
        await asyncio.sleep(0.02)
    assert house.parts.slots.holder(upload.upload_id) is work
    storage.gate.set()
    assert await head == 60
    with pytest.raises(asyncio.CancelledError):
        await append
    other = await build()
    assert (await other.head(upload)).offset == 60


async def test_a_head_whose_client_goes_does_not_break_a_commit_off(house):
    upload = await house.create(100)
    body = FedBody(end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    # Before there is anything that a checkpoint might commit.
    storage = house.parts.storage
    storage.gate.clear()
    body.feed(b"x" * 60)
    await eventually(lambda: work.progress.position == 60)
    head = asyncio.create_task(work.progress.commit_now(at_once=True))
    assert await eventually(lambda: storage.waiting)
    head.cancel()
    with pytest.raises(asyncio.CancelledError):
        await head
    storage.gate.set()
    body.feed(b"y" * 10)
    body.finish()
    assert (await append).offset == 70
    contents = {}
    for record in storage.written:
        assert contents.setdefault(record.version, record) == record


async def test_a_checkpoint_that_fails_unexpectedly_ends_the_append(build):
    class Broken(RecordingStorage):
        async def record(self, *_, **__):
            raise RuntimeError("a fault of the program")

    house = await build(storage=Broken)
    upload = await house.create(1000)
    append = house.start_append(upload, 0, FedBody(b"x" * 60, end=None))
    with pytest.raises(Exception, match="server failed"):
        await asyncio.wait_for(append, 5)
    assert house.parts.slots.holder(upload.upload_id) is None


async def test_a_request_that_was_under_way_at_the_stop_brings_no_more_bytes(build):
    class SlowPeek(LocalStorage):
        gate = None

        async def peek(self, upload_id):
            found = await super().peek(upload_id)
            if self.gate is not None:
                await self.gate.wait()
            return found

    house = await build(storage=SlowPeek)
    upload = await house.create(100)
    house.parts.storage.gate = asyncio.Event()
    append = house.start_append(upload, 0, FedBody(b"x" * 10, end=None))
    await asyncio.sleep(0.05)
    house.engine.stop_bodies()
    house.parts.storage.gate.set()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(append, 2)


async def test_the_error_of_a_running_append_is_not_told_to_who_asks_about_it(build):
    class Failing(RecordingStorage):
        failing = False

        async def record(self, lease, upload, *, sync):
            if self.failing:
                raise StorageFault
            await super().record(lease, upload, sync=sync)

    house = await build(storage=Failing)
    upload = await house.create(1000)
    body = FedBody(b"x" * 60, end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 60)
    house.parts.storage.failing = True

    async def flow():
        while True:
            await asyncio.sleep(0.05)
            body.feed(b"x")

    flowing = asyncio.create_task(flow())
    assert (await house.head(upload)).offset == 0
    flowing.cancel()
    with pytest.raises(StorageFault):
        await append


async def test_a_continue_that_cannot_be_sent_leaves_the_upload_free(house):
    async def broken():
        raise RuntimeError("a fault of the program")

    upload = await house.create(10)
    command = Append(upload_id=upload.upload_id, offset=0)
    with pytest.raises(RuntimeError):
        await house.engine.append(command, FedBody(b"01234"), proceed=broken)
    with pytest.raises(RuntimeError):
        await house.engine.create(
            Create(length=10, has_body=True), FedBody(b"01234"), proceed=broken
        )
    assert not house.parts.storage._held
    assert (await house.append(upload, 0, FedBody(b"0123456789"))).is_complete
