"""Holders in other processes that were killed or stopped: who waits for whom, and how long."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from tests.engine.fleet import Fleet, Lost
from tests.engine.worker import data_of
from tests.support.waiting import check_time

LENGTH = 100_000


@pytest.fixture
async def fleet(upload_dir, state_url):
    fleet = Fleet(upload_dir, state_url, random.Random(1))
    try:
        await fleet.open(2)
        yield fleet
    finally:
        await fleet.kill()


async def holding(holder):
    """Start an append that falls silent after its first bytes; give its upload and answer."""
    made = await holder("create", length=LENGTH, partial=False)
    upload_id = made["upload_id"]
    answer, begun = send(holder, upload_id, 0, [(0.0, 1000)], end=None)
    await begun.wait()
    return upload_id, answer


def send(worker, upload_id, offset, pieces, *, end="complete"):
    return worker.ask(
        "append",
        upload_id=upload_id,
        offset=offset,
        seed=f"from {offset}",
        pieces=pieces,
        end=end,
        digest=None,
    )


async def timed(asked):
    start = time.monotonic()
    answer = await asked
    return answer, time.monotonic() - start


@pytest.mark.clause("CORE-HEAD-10")
async def test_a_killed_holder_delays_nobody(fleet):
    holder, other = fleet.workers
    upload_id, answer = await holding(holder)
    await holder.kill()
    with pytest.raises(Lost):
        await answer
    described, took = await timed(other("head", upload_id=upload_id))
    check_time(took, 1.0)
    offset = described["offset"]
    sent, begun = send(other, upload_id, offset, [(0.0, LENGTH - offset)])
    # How long the syncs of the completed upload take is the disk's affair.
    _, took = await timed(begun.wait())
    check_time(took, 1.0)
    assert await sent == {"offset": LENGTH}


@pytest.mark.parametrize("verb", ["head", "append", "terminate"])
async def test_a_stopped_holder_makes_others_wait_two_seconds_and_harms_no_byte(fleet, verb):
    holder, other = fleet.workers
    upload_id, answer = await holding(holder)
    holder.signal(signal.SIGSTOP)
    try:
        if verb == "append":
            asked, _ = send(other, upload_id, 0, [(0.0, LENGTH)])
        else:
            asked, _ = other.ask(verb, upload_id=upload_id)
        refused, took = await timed(asked)
        assert refused == {"error": "upload_locked"}
        assert took > 1.5
        check_time(took, 3.5)
    finally:
        holder.signal(signal.SIGCONT)
    described, took = await timed(other("head", upload_id=upload_id))
    offset = described["offset"]
    sent, _ = send(other, upload_id, offset, [(0.0, LENGTH - offset)])
    assert await sent == {"offset": LENGTH}
    assert "error" in await answer
    content = (await other("content", upload_id=upload_id))["segments"]
    expected = data_of("from 0", 1000)[:offset] + data_of(f"from {offset}", LENGTH - offset)
    assert await asyncio.to_thread(_read, content[0][0]) == expected


def _read(path):
    return Path(path).read_bytes()
