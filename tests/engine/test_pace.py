"""One clock for the commits of all appends: none waits for another, nothing is woken in vain."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.body import BodyEnd
from tusserver.engine.pace import COMMIT_SECONDS, TOGETHER, TURNS, Pace
from tusserver.errors import InternalError, RequestMalformed, StorageFault
from tusserver.storage.local import LocalStorage


class Ticked:
    def __init__(self, log):
        self.log = log

    def tick(self):
        self.log.append((self, asyncio.get_running_loop().time()))


def now():
    return asyncio.get_running_loop().time()


async def test_every_tick_comes_within_the_second():
    pace, log = Pace(), []
    asked, turns = [], []
    for _ in range(5):
        asked.append(now())
        turns.append(pace.ask(Ticked(log), asked[-1]))
        await asyncio.sleep(0.03)
    assert await eventually(lambda: len(log) == 5)
    assert all(at >= turn / TURNS for (_, at), turn in zip(log, turns, strict=True))
    # When a turn is due is said, not measured: the loop may be late.
    for when, turn in zip(asked, turns, strict=True):
        assert when + 0.9 < turn / TURNS <= when + COMMIT_SECONDS
    for when in (100.0, 100.01, 100.99, 101.0, asked[0] + 3600):
        assert when + 0.9 < Pace().ask(Ticked(log), when) / TURNS <= when + COMMIT_SECONDS


async def test_who_wants_no_tick_any_more_gets_none():
    pace, log = Pace(), []
    left, stays = Ticked(log), Ticked(log)
    turn = pace.ask(left, now())
    pace.ask(stays, now())
    pace.forget(left, turn)
    pace.forget(left, turn)
    assert await eventually(lambda: log)
    assert [ticked for ticked, _ in log] == [stays]


async def test_other_things_come_in_between_when_many_are_due():
    pace, log, seen = Pace(), [], []

    class First(Ticked):
        def tick(self):
            super().tick()
            asyncio.get_running_loop().call_soon(lambda: seen.append(len(log)))

    many = [First(log), *(Ticked(log) for _ in range(TOGETHER * 3))]
    when = now()
    for one in many:
        pace.ask(one, when)
    assert await eventually(lambda: len(log) == len(many))
    assert [ticked for ticked, _ in log] == many
    assert seen == [TOGETHER]


async def test_nothing_wakes_the_loop_when_nobody_is_due(monkeypatch):
    loop, timers = asyncio.get_running_loop(), []
    real = loop.call_at

    def counting(when, callback, *args, **more):
        if getattr(callback, "__name__", "") == "_go":
            timers.append(when)
        return real(when, callback, *args, **more)

    monkeypatch.setattr(loop, "call_at", counting)
    pace, log = Pace(), []
    for _ in range(50):
        pace.ask(Ticked(log), now())
    left = Ticked(log)
    pace.forget(left, pace.ask(left, now()))
    assert await eventually(lambda: len(log) == 50)
    armed = len(timers)
    assert armed <= 1 + 50 // TOGETHER + 2
    await asyncio.sleep(COMMIT_SECONDS + 2 / TURNS)
    assert len(timers) == armed


# --- appends that share the clock -------------------------------------------------------------


class Troubled(LocalStorage):
    """Real files, and a ledger that gives trouble for one upload."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bad = None
        self.trouble = None
        self.gate = asyncio.Event()
        self.ways = []

    def record_at_once(self, lease, upload):
        self.ways.append("at once")
        if lease.upload_id == self.bad:
            if self.trouble is not None:
                raise self.trouble
            return False
        return super().record_at_once(lease, upload)

    async def record(self, lease, upload, *, sync):
        self.ways.append("by the way that waits")
        if lease.upload_id == self.bad and self.trouble is None:
            await self.gate.wait()
        await super().record(lease, upload, sync=sync)


@pytest.fixture
async def house(build):
    return await build(storage=Troubled, durability="process")


async def both(house):
    """Start two appends whose bytes come in the same moment; trouble awaits the first."""
    uploads = [await house.create(1000) for _ in range(2)]
    house.parts.storage.bad = uploads[0].upload_id
    bodies = [FedBody(b"x" * 100, end=None) for _ in uploads]
    pairs = zip(uploads, bodies, strict=True)
    appends = [house.start_append(upload, 0, body) for upload, body in pairs]
    return uploads, bodies, appends


async def ended(body, append):
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append


@pytest.mark.usefixtures("quick_disk")
async def test_a_checkpoint_takes_no_task_while_the_disk_is_quick(house):
    uploads, bodies, appends = await both(house)
    house.parts.storage.bad = None
    house.parts.storage.ways.clear()
    before = set(asyncio.all_tasks())

    async def committed():
        return [(await house.record(one)).offset for one in uploads] == [100, 100]

    assert await eventually(committed, seconds=3)
    assert house.parts.storage.ways == ["at once", "at once"]
    assert not {task for task in asyncio.all_tasks() - before if "checkpoint" in task.get_name()}
    for body, append in zip(bodies, appends, strict=True):
        await ended(body, append)


async def test_a_commit_that_hangs_holds_no_other_up(house):
    uploads, bodies, appends = await both(house)

    async def committed():
        return (await house.record(uploads[1])).offset == 100

    assert await eventually(committed, seconds=3)
    assert (await house.record(uploads[0])).offset == 0
    assert not any(append.done() for append in appends)
    bodies[1].feed(b"y" * 100)
    assert await eventually(lambda: "by the way that waits" in house.parts.storage.ways)
    await ended(bodies[1], appends[1])
    assert (await house.record(uploads[1])).offset == 200
    house.parts.storage.gate.set()
    await ended(bodies[0], appends[0])
    assert (await house.record(uploads[0])).offset == 100


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        pytest.param(StorageFault(), StorageFault, id="the disk's"),
        pytest.param(RuntimeError("a fault of the program"), InternalError, id="the program's"),
    ],
)
async def test_a_commit_that_fails_ends_only_its_own_append(house, trouble, error, caplog):
    house.parts.storage.trouble = trouble
    uploads, bodies, appends = await both(house)
    with caplog.at_level(logging.CRITICAL), pytest.raises(error):
        await appends[0]

    async def committed():
        return (await house.record(uploads[1])).offset == 100

    assert await eventually(committed, seconds=3)
    await ended(bodies[1], appends[1])
    assert (await house.record(uploads[0])).offset == 0
