"""Requests that are counted together: each gets its own answer, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from contextlib import closing, suppress

import pytest

from tests.quota.test_counters import ask, ceilings, claim, row
from tests.quota.uploads import Pieces, upload
from tests.support.waiting import eventually
from tusserver.errors import StorageFault
from tusserver.quota.batches import Batches
from tusserver.quota.ceilings import Ceiling, Ceilings
from tusserver.quota.counter import Dues, Filled, Limit, Refusal
from tusserver.quota.limited import LimitedQuota
from tusserver.quota.sqlite import SqliteCounter
from tusserver.upload import Status, new_upload_id

OWNER_THAT_CANNOT_BE_WRITTEN = "\ud800"


class Worker:
    """Does steps on itself, batch by batch, and may be held up."""

    def __init__(self):
        self.sizes = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_broken = False

    def run(self, steps):
        assert self.gate.wait(10)
        self.sizes.append(len(steps))
        if self.is_broken:
            raise MemoryError
        return [(step(self), None) for step in steps]


@pytest.fixture
async def worker():
    return Worker()


@pytest.fixture
async def batches(worker):
    batches = Batches(worker.run, name="a thread of a test")
    batches.start()
    yield batches
    worker.gate.set()
    await batches.stop(lambda: None)


async def test_those_who_ask_in_one_turn_of_the_loop_share_a_batch(batches, worker):
    answers = await asyncio.gather(*(batches.do(lambda _, n=n: n) for n in range(50)))
    assert answers == list(range(50))
    assert worker.sizes == [50]


async def test_those_who_ask_while_a_batch_runs_share_the_next(batches, worker):
    worker.gate.clear()
    first = asyncio.create_task(batches.do(lambda _: 0))
    later = []
    for number in range(1, 20):
        await asyncio.sleep(0.001)
        later.append(asyncio.create_task(batches.do(lambda _, n=number: n)))
    await asyncio.sleep(0.01)
    worker.gate.set()
    assert await first == 0
    assert await asyncio.gather(*later) == list(range(1, 20))
    assert worker.sizes == [1, 19]


async def test_one_who_gives_up_before_the_batch_begins_is_left_out_of_it(batches, worker):
    worker.gate.clear()
    running = asyncio.create_task(batches.do(lambda _: "ran though nobody waits"))
    await asyncio.sleep(0.01)
    done = []
    tasks = [asyncio.create_task(batches.do(lambda _, n=n: done.append(n))) for n in range(3)]
    await asyncio.sleep(0)
    for given_up in (running, tasks[1]):
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
    worker.gate.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert done == [0, 2]
    assert worker.sizes == [1, 2]


async def test_nobody_waits_for_ever_when_a_batch_fails_as_a_whole(batches, worker, caplog):
    worker.is_broken = True
    asked = [batches.do(lambda _: 1) for _ in range(3)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [StorageFault] * 3
    assert "MemoryError" in caplog.text
    worker.is_broken = False
    assert await batches.do(lambda _: 2) == 2


async def test_what_was_asked_for_is_done_before_the_end(worker):
    batches = Batches(worker.run, name="a thread of a test")
    batches.start()
    worker.gate.clear()
    asked = [asyncio.create_task(batches.do(lambda _, n=n: n)) for n in range(3)]
    await asyncio.sleep(0)
    ending = asyncio.create_task(batches.stop(lambda: worker.sizes.append("end")))
    await asyncio.sleep(0.01)
    worker.gate.set()
    await ending
    assert await asyncio.gather(*asked) == [0, 1, 2]
    assert worker.sizes == [3, "end"]
    with pytest.raises(StorageFault):
        await batches.do(lambda _: 4)


# --- in the database


@pytest.fixture
async def make_sqlite(upload_dir):
    made = []

    async def make(limits):
        made.append(SqliteCounter(upload_dir / "counts", limits))
        await made[-1].open()
        return made[-1]

    yield make
    for counter in made:
        await counter.close()


def look(upload_dir, query):
    (path,) = (upload_dir / "counts").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def sums_are_right(upload_dir):
    """Tell whether the sums are those of the rows."""
    rows = """
        SELECT scope, sum(counted), sum(open * (counted - written)), sum(open) FROM
        (SELECT '*' AS scope, * FROM uploads UNION ALL SELECT '=' || owner, * FROM uploads)
        GROUP BY scope ORDER BY scope
    """
    kept = "SELECT * FROM sums WHERE stored OR unwritten OR open ORDER BY scope"
    found = [one for one in look(upload_dir, rows) if any(one[1:])]
    return look(upload_dir, kept) == found


async def test_one_that_cannot_be_counted_fails_alone(make_sqlite, upload_dir, caplog):
    counter = await make_sqlite(Ceilings(owner=Ceiling(open=2), all=Ceiling(open=4)))
    owners = ["ann", OWNER_THAT_CANNOT_BE_WRITTEN, "ann", "bob", OWNER_THAT_CANNOT_BE_WRITTEN]
    owners += ["ann", "bob", "cid"]
    asked = [ask(counter, claim(5, owner=owner)) for owner in owners]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    full = Refusal(Limit.OPEN, of_owner=True)
    kinds = [type(one) if isinstance(one, Exception) else one for one in answers]
    assert kinds == [5, StorageFault, 5, 5, StorageFault, full, 5, Refusal(Limit.OPEN)]
    assert sums_are_right(upload_dir)
    assert "UnicodeEncodeError" in caplog.text


async def test_while_the_database_is_locked_all_are_told_and_nothing_is_lost(
    make_sqlite, upload_dir, monkeypatch, caplog
):
    monkeypatch.setattr("tusserver.quota.sqlite.BUSY_SECONDS", 0.05)
    counter = await make_sqlite(ceilings("all", open=3))
    (path,) = (upload_dir / "counts").glob("*.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asked = [ask(counter, claim(5)) for _ in range(5)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in answers] == [StorageFault] * 5
        assert len({id(one) for one in answers}) == 5
        other.execute("ROLLBACK")
    assert caplog.text.count("uploads could not be counted: database is locked") == 1
    answers = await asyncio.gather(*(ask(counter, claim(5)) for _ in range(5)))
    assert answers == [5, 5, 5, Refusal(Limit.OPEN), Refusal(Limit.OPEN)]


async def test_a_database_without_space_fails_all_of_a_batch_and_keeps_nothing_of_it(
    make_sqlite, upload_dir
):
    counter = await make_sqlite(ceilings("all", open=1000))
    await counter._batches.do(lambda tables: tables.tidy())
    await counter._batches.call(
        lambda: counter._connection.execute("PRAGMA max_page_count = 14").fetchone()
    )
    asked = [ask(counter, claim(5, owner="o" * 1000)) for _ in range(40)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one).__name__ for one in answers} == {"StorageFull"}
    assert look(upload_dir, "SELECT count(*) FROM uploads") == [(0,)]
    assert await ask(counter, claim(5)) == 5
    assert sums_are_right(upload_dir)


async def test_the_sums_stay_those_of_the_rows_whatever_happens(make_sqlite, upload_dir):
    limits = Ceilings(owner=Ceiling(stored=900, open=9), all=Ceiling(stored=2000, unwritten=1500))
    counters = [await make_sqlite(limits) for _ in range(2)]
    luck = random.Random(20_26)
    known = []

    def claimed():
        length = luck.randrange(60)
        again = luck.random() < 0.2 and known
        upload_id = luck.choice(known).upload_id if again else new_upload_id()
        owner = luck.choice(["ann", "bob", "", OWNER_THAT_CANNOT_BE_WRITTEN])
        most, written = length + luck.randrange(40), luck.randrange(10)
        creating = not again
        known.append(
            claim(
                length, owner=owner, upload_id=upload_id, creating=creating,
                written=0 if creating else written, most=most,
            )
        )  # fmt: skip
        return known[-1]

    def noted():
        one = luck.choice(known)
        length = luck.choice([None, one.most])
        return row(
            one, length=length, offset=luck.randrange(one.most + 1), version=luck.randrange(5),
            is_open=luck.random() < 0.6, gone=luck.random() < 0.3,
        )  # fmt: skip

    for _ in range(40):
        counter, asked = luck.choice(counters), []
        for _ in range(luck.randrange(1, 12)):
            one = claimed()
            notes = [noted() for _ in range(luck.randrange(3))]
            asked.append(ask(counter, one, *notes))
        await asyncio.gather(*asked, return_exceptions=True)
        if luck.random() < 0.2:
            rows = {one.upload_id: one for one in (noted() for _ in range(5)) if not one.gone}
            rows = [rows[name] for name in sorted(rows) if rows[name].owner.isascii()]
            upto = luck.choice([None, new_upload_id()])
            rows = [one for one in rows if upto is None or one.upload_id <= upto]
            await counter.compare(rows, after=None, upto=upto, grace=luck.choice([-1.0, 60.0]))
        assert sums_are_right(upload_dir)
    assert len(look(upload_dir, "SELECT * FROM sums")) > 2


# --- what need not be counted, or not at once


async def test_an_append_that_nothing_limits_reads_the_body_itself(make_quota):
    quota = await make_quota(Ceilings(all=Ceiling(open=5, creations=9)))
    body = Pieces(b"abc")
    for one in (upload(3), upload(None)):
        async with quota.appending(one, body, length=one.length) as given:
            assert given is body


async def test_news_of_an_end_are_written_soon_though_nobody_asks_for_anything(
    upload_dir,
):
    limits = ceilings("all", open=1000)
    quota = LimitedQuota(
        SqliteCounter(upload_dir / "counts", limits), limits, is_empty=lambda: True
    )
    await quota.open()
    uploads = [upload(5) for _ in range(700)]
    await asyncio.gather(*map(quota.admit, uploads))
    for one in uploads:
        quota.note(one.next(status=Status.REMOVED))
    query = "SELECT open FROM sums WHERE scope = '*'"
    assert await asyncio.to_thread(eventually, lambda: look(upload_dir, query) == [(0,)])
    await quota.close()


async def test_news_may_wait_only_while_there_is_much_room(make_sqlite):
    now = [100.0]
    roomy = SqliteCounter((await make_sqlite(Ceilings()))._folder, ceilings("all", open=250),
                          now=lambda: now[0])  # fmt: skip
    await roomy.open()
    assert roomy.patience == 0
    await asyncio.gather(*(ask(roomy, claim(1)) for _ in range(50)))
    assert roomy.patience > 0
    now[0] += 1
    assert roomy.patience == 0, "others may have filled it meanwhile"
    await ask(roomy, claim(1))
    assert roomy.patience == 0, "there is too little room"
    await roomy.close()
    for limits in (ceilings("owner", open=1000), ceilings("all", open=1000, stored=2**60)):
        near = await make_sqlite(limits)
        await near.settle(Dues())
        assert near.patience == 0
    assert await near.filled() is Filled.NO
