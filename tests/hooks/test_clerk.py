"""The thread that keeps events: what it cannot keep is told to who asked, and to nobody else."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from functools import partial

import pytest

from tests.engine.conftest import eventually
from tusserver.errors import StorageFault, StorageFull
from tusserver.hooks.clerk import Clerk
from tusserver.hooks.shelf import Entry, Shelf


def entry(number: int, size: int = 10) -> Entry:
    return Entry(
        event_id=f"e{number}", upload_id=f"u{number}", kind="post-create", body=b"x" * size
    )


@pytest.fixture
async def clerk(tmp_path):
    clerk = Clerk(tmp_path / "events.db", targets=1, syncs=True)
    await clerk.open()
    yield clerk
    await clerk.close()


def put(number: int, size: int = 10):
    return partial(Shelf.put, entry=entry(number, size), owner="", now=1.0)


async def waiting(clerk: Clerk) -> list[str]:
    rows = await clerk.do(partial(Shelf.listed, dead=False, after=0, limit=1000))
    return [row.event_id for row in rows]


async def made_up(clerk: Clerk, names: list[str]) -> None:
    """Wait until notes that the file did not take are made."""
    async with asyncio.timeout(10):
        while await waiting(clerk) != names:  # noqa: ASYNC110 - it is in a file
            await asyncio.sleep(0.05)


async def test_what_is_asked_for_is_done_in_its_order(clerk):
    await asyncio.gather(*(clerk.do(put(number), sync=True) for number in range(100)))
    clerk.note(put(100))
    assert await waiting(clerk) == [f"e{number}" for number in range(101)]


async def test_a_step_that_fails_takes_no_other_with_it(clerk):
    def fail(_shelf):
        raise RuntimeError("a fault of ours")

    steps = [clerk.do(put(1)), clerk.do(fail), clerk.do(put(2))]
    results = await asyncio.gather(*steps, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StorageFault, type(None)]
    assert await waiting(clerk) == ["e1", "e2"]


async def test_while_the_file_is_locked_all_are_told_after_one_wait(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tusserver.hooks.shelf.BUSY_SECONDS", 0.3)
    clerk = Clerk(tmp_path / "events.db", targets=1, syncs=True)
    await clerk.open()
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # The first may go alone: what comes while it waits shares what follows.
        asked = [clerk.do(put(number), sync=True) for number in range(100)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(result) for result in results} == {StorageFault}
        assert caplog.text.count("database is locked") <= 2
        other.execute("ROLLBACK")
    await clerk.do(put(100), sync=True)
    assert await waiting(clerk) == ["e100"]
    await clerk.close()


async def test_a_full_disk_is_told_and_what_fits_again_is_kept(clerk):
    await clerk.do(put(1))
    await clerk.do(lambda shelf: shelf._db.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFull):
        await clerk.do(put(2, size=1_000_000), sync=True)
    await clerk.do(lambda shelf: shelf._db.execute("PRAGMA max_page_count = 100000"))
    await clerk.do(put(3, size=100_000), sync=True)
    assert await waiting(clerk) == ["e1", "e3"]


async def test_what_was_asked_for_is_done_before_the_end(tmp_path):
    first = Clerk(tmp_path / "events.db", targets=1, syncs=False)
    await first.open()
    for number in range(50):
        first.note(put(number))
    await first.close()
    with pytest.raises(StorageFault):
        await first.do(put(99))
    second = Clerk(tmp_path / "events.db", targets=1, syncs=False)
    await second.open()
    assert len(await waiting(second)) == 50
    await second.close()


async def test_a_step_is_done_though_nobody_waits_for_it_any_more(clerk):
    waiter = asyncio.ensure_future(clerk.do(put(1)))
    await asyncio.sleep(0)
    waiter.cancel()
    with suppress(asyncio.CancelledError):
        await waiter
    assert await waiting(clerk) == ["e1"]


async def test_a_note_that_the_file_does_not_take_is_made_when_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr("tusserver.hooks.shelf.BUSY_SECONDS", 0.1)
    monkeypatch.setattr("tusserver.hooks.clerk.AGAIN", 0.1)
    clerk = Clerk(tmp_path / "events.db", targets=1, syncs=False)
    await clerk.open()
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(3):
            clerk.note(put(number))
        with pytest.raises(StorageFault):
            await clerk.do(put(3))
        other.execute("ROLLBACK")
    await made_up(clerk, ["e0", "e1", "e2"])
    await clerk.close()


async def test_notes_that_wait_keep_nobody_waiting(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tusserver.hooks.shelf.BUSY_SECONDS", 0.3)
    monkeypatch.setattr("tusserver.hooks.clerk.AGAIN", 0.1)
    clerk = Clerk(tmp_path / "events.db", targets=1, syncs=False)
    await clerk.open()
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        clerk.note(put(0))
        for _ in range(2):
            asked = [clerk.do(put(number)) for number in range(1, 30)]
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(result) for result in results} == {StorageFault}
        # Those of a moment wait together, and with them nobody else.
        assert caplog.text.count("database is locked") <= 5
        other.execute("ROLLBACK")
    await made_up(clerk, ["e0"])
    await clerk.close()


async def test_notes_that_nothing_takes_are_told_once_each(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tusserver.hooks.clerk.AGAIN", 0.05)
    clerk = Clerk(tmp_path / "events.db", targets=1, syncs=False)
    await clerk.open()
    batch, tries = Shelf.batch, []

    def refuse(_shelf, steps, **_):
        tries.append(len(steps))
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_READONLY, "SQLITE_READONLY"
        raise error

    monkeypatch.setattr(Shelf, "batch", refuse)
    for number in range(20):
        clerk.note(put(number))
        with pytest.raises(StorageFault):
            await clerk.do(put(100 + number))
    assert await eventually(lambda: tries.count(20) >= 3)
    assert caplog.text.count("(SQLITE_READONLY: ") == 40
    monkeypatch.setattr(Shelf, "batch", batch)
    await made_up(clerk, [f"e{number}" for number in range(20)])
    await clerk.close()
