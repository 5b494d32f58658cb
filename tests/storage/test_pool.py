"""Threads for file calls: quick ones share their way, and nobody is told too early."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from functools import partial

import pytest

from tusserver.storage.pool import TOGETHER, FilePool

REQUEST: ContextVar[str] = ContextVar("request", default="")


@pytest.fixture
async def pool():
    made = FilePool(4, "test")
    yield made
    await made.close()


async def test_quick_calls_of_one_turn_share_a_thread(pool):
    threads = await asyncio.gather(
        *(pool.run(threading.get_ident, quick=True) for _ in range(TOGETHER - 1))
    )
    # One, unless the machine is so busy that it takes long to begin.
    assert len(set(threads)) < TOGETHER // 2
    assert threading.get_ident() not in threads


async def test_each_caller_gets_what_its_own_call_gave_or_raised(pool):
    def call(number):
        if number % 3 == 0:
            raise OSError(number, "no")
        return number

    outcomes = await asyncio.gather(
        *(pool.run(partial(call, number), quick=True) for number in range(200)),
        return_exceptions=True,
    )
    for number, outcome in enumerate(outcomes):
        if number % 3:
            assert outcome == number
        else:
            assert isinstance(outcome, OSError)
            assert outcome.errno == number


async def test_a_call_that_hangs_holds_no_other_up(pool):
    go_on = threading.Event()
    hanging = [asyncio.create_task(pool.run(go_on.wait, quick=True)) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(3):
        some = [pool.run(partial(int, "7"), quick=True) for _ in range(20)]
        assert await asyncio.wait_for(asyncio.gather(*some), 10) == [7] * 20
    assert not any(task.done() for task in hanging)
    go_on.set()
    assert await asyncio.gather(*hanging) == [True, True]


async def test_what_was_done_before_a_call_that_hangs_is_told(pool):
    go_on = threading.Event()
    before = [asyncio.create_task(pool.run(partial(int, "7"), quick=True)) for _ in range(3)]
    hanging = asyncio.create_task(pool.run(go_on.wait, quick=True))
    try:
        # One thread has taken them all, in this order.
        assert await asyncio.wait_for(asyncio.gather(*before), 10) == [7] * 3
        assert not hanging.done()
    finally:
        go_on.set()
    assert await hanging


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "alone"])
async def test_who_is_cancelled_ends_when_its_call_has_returned_and_is_undone(pool, quick):
    entered, go_on, undone = threading.Event(), threading.Event(), []

    def call():
        entered.set()
        go_on.wait(10)
        return "made"

    task = asyncio.create_task(pool.run(call, undo=undone.append, quick=quick))
    await asyncio.to_thread(entered.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    assert not undone
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["made"]


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "alone"])
async def test_what_failed_for_a_cancelled_caller_is_not_undone(pool, quick):
    entered, go_on, undone = threading.Event(), threading.Event(), []

    def call():
        entered.set()
        go_on.wait(10)
        raise OSError(5, "no")

    task = asyncio.create_task(pool.run(call, undo=undone.append, quick=quick))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not undone


async def test_a_timeout_waits_for_the_call_too(pool):
    done = []

    def call():
        threading.Event().wait(0.2)
        done.append(1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pool.run(call, quick=True)
    assert done


async def test_a_call_sees_the_context_of_the_request_that_asked(pool):
    async def ask(name):
        REQUEST.set(name)
        return await pool.run(REQUEST.get, quick=True)

    names = [f"request {number}" for number in range(10)]
    asking = [asyncio.create_task(ask(name)) for name in names]
    assert await asyncio.gather(*asking) == names


async def test_while_all_threads_hang_no_more_jobs_are_made(pool):
    go_on = threading.Event()
    hanging = [asyncio.create_task(pool.run(go_on.wait, quick=True)) for _ in range(100)]
    await asyncio.sleep(0.2)
    assert pool._workers <= 4
    assert pool._executor._work_queue.qsize() <= 4
    go_on.set()
    assert all(await asyncio.gather(*hanging))


async def test_an_end_waits_for_what_was_begun(pool):
    done = []

    def call():
        threading.Event().wait(0.05)
        done.append(1)

    pool.start(call)
    await pool.close()
    assert done
