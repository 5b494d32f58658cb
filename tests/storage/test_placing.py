"""The loop and the threads with quick calls share a processor, for a while and nobody else."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.process.program import Program
from tests.support.waiting import eventually
from tusserver.storage.placing import FREE_SECONDS, HOLD_SECONDS, PAUSE_SECONDS, Placing
from tusserver.storage.pool import FilePool

ALL = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(
    len(ALL) < 2, reason="one processor only; run this on a machine that has two"
)


def places():
    return os.sched_getaffinity(0)


@pytest.fixture
async def placing():
    made = Placing.here()
    assert made is not None
    yield made
    made.release()
    assert places() == ALL


@pytest.fixture
async def pool(placing):
    made = FilePool(2, "test", placing=placing)
    yield made
    await made.close()


async def test_quick_calls_are_made_where_the_loop_is(pool):
    there = await pool.run(places, quick=True)
    assert len(there) == 1
    assert places() == there


async def test_calls_that_take_long_go_anywhere(pool):
    # The same two threads, which have made quick calls just before.
    both = [pool.run(partial(time.sleep, 0.01), quick=True) for _ in range(40)]
    await asyncio.gather(*both)
    assert len(places()) == 1
    for _ in range(4):
        assert await pool.run(places) == ALL
    assert len(await pool.run(places, quick=True)) == 1


async def test_the_loop_is_left_free_again_and_again(pool):
    free, deadline = 0, time.monotonic() + 3 * HOLD_SECONDS + 1
    while time.monotonic() < deadline and free < 3:
        await pool.run(int, quick=True)
        free += places() == ALL
    assert free >= 3


async def test_it_is_free_soon_after_the_last_call_and_so_are_its_threads(pool, placing):
    await pool.run(int, quick=True)
    made = []
    thread = threading.Thread(target=lambda: (made.append(places()), time.sleep(1.5)))
    thread.start()
    await asyncio.sleep(HOLD_SECONDS + 0.2)
    # A thread is born where the one is that makes it.
    assert len(made[0]) == 1
    assert os.sched_getaffinity(thread.native_id) == ALL
    assert places() == ALL
    for other in threading.enumerate():
        assert os.sched_getaffinity(other.native_id) == ALL
    thread.join()


async def test_what_the_operator_sets_meanwhile_is_kept(pool):
    await pool.run(int, quick=True)
    await asyncio.sleep(HOLD_SECONDS + FREE_SECONDS + 0.1)
    try:
        os.sched_setaffinity(0, {min(ALL)})
        await pool.run(int, quick=True)
        await asyncio.sleep(HOLD_SECONDS + 0.1)
        assert places() == {min(ALL)}
    finally:
        os.sched_setaffinity(0, ALL)


async def test_where_others_are_as_busy_it_is_left_alone_for_a_while():
    waited, now = [0.0], [100.0]
    made = Placing(lambda: min(ALL), clock=lambda: now[0], waited=lambda: waited[0])
    loop = asyncio.get_running_loop()
    made.hold(loop)
    assert places() == {min(ALL)}
    await asyncio.sleep(HOLD_SECONDS + 0.05)
    assert places() == ALL
    now[0] += FREE_SECONDS
    made.hold(loop)
    assert places() == {min(ALL)}
    waited[0] += 0.5
    now[0] += 1.0
    await asyncio.sleep(HOLD_SECONDS + 0.05)
    for past, held in ((PAUSE_SECONDS / 2, False), (PAUSE_SECONDS, True)):
        now[0] += past
        made.hold(loop)
        assert (places() == {min(ALL)}) is held
    made.release()


async def test_processes_that_share_the_work_have_one_each():
    loop, seen = asyncio.get_running_loop(), set()
    for number in range(1, 1 + len(ALL)):
        made = Placing.here()
        made.sit(number)
        made.hold(loop)
        seen |= places()
        made.release()
    assert seen == ALL


async def test_a_sandbox_without_the_call_changes_nothing(placing, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    pool = FilePool(2, "test", placing=placing)
    assert await pool.run(partial(int, "7"), quick=True) == 7
    monkeypatch.undo()
    await pool.close()
    assert places() == ALL


def test_the_program_lets_every_thread_go(tmp_path):
    held = set()

    def masks():
        return {
            tuple(sorted(os.sched_getaffinity(int(task.name))))
            for task in Path(f"/proc/{program.process.pid}/task").iterdir()
        }

    with Program(directory=tmp_path) as program:
        tus = program.ready().tus
        for _ in range(20):
            tus.upload(b"0123456789")
            held |= masks()
        assert any(len(mask) == 1 for mask in held)
        assert eventually(lambda: masks() == {tuple(sorted(ALL))}, within=10)
