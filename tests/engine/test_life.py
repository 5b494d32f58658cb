"""Start and stop: half-way, twice, with requests, hooks and chores under way."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.engine.conftest import FedBody, RecordingStorage, eventually
from tusserver.errors import AppendSuperseded, ConfigError, ShuttingDown, UploadLocked
from tusserver.hooks.callables import CallableHooks
from tusserver.state.local import LocalState
from tusserver.upload import EventState


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def threads():
    return [thread.name for thread in threading.enumerate() if "tusserver" in thread.name]


@pytest.mark.parametrize("fault", ["state", "mailbox", "storage"])
async def test_a_start_that_fails_half_way_leaves_nothing_open(build, fault, monkeypatch):
    house = await build(started=False)
    before = open_files()

    async def refuse(*_):
        raise ConfigError(fault, "x", "is wrong")

    if fault == "state":
        monkeypatch.setattr(LocalState, "attach", refuse)
    else:
        monkeypatch.setattr(getattr(house.parts, fault), "open", refuse)
    with pytest.raises(ConfigError, match="is wrong"):
        await house.engine.start()
    assert await eventually(lambda: not threads())
    assert open_files() == before
    assert not list((house.directory / ".tusserver" / "run").glob("*"))
    await house.engine.close()


async def test_an_engine_may_be_closed_twice_and_without_a_start(build):
    house = await build(started=False)
    await house.engine.close()
    house = await build(started=False)
    await house.engine.start()
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234"))
    await asyncio.gather(house.engine.close(), house.engine.close())
    await house.engine.close()
    assert await eventually(lambda: not threads())


async def test_closing_sees_a_commit_through_that_is_under_way(build):
    class Slow(RecordingStorage):
        slow = False

        async def record(self, lease, upload, *, sync):
            if self.slow:
                await asyncio.sleep(0.3)
            await super().record(lease, upload, sync=sync)

    house = await build(started=False, storage=Slow)
    await house.engine.start()
    upload = await house.create(10)
    append = house.start_append(upload, 0, FedBody(b"01234", end=None))
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 5)
    house.parts.storage.slow = True
    await house.engine.close()
    with pytest.raises(ShuttingDown):
        await append
    after = await build()
    record = await after.record(upload)
    assert (record.offset, record.synced) == (5, 5)


async def test_what_an_append_that_must_be_cancelled_still_does_is_waited_for(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.core.STOP_SECONDS", 0.2)

    asked = asyncio.Event()

    async def pre_finish(_event):
        asked.set()
        await asyncio.sleep(3600)

    house = await build(started=False, hooks=CallableHooks(pre_finish=pre_finish))
    await house.engine.start()
    upload = await house.create(5)
    append = house.start_append(upload, 0, FedBody(b"hello"))
    await asked.wait()
    async with asyncio.timeout(10):
        await house.engine.close()
    with pytest.raises(asyncio.CancelledError):
        await append
    assert not house.parts.crew._tasks
    after = await build()
    assert (await after.head(upload)).offset == 4


async def test_a_stop_does_not_wait_for_an_event_that_is_tried_again_later(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.events.RETRY_FIRST", 60.0)
    tries = []

    async def post_finish(event):
        tries.append(event)
        raise RuntimeError("the application is down")

    house = await build(started=False, hooks=CallableHooks(post_finish=post_finish))
    await house.engine.start()
    upload = await house.create(5)
    await house.append(upload, 0, FedBody(b"hello"))
    assert await eventually(lambda: tries)
    async with asyncio.timeout(10):
        await house.engine.close()
    after = await build()
    assert (await after.record(upload)).event is EventState.PENDING


async def test_who_has_no_listener_does_not_take_the_events_of_others(build):
    class Down:
        async def __call__(self, _event):
            raise RuntimeError("the application is down")

    house = await build(started=False, hooks=CallableHooks(post_finish=Down()))
    await house.engine.start()
    upload = await house.create(5)
    await house.append(upload, 0, FedBody(b"hello"))
    await house.engine.close()
    after = await build()
    await after.engine.sweeper.sweep()
    await asyncio.sleep(0.05)
    assert (await after.record(upload)).event is EventState.PENDING


async def test_a_chore_sends_no_request_away(house):
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234"))

    async def chores():
        while True:
            house.engine._idle.note(await house.record(upload))
            await house.engine._idle.sync_everything()

    running = asyncio.create_task(chores())
    for _ in range(100):
        assert (await house.append(upload, 5, FedBody(b""))).offset == 5
    running.cancel()


async def test_of_many_that_wait_one_gets_the_turn_and_none_hangs(build, monkeypatch):
    # On a busy machine the first one may need long to let go.
    monkeypatch.setattr("tusserver.engine.work.LET_GO", 30.0)
    gate = asyncio.Event()

    class Stuck(RecordingStorage):
        stuck = False

        async def record(self, lease, upload, *, sync):
            if self.stuck:
                await gate.wait()
            await super().record(lease, upload, sync=sync)

    house = await build(storage=Stuck)
    upload = await house.create(10)
    first = house.start_append(upload, 0, FedBody(b"01234", end=None))
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 5)
    house.parts.storage.stuck = True
    work.progress._start()
    await asyncio.sleep(0.01)
    removals = [asyncio.create_task(house.engine.terminate(upload.upload_id)) for _ in range(20)]
    await asyncio.sleep(0.05)
    gate.set()
    async with asyncio.timeout(20):
        done = await asyncio.gather(*removals, return_exceptions=True)
    assert len([one for one in done if not isinstance(one, Exception)]) == 1
    lost = [one for one in done if isinstance(one, Exception)]
    assert {type(one) for one in lost} <= {AppendSuperseded, UploadLocked}
    with pytest.raises(AppendSuperseded):
        await first


async def test_requests_are_shown_only_where_somebody_looks(build):
    async def told(_event):
        return None

    assert not (await build()).parts.shows_requests
    assert (await build(hooks=CallableHooks(post_receive=told))).parts.shows_requests
