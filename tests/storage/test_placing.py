"""The loop and the threads with quick calls share a processor, for a while and nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.engine.conftest import eventually as comes_true
from tests.process.program import Program
from tests.support.waiting import eventually
from tusserver.storage.placing import FREE_SECONDS, HOLD_SECONDS, PAUSE_SECONDS, Placing
from tusserver.storage.pool import TOGETHER, FilePool

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
    pairs, until = [], time.monotonic() + 20
    while not any(len(there) == 1 and there == here for there, here in pairs):
        # On a busy machine the time may be over before we look.
        assert time.monotonic() < until, pairs
        await asyncio.sleep(FREE_SECONDS)
        pairs.append((await pool.run(places, quick=True), places()))


async def test_calls_that_take_long_go_anywhere(pool):
    # The same two threads, which have made quick calls just before.
    both = [pool.run(partial(time.sleep, 0.002), quick=True) for _ in range(2 * TOGETHER)]
    await asyncio.gather(*both)
    for _ in range(4):
        assert await pool.run(places) == ALL


async def stays(pool, *, seconds):
    """Make quick calls; tell after how long the loop was free, having been held."""
    begun, held_at = time.monotonic(), None
    while (now := time.monotonic()) < begun + seconds:
        await pool.run(int, quick=True)
        if len(places()) == 1:
            held_at = held_at or now
        elif held_at is not None:
            return now - held_at
        await asyncio.sleep(0.005)
    return None


async def test_the_loop_stays_while_calls_go_on_and_nobody_else_wants_the_processor():
    made = Placing(lambda: min(ALL), spent=iter((n, 0) for n in range(10**6)).__next__)
    pool = FilePool(2, "test", placing=made)
    try:
        # On a busy machine no call may come for as long as it takes to be left free.
        for _ in range(3):
            if (free := await stays(pool, seconds=4 * HOLD_SECONDS)) is None:
                break
        assert free is None
    finally:
        made.release()
        await pool.close()


async def test_the_loop_is_left_free_again_and_again(monkeypatch):
    monkeypatch.setattr("tusserver.storage.placing.MOST_SECONDS", 2 * HOLD_SECONDS)
    made = Placing(lambda: min(ALL), spent=iter((n, 0) for n in range(10**6)).__next__)
    pool = FilePool(2, "test", placing=made)
    try:
        for _ in range(2):
            assert await stays(pool, seconds=10) is not None
    finally:
        made.release()
        await pool.close()


async def test_it_is_free_soon_after_the_last_call_and_so_are_its_threads(pool, placing):
    await pool.run(int, quick=True)
    enough = threading.Event()
    thread = threading.Thread(target=enough.wait)
    thread.start()  # born where the one is that makes it
    assert await comes_true(lambda: places() == ALL)
    assert os.sched_getaffinity(thread.native_id) == ALL
    assert places() == ALL
    for other in threading.enumerate():
        assert os.sched_getaffinity(other.native_id) == ALL
    enough.set()
    thread.join()


async def test_what_the_operator_sets_meanwhile_is_kept(pool, placing):
    await pool.run(int, quick=True)
    assert await comes_true(lambda: placing._processor < 0)
    await asyncio.sleep(FREE_SECONDS + 0.1)
    try:
        os.sched_setaffinity(0, {min(ALL)})
        await pool.run(int, quick=True)
        await asyncio.sleep(HOLD_SECONDS + 0.1)
        assert places() == {min(ALL)}
    finally:
        os.sched_setaffinity(0, ALL)


async def test_where_others_are_as_busy_it_is_left_alone_for_a_while():
    spent, now = [0, 0], [100.0]
    made = Placing(lambda: min(ALL), clock=lambda: now[0], spent=lambda: tuple(spent))
    loop = asyncio.get_running_loop()
    for ran, waited, pause in [
        (90, 10, FREE_SECONDS),
        (50, 50, PAUSE_SECONDS),
        (0, 0, PAUSE_SECONDS),
    ]:
        made.hold(loop)
        assert places() == {min(ALL)}
        spent[0] += ran
        spent[1] += waited
        await asyncio.sleep(HOLD_SECONDS + 0.05)
        now[0] += pause * 0.9
        made.hold(loop)
        assert places() == ALL
        now[0] += pause * 0.2


MS = 1_000_000


@pytest.mark.parametrize(
    ("ran", "waited", "asleep", "stays"),
    [(10, 10, 0, True), (10, 10, 10, False), (10, 30, 0, False)],
    ids=["for its own threads", "they worked while it slept", "for others too"],
)
async def test_only_waiting_for_others_counts(pool, ran, waited, asleep, stays):
    spent, now = [0, 0], [100.0]
    made = Placing(lambda: min(ALL), clock=lambda: now[0], spent=lambda: tuple(spent))
    loop = asyncio.get_running_loop()

    def work():
        made.join()
        until = time.thread_time_ns() + 10 * MS
        while time.thread_time_ns() < until:
            pass
        made.note()

    try:
        made.hold(loop)
        made.hold(loop)
        # It is looked when the test says so, however late the thread comes.
        made._timer.cancel()
        await pool.run(work)
        spent[:] = ran * MS, waited * MS
        now[0] += (ran + waited + asleep) / 1000
        made._look(loop)
        assert (places() == {min(ALL)}) == stays
    finally:
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


async def test_what_the_operator_sets_while_it_is_held_is_kept(placing):
    loop = asyncio.get_running_loop()
    placing.hold(loop)
    [held] = places()
    other = min(ALL - {held})
    try:
        os.sched_setaffinity(0, {other})
        placing.release()
        assert places() == {other}
    finally:
        os.sched_setaffinity(0, ALL)


async def test_what_the_operator_sets_while_calls_go_on_is_kept():
    made = Placing(lambda: min(ALL), spent=iter((n, 0) for n in range(10**6)).__next__)
    loop, other = asyncio.get_running_loop(), max(ALL)
    try:
        made.hold(loop)
        os.sched_setaffinity(0, {other})
        made.hold(loop)
        await asyncio.sleep(HOLD_SECONDS + 0.05)
        assert places() == {other}
        assert made._processor < 0
    finally:
        made.release()
        os.sched_setaffinity(0, ALL)


async def test_what_was_narrowed_stays_so():
    few = set(sorted(ALL)[:2])
    made = Placing.here()
    try:
        os.sched_setaffinity(0, few)
        made.hold(asyncio.get_running_loop())
        assert len(places()) == 1
        made.release()
        assert places() == few
    finally:
        os.sched_setaffinity(0, ALL)


async def test_a_thread_that_was_made_meanwhile_goes_anywhere_for_what_takes_long(placing):
    placing.hold(asyncio.get_running_loop())
    pool = FilePool(1, "test", placing=placing)
    assert await pool.run(places) == ALL
    await pool.close()


@pytest.mark.parametrize("locate", [lambda: -1, lambda: 100_000, lambda: int("x")])
async def test_a_platform_that_cannot_say_where_it_is_loses_no_call(locate):
    pool = FilePool(2, "test", placing=Placing(locate))
    for number in range(5):
        call = pool.run(partial(int, str(number)), quick=True)
        assert await asyncio.wait_for(call, 5) == number
    await pool.close()
    assert places() == ALL


async def test_without_counts_nothing_is_held():
    def fail():
        raise FileNotFoundError

    made = Placing(lambda: min(ALL), spent=fail)
    made.hold(asyncio.get_running_loop())
    assert places() == ALL


async def test_a_sandbox_without_the_call_changes_nothing(placing, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    pool = FilePool(2, "test", placing=placing)
    assert await pool.run(partial(int, "7"), quick=True) == 7
    monkeypatch.undo()
    await pool.close()
    assert places() == ALL


def masks(pid):
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found.add(frozenset(os.sched_getaffinity(int(task.name))))
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_the_program_lets_every_thread_go(tmp_path, workers):
    with Program(f"--workers={workers}", directory=tmp_path) as program:
        program.ready()
        pids = program.settled(workers) if workers > 1 else [program.pid]
        tus, held = program.tus, dict.fromkeys(pids, False)

        def are_held():
            tus.upload(b"0123456789")
            for pid in pids:
                held[pid] |= any(len(mask) == 1 for mask in masks(pid))
            return all(held.values())

        assert eventually(are_held, within=20)
        for pid in [program.pid, *pids]:
            assert eventually(lambda pid=pid: masks(pid) == {frozenset(ALL)}, within=10)


def started_by(pid):
    """Give the children of all threads of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def test_a_rehearsal_goes_anywhere(tmp_path):
    with Program(directory=tmp_path) as program:
        program.ready()
        seen, over = set(), threading.Event()

        def look():
            while not over.is_set():
                for child in started_by(program.pid):
                    with suppress(OSError):
                        seen.update(masks(child))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for _ in range(10):
                program.tus.upload(b"0123456789")
            program.process.send_signal(signal.SIGHUP)
            assert program.said("starting anew")
        finally:
            over.set()
            looking.join()
        assert seen == {frozenset(ALL)}
        program.ready(times=2)
        assert masks(program.pid) == {frozenset(ALL)}
