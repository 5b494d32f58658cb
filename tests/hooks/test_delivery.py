"""Bringing events to receivers while the machine does not help: a full disk, a clock set back."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import pytest

from tusserver.errors import StorageFault
from tusserver.hooks.clerk import Clerk
from tusserver.hooks.delivery import Delivery
from tusserver.hooks.payload import write_decision
from tusserver.hooks.presence import Presence
from tusserver.hooks.shelf import Entry, Shelf
from tusserver.hooks.webhook import Answer
from tusserver.ports import Decision
from tusserver.upload import Status, Upload

DAY = 86_400.0
STOP = write_decision(Decision(reject=(400, "No more of it.")))


class Taker:
    """A receiver that takes everything."""

    shown = "the receiver"

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def send(self, event_id, _body, **_):
        self.taken.append(event_id)
        return Answer(b"", is_json=False)

    async def close(self):
        pass


@pytest.fixture
async def clerk(tmp_path):
    clerk = Clerk(tmp_path / "events.db", targets=1, syncs=False)
    await clerk.open()
    yield clerk
    await clerk.close()


@pytest.fixture
def records():
    """Uploads that are there, by their ids."""
    return {}


async def nothing(*_):
    return None


@pytest.fixture
def stop():
    """What is done for an upload that a receiver wants stopped."""
    return nothing


@pytest.fixture
async def taker(clerk, tmp_path, records, stop):
    async def always(_chore):
        return True

    async def find(upload_id):
        return records.get(upload_id)

    taker = Taker()
    delivery = Delivery([taker], elect=always, find=find, give_up=DAY)
    running = asyncio.create_task(delivery.run(clerk, Presence(tmp_path), stop))
    yield taker
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await delivery.close()


def put(name: str, now: float):
    entry = Entry(event_id=name, upload_id=name, kind="post-finish", body=b"{}")
    return partial(Shelf.put, entry=entry, owner="", now=now)


async def nothing_waits(clerk: Clerk) -> None:
    step = partial(Shelf.listed, dead=False, after=0, limit=10)
    async with asyncio.timeout(5):
        while await clerk.do(step):  # noqa: ASYNC110 - it is in a file
            await asyncio.sleep(0.05)


async def test_what_was_taken_is_not_sent_again_because_that_cannot_be_noted(
    clerk, taker, monkeypatch
):
    delivered, failures = Shelf.delivered, []

    def fail(shelf, row, *, now):
        if len(failures) < 1:
            failures.append(row)
            raise RuntimeError("the disk is full")
        delivered(shelf, row, now=now)

    monkeypatch.setattr(Shelf, "delivered", fail)
    await clerk.do(put("e1", time.time()))
    await nothing_waits(clerk)
    assert failures
    assert taker.taken == ["e1"]


async def test_events_go_out_after_the_clock_was_set_back(clerk, taker):
    await clerk.do(put("e1", time.time() + 400 * DAY))
    await nothing_waits(clerk)
    assert taker.taken == ["e1"]


async def test_a_removal_that_is_about_to_be_told_proves_the_creation(tmp_path):
    shelf = Shelf(tmp_path / "shelf.db", targets=2)
    now = time.time()
    for kind, owner in (("post-create", "a process that died"), ("post-terminate", "another")):
        entry = Entry(event_id=f"u-{kind}", upload_id="u", kind=kind, body=b"{}")
        shelf.put(entry, owner=owner, now=now)
    shelf.disown("a process that died")
    (row,) = shelf.doubtful(10)
    shelf.settle(row, is_gone=True, now=now)
    assert [row.kind for row in shelf.heads(0, now, 10)] == ["post-create"]
    shelf.close()


async def test_an_empty_upload_whose_creation_was_broken_off_was_not_created(clerk, taker, records):
    made, now = datetime.now(UTC), time.time()
    for name, status in (("a", Status.OPEN), ("b", Status.COMPLETE)):
        records[name] = Upload(upload_id=name, created_at=made, length=0, status=status)
        entry = Entry(event_id=name, upload_id=name, kind="post-create", body=b"{}")
        await clerk.do(partial(Shelf.put, entry=entry, owner="a process that died", now=now))
    await nothing_waits(clerk)
    assert taker.taken == ["b"]


class TestStops:
    """Uploads that receivers want stopped."""

    @pytest.fixture
    def stop(self):
        async def stop(upload_id, _decision):
            if upload_id == "stuck":
                raise StorageFault
            return True

        return stop

    async def test_one_that_cannot_be_stopped_keeps_neither_others_nor_events(self, clerk, taker):
        for name in ("stuck", "other"):
            await clerk.do(partial(Shelf.stop, upload_id=name, decision=STOP))
        await clerk.do(put("e1", time.time()))
        await nothing_waits(clerk)
        assert taker.taken == ["e1"]
        async with asyncio.timeout(10):
            while len(await clerk.do(partial(Shelf.stops, limit=10))) > 1:  # noqa: ASYNC110 - it is in a file
                await asyncio.sleep(0.05)
        assert await clerk.do(partial(Shelf.stops, limit=10)) == [("stuck", STOP)]


async def test_an_event_that_is_intended_again_is_not_judged_by_what_was_before(tmp_path):
    shelf, now = Shelf(tmp_path / "shelf.db", targets=1), time.time()
    entry = Entry(event_id="u-1", upload_id="u", kind="post-terminate", body=b"{}")
    shelf.put(entry, owner="me", now=now)
    shelf.doubt("u-1", "me")
    (row,) = shelf.doubtful(10)
    shelf.put(entry, owner="me", now=now)
    shelf.settle(row, is_gone=False, now=now)
    shelf.confirm("u-1", now=now)
    assert [row.event_id for row in shelf.heads(0, now, 10)] == ["u-1"]
    shelf.close()


async def test_an_intent_is_doubted_by_the_process_whose_it_is(tmp_path):
    shelf, now = Shelf(tmp_path / "shelf.db", targets=1), time.time()
    entry = Entry(event_id="u-1", upload_id="u", kind="post-terminate", body=b"{}")
    for owner in ("one", "another"):
        shelf.put(entry, owner=owner, now=now)
    shelf.doubt("u-1", "one")
    assert shelf.doubtful(10) == []
    shelf.close()
