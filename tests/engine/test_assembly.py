"""Final uploads between their steps: crashes, faults, and requests that come in between."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tests.engine.joining import finals, part, settled
from tusserver.engine import takeover, work
from tusserver.errors import (
    PartNotFound,
    PartPinned,
    StateUnavailable,
    StorageFault,
    TusError,
    UploadLocked,
    UploadNotFound,
)
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.upload import Limits


class Stepwise(LocalStorage):
    """A storage that stops for good, as if killed, before a step; or waits at it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dies_at = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.joins = 0
        self.joined = []

    def _step(self, name):
        if self.dies_at == name:
            self.dies_at = "dead"
        if self.dies_at == "dead":
            raise StorageFault

    async def pin(self, part_id, final_id, *, sync):
        self._step("pin")
        await super().pin(part_id, final_id, sync=sync)

    async def unpin(self, part_id, final_id):
        self._step("unpin")
        await super().unpin(part_id, final_id)

    async def record(self, lease, upload, *, sync):
        if upload.parts:
            self._step("assembled" if upload.assembled and upload.is_complete else "complete")
        self._step("record")
        await super().record(lease, upload, sync=sync)

    async def concat(self, lease, parts, *, stop):
        self._step("concat")
        self.joins += 1
        await self.gate.wait()
        whole = await super().concat(lease, parts, stop=stop)
        self.joined.append(whole)
        return whole


@pytest.mark.parametrize("step", ["pin", "complete", "concat", "assembled", "unpin"])
async def test_what_a_crash_left_of_a_final_upload_is_resumed(build, step):
    told = []

    async def post_finish(event):
        told.append(event.upload.upload_id)

    hooks = CallableHooks(post_finish=post_finish)
    crashed = await build(storage=Stepwise, hooks=hooks)
    a, b = await part(crashed, b"hello"), await part(crashed, b" world")
    crashed.parts.storage.dies_at = step
    try:
        await crashed.join(a, b, a)
    except TusError:
        assert step in {"pin", "complete"}
    await eventually(lambda: crashed.parts.storage.dies_at == "dead")
    await asyncio.sleep(0.05)
    await crashed.parts.storage.resign("sweep")
    after = await build(hooks=hooks)
    (final,) = await settled(after)
    assert await after.content(final) == b"hello worldhello"
    assert await eventually(lambda: told and set(told) == {final.upload_id})
    await after.engine.terminate(a.upload_id)
    await after.engine.terminate(b.upload_id)
    assert await after.content(final) == b"hello worldhello"


async def test_a_final_upload_that_is_resumed_pins_its_parts_first(build):
    crashed = await build(storage=Stepwise)
    a, b = await part(crashed, b"hello"), await part(crashed, b" world")
    crashed.parts.storage.dies_at = "pin"
    with pytest.raises(StorageFault):
        await crashed.join(a, b)
    await crashed.parts.storage.resign("sweep")
    after = await build(storage=Stepwise)
    after.parts.storage.gate.clear()
    await after.engine.sweeper.sweep()
    assert await eventually(lambda: after.parts.storage.joins)
    with pytest.raises(PartPinned):
        await after.engine.terminate(a.upload_id)
    after.parts.storage.gate.set()
    (final,) = await settled(after)
    assert await after.content(final) == b"hello world"


class SlowPins(LocalStorage):
    """Pins that can be seen for a while before they are on the disk."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gate = asyncio.Event()
        self.pinning = False

    async def pin(self, part_id, final_id, *, sync):
        await super().pin(part_id, final_id, sync=False)
        self.pinning = True
        await self.gate.wait()
        await super().pin(part_id, final_id, sync=sync)


async def test_a_pin_that_is_not_yet_on_the_disk_completes_no_final_upload(build):
    house = await build(storage=SlowPins)
    a = await part(house, b"hello")
    joining = asyncio.create_task(house.join(a))
    assert await eventually(lambda: house.parts.storage.pinning)
    (final,) = await finals(house)
    resuming = asyncio.create_task(house.engine.sweeper._concatenation.resume(final.upload_id))
    await asyncio.wait([resuming], timeout=0.3)
    assert not (await house.record(final)).is_complete
    house.parts.storage.gate.set()
    await joining
    await resuming
    assert await house.content(final) == b"hello"


async def test_a_running_assembly_is_not_begun_again_by_who_sweeps(build, monkeypatch):
    # A sweep that waited for the assembly would wait for longer than the test does.
    for name in ("LET_GO", "FINISH_WAIT"):
        monkeypatch.setattr(takeover, name, 60.0)
        monkeypatch.setattr(work, name, 60.0)
    house = await build(storage=Stepwise)
    other = await build(storage=Stepwise)
    storage = house.parts.storage
    storage.gate.clear()
    a, b = await part(house, b"hello"), await part(house, b" world")
    final = await house.join(a, b)
    assert await eventually(lambda: storage.joins)
    await storage.resign("sweep")
    async with asyncio.timeout(20):
        await other.engine.sweeper.sweep()
        await other.parts.storage.resign("sweep")
        await house.engine.sweeper.sweep()
    storage.gate.set()
    assert await settled(house)
    assert (storage.joins, storage.joined, other.parts.storage.joins) == (1, [True], 0)
    assert await house.content(final) == b"hello world"


async def test_a_sweep_does_not_wait_for_an_assembly(build):
    crashed = await build(storage=Stepwise)
    a = await part(crashed, b"hello")
    crashed.parts.storage.dies_at = "concat"
    await crashed.join(a)
    await eventually(lambda: crashed.parts.storage.dies_at == "dead")
    await asyncio.sleep(0.05)
    await crashed.parts.storage.resign("sweep")
    after = await build(storage=Stepwise)
    after.parts.storage.gate.clear()
    async with asyncio.timeout(2):
        await after.engine.sweeper.sweep()
    after.parts.storage.gate.set()
    await settled(after)


async def test_bytes_that_are_not_assembled_are_never_served(build):
    house = await build(storage=Stepwise)
    house.parts.storage.gate.clear()
    a, b = await part(house, b"hello"), await part(house, b" world")
    final = await house.join(a, b)
    for path in house.directory.glob(f"*/{a.upload_id}*"):
        path.unlink()
    with pytest.raises(TusError):
        await house.content(final)
    house.parts.storage.gate.set()


async def test_terminating_a_final_upload_ends_its_assembly(build):
    house = await build(storage=Stepwise)
    storage = house.parts.storage
    storage.gate.clear()
    a, b = await part(house, b"hello"), await part(house, b" world")
    final = await house.join(a, b)
    assert await eventually(lambda: storage.joins)
    removal = asyncio.create_task(house.engine.terminate(final.upload_id))
    await asyncio.sleep(0.05)
    storage.gate.set()
    await removal
    with pytest.raises(UploadNotFound):
        await house.head(final)
    await house.engine.terminate(a.upload_id)
    await house.engine.terminate(b.upload_id)
    assert not [path for path in house.directory.glob("??/*") if path.is_file()]


async def test_one_part_may_be_in_two_final_uploads(build):
    house = await build(storage=Stepwise)
    storage = house.parts.storage
    storage.gate.clear()
    a, b = await part(house, b"hello"), await part(house, b" world")
    first, second = await house.join(a, b), await house.join(b, a)
    with pytest.raises(PartPinned):
        await house.engine.terminate(a.upload_id)
    storage.gate.set()
    await settled(house)
    assert await house.content(first) == b"hello world"
    assert await house.content(second) == b" worldhello"


async def test_a_final_upload_is_not_refused_because_its_part_is_being_written(house):
    a = await house.create(5, partial=True)
    appends = [house.start_append(a, 0, FedBody(b"hello", end=None)) for _ in range(3)]
    await house.receiving(a)
    joining = asyncio.create_task(house.join(a))
    again = house.start_append(a, (await house.head(a)).offset, FedBody())
    final = await joining
    await asyncio.gather(again, *appends, return_exceptions=True)
    offset = (await house.head(a)).offset
    assert (await house.append(a, offset, FedBody(b"hello"[offset:]))).is_complete
    (found,) = await settled(house)
    assert found.upload_id == final.upload_id
    assert await house.content(final) == b"hello"


async def test_a_pinned_part_that_is_finished_does_not_expire(build):
    house = await build(limits=Limits(expire_after=100.0))
    a, b = await house.create(5, partial=True), await house.create(5, partial=True)
    await house.join(a, b)
    done = await house.append(a, 0, FedBody(b"hello"))
    assert done.is_complete
    assert done.expires_at is None


async def test_a_final_upload_that_was_refused_is_gone_also_when_redis_goes(
    build, redis_server, monkeypatch
):
    async def pre_finish(_event):
        monkeypatch.setattr(RedisState, "get", away)
        monkeypatch.setattr(RedisState, "save", away)
        return Decision(reject=(403, "No."))

    async def away(*_):
        raise StateUnavailable

    house = await build(state_url=redis_server.url, hooks=CallableHooks(pre_finish=pre_finish))
    a = await part(house, b"hello")
    with pytest.raises(TusError, match=r"No\."):
        await house.join(a)
    monkeypatch.undo()
    await house.engine.sweeper.sweep()
    assert not await finals(house)
    await house.engine.terminate(a.upload_id)


async def test_a_final_upload_that_could_not_be_added_leaves_no_lease(build, monkeypatch):
    house = await build()
    a = await part(house, b"hello")

    async def broken(_upload):
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(house.parts.records, "add", broken)
    with pytest.raises(RuntimeError):
        await house.join(a)
    assert not house.parts.storage._held


async def test_a_part_that_goes_before_it_is_pinned_leaves_no_final_upload(build):
    class Removing(LocalStorage):
        removal = None

        async def create(self, upload, **more):
            lease = await super().create(upload, **more)
            if self.removal is not None and upload.parts:
                await self.removal()
            return lease

    house = await build(storage=Removing)
    a, b = await part(house, b"hello"), await part(house, b" world")
    house.parts.storage.removal = lambda: house.engine.terminate(b.upload_id)
    with pytest.raises(PartNotFound):
        await house.join(a, b)
    assert not await finals(house)
    assert await house.parts.storage.pins(a.upload_id) == ()


async def test_a_completion_that_comes_late_does_not_stop_the_assembly(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.work.LET_GO", 0.1)
    house = await build(storage=Stepwise)
    storage = house.parts.storage
    storage.gate.clear()
    a, b = await part(house, b"hello"), await part(house, b" world")
    final = await house.join(a, b)
    assert await eventually(lambda: storage.joins)
    with pytest.raises(UploadLocked):
        await house.engine.sweeper._concatenation._complete(final.upload_id, None)
    storage.gate.set()
    await settled(house)
    assert storage.joined == [True]


async def test_many_parts_are_pinned_and_let_go_each_under_its_own_lease(build):
    house = await build(storage=Stepwise)
    storage = house.parts.storage
    storage.gate.clear()
    parts = [await house.create(1, partial=True) for _ in range(70)]
    for index, one in enumerate(parts):
        await house.append(one, 0, FedBody(bytes([index])))
    final = await house.join(*parts)
    for one in parts:
        assert await storage.pins(one.upload_id) == (final.upload_id,)
    storage.gate.set()
    await settled(house)
    assert await house.content(final) == bytes(range(70))

    async def is_free():
        return not storage._held  # the last one is let go just after its record says so

    assert await eventually(is_free)
