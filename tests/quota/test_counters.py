"""What both counters must do: each limit at its border, for an owner and for all."""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest

from tests.quota.uploads import upload
from tusserver.quota.ceilings import Ceiling, Ceilings
from tusserver.quota.counter import Claim, Dues, Entry, Filled, Limit, Refusal, Row
from tusserver.quota.sqlite import SqliteCounter
from tusserver.upload import new_upload_id

NO_DUES = Dues()


def ceilings(scope, **limits):
    return Ceilings(**{scope: Ceiling(**limits)})


def claim(length, *, owner="ann", upload_id=None, creating=True, written=0, most=None):
    return Claim(
        upload_id=upload_id or new_upload_id(),
        owner=owner,
        least=length,
        most=length if most is None else most,
        creating=creating,
        written=written,
    )


def row(of, *, length, offset=0, is_open=True, version=1, gone=False, is_new=False):
    return Row(
        upload_id=of.upload_id,
        owner=of.owner,
        length=length,
        offset=offset,
        is_open=is_open,
        version=version,
        gone=gone,
        is_new=is_new,
    )


async def ask(counter, one, *rows, needed=Filled.NO):
    return await counter.claim(one, Dues(rows={r.upload_id: r for r in rows}), needed)


SCOPES = pytest.mark.parametrize("scope", ["owner", "all"])


@SCOPES
async def test_bytes_are_stored_up_to_the_limit_and_not_one_more(make_counter, scope):
    one, two = [await make_counter(ceilings(scope, stored=100)) for _ in range(2)]
    assert await ask(one, claim(60)) == 60
    assert await ask(two, claim(41)) == Refusal(Limit.STORED, scope == "owner")
    assert await ask(two, claim(40)) == 40
    assert await ask(one, claim(0)) == 0
    assert await ask(one, claim(1)) == Refusal(Limit.STORED, scope == "owner")


async def test_what_an_owner_stores_is_nothing_to_another(make_counter):
    counter = await make_counter(Ceilings(owner=Ceiling(stored=10), all=Ceiling(stored=15)))
    assert await ask(counter, claim(10, owner="ann")) == 10
    assert await ask(counter, claim(6, owner="bob")) == Refusal(Limit.STORED, of_owner=False)
    assert await ask(counter, claim(5, owner="bob")) == 5


async def test_the_owner_named_like_the_scope_of_all_is_only_an_owner(make_counter):
    counter = await make_counter(Ceilings(owner=Ceiling(stored=10), all=Ceiling(stored=100)))
    for owner in ("*", "", "=", "a b", "Zoë %1"):
        assert await ask(counter, claim(10, owner=owner)) == 10
        assert await ask(counter, claim(1, owner=owner)) == Refusal(Limit.STORED, of_owner=True)


@SCOPES
async def test_what_is_written_is_no_longer_unwritten(make_counter, scope):
    counter = await make_counter(ceilings(scope, unwritten=100))
    first = claim(100)
    assert await ask(counter, first) == 100
    refusal = Refusal(Limit.UNWRITTEN, scope == "owner")
    assert await ask(counter, claim(31), row(first, length=100, offset=30)) == refusal
    assert await ask(counter, claim(30)) == 30
    whole = row(first, length=100, offset=100, is_open=False, version=2)
    assert await ask(counter, claim(71), whole) == refusal
    assert await ask(counter, claim(70)) == 70


@SCOPES
async def test_open_uploads_are_counted_until_they_are_finished_or_gone(make_counter, scope):
    counter = await make_counter(ceilings(scope, open=2))
    first, second = claim(5), claim(5)
    assert await ask(counter, first) == 5
    assert await ask(counter, second) == 5
    refusal = Refusal(Limit.OPEN, scope == "owner")
    assert await ask(counter, claim(5)) == refusal
    finished = row(first, length=5, offset=5, is_open=False, version=2)
    third = claim(0)
    assert await ask(counter, third, finished) == 0
    assert await ask(counter, claim(5)) == refusal
    assert await ask(counter, claim(5), row(second, length=5, gone=True)) == 5


async def test_an_upload_is_admitted_once_however_often_it_is_asked_for(make_counter):
    counter = await make_counter(Ceilings(all=Ceiling(open=2, stored=10, creations=2)))
    first = claim(5)
    for _ in range(3):
        assert await ask(counter, first) == 5
    assert await ask(counter, claim(5)) == 5


@SCOPES
async def test_a_minute_has_its_uploads_and_tells_when_the_next_fits(make_counter, scope):
    one, two = [await make_counter(ceilings(scope, creations=3), minute=0.8) for _ in range(2)]
    assert [await ask(counter, claim(1)) for counter in (one, two, one)] == [1, 1, 1]
    refusal = await ask(two, claim(1))
    assert refusal.limit is Limit.CREATIONS
    assert refusal.of_owner is (scope == "owner")
    assert 0.3 < refusal.wait <= 0.8
    await asyncio.sleep(refusal.wait + 0.01)
    assert await ask(two, claim(1)) == 1


async def test_a_refused_upload_does_not_count_for_the_minute(make_counter):
    counter = await make_counter(Ceilings(all=Ceiling(creations=2, stored=10)))
    assert await ask(counter, claim(5)) == 5
    for _ in range(3):
        assert await ask(counter, claim(6)) == Refusal(Limit.STORED, of_owner=False)
    assert await ask(counter, claim(5)) == 5
    assert (await ask(counter, claim(0))).limit is Limit.CREATIONS


async def test_growing_takes_what_is_left_at_most(make_counter):
    counter = await make_counter(ceilings("owner", stored=100))
    growing = claim(1, most=64)
    assert await ask(counter, growing) == 64
    more = {"upload_id": growing.upload_id, "creating": False}
    assert await ask(counter, claim(65, most=128, written=64, **more)) == 100
    assert await ask(counter, claim(100, most=128, written=99, **more)) == 100
    assert await ask(counter, claim(101, most=128, written=100, **more)) == Refusal(
        Limit.STORED, of_owner=True
    )
    assert await ask(counter, claim(1)) == Refusal(Limit.STORED, of_owner=True)


async def test_growing_counts_what_lies_in_the_file_as_written(make_counter):
    counter = await make_counter(ceilings("all", unwritten=10))
    growing = claim(1, most=64)
    assert await ask(counter, growing) == 10
    more = {"upload_id": growing.upload_id, "creating": False}
    assert await ask(counter, claim(11, most=64, written=10, **more)) == 20
    assert await ask(counter, claim(1)) == Refusal(Limit.UNWRITTEN, of_owner=False)


async def test_news_of_an_older_version_are_no_news(make_counter):
    counter = await make_counter(ceilings("all", open=1))
    first = claim(5)
    await ask(counter, first)
    done = row(first, length=5, offset=5, is_open=False, version=3)
    late = row(first, length=5, offset=1, version=2)
    assert await ask(counter, claim(5), done) == 5
    assert await ask(counter, claim(5), late) == Refusal(Limit.OPEN, of_owner=False)


async def test_news_of_what_is_gone_do_not_bring_it_back(make_counter):
    counter = await make_counter(ceilings("all", stored=5))
    first = claim(5)
    await ask(counter, first)
    await ask(counter, claim(0), row(first, length=5, gone=True))
    assert await ask(counter, claim(5), row(first, length=5, version=9)) == 5


async def test_lengths_beyond_all_sense_do_not_overflow(make_counter):
    counter = await make_counter(ceilings("all", stored=2**62))
    for _ in range(10):
        assert await ask(counter, claim(2**50)) == 2**50


# --- appends


@SCOPES
async def test_as_many_uploads_are_sent_as_may_be(make_counter, scope):
    one, two = [await make_counter(ceilings(scope, appends=2)) for _ in range(2)]
    first, second, third = (upload(5, owner="ann").upload_id for _ in range(3))
    assert await one.enter(Entry("a", first, "ann"), NO_DUES) is None
    assert await two.enter(Entry("b", second, "ann"), NO_DUES) is None
    refusal = Refusal(Limit.APPENDS, scope == "owner")
    assert await two.enter(Entry("c", third, "ann"), NO_DUES) == refusal
    assert await two.enter(Entry("d", third, "ann"), Dues(left=["a"])) is None


async def test_one_upload_is_one_however_many_requests_follow_on_each_other(make_counter):
    counter = await make_counter(ceilings("all", appends=1))
    first, second = upload(5).upload_id, upload(5).upload_id
    assert await counter.enter(Entry("a", first, ""), NO_DUES) is None
    assert await counter.enter(Entry("b", first, ""), NO_DUES) is None
    refusal = Refusal(Limit.APPENDS)
    assert await counter.enter(Entry("c", second, ""), Dues(left=["a"])) == refusal
    assert await counter.enter(Entry("c", second, ""), Dues(left=["b"])) is None


async def test_a_counter_that_is_closed_leaves_no_appends(make_counter):
    one, two = [await make_counter(ceilings("all", appends=1)) for _ in range(2)]
    assert await one.enter(Entry("a", upload(5).upload_id, ""), NO_DUES) is None
    await one.close()
    assert await two.enter(Entry("b", upload(5).upload_id, ""), NO_DUES) is None


# --- bandwidth


@SCOPES
async def test_bandwidth_is_shared_by_all_who_draw(make_counter, scope):
    one, two = [await make_counter(ceilings(scope, bandwidth=1000)) for _ in range(2)]
    assert await one.draw("ann", 100) == pytest.approx(0.0, abs=0.02)
    waits = [await counter.draw("ann", 500) for counter in (one, two, one, two)]
    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.15)
    await one.settle(Dues(refunds={"ann": 2000}))
    assert await one.draw("ann", 100) == pytest.approx(0.1, abs=0.15)


async def test_an_owners_bandwidth_is_nothing_to_another(make_counter):
    counter = await make_counter(ceilings("owner", bandwidth=1000))
    assert await counter.draw("ann", 10_000) > 9
    assert await counter.draw("bob", 100) < 0.1


# --- counting anew


async def test_comparing_adds_mends_and_drops(make_counter):
    counter = await make_counter(ceilings("all", stored=100))
    ids = sorted(new_upload_id() for _ in range(5))
    wrong, right, lost, late, missing = (claim(10, upload_id=name) for name in ids)
    for one in (wrong, right, lost):
        await ask(counter, one)
    rows = [row(wrong, length=20, version=4), row(right, length=10), row(missing, length=30)]
    found = await counter.compare(rows, after=None, upto=ids[2], grace=60.0)
    assert found.added == (missing.upload_id,)
    assert (found.changed, found.dropped) == (2, 0)  # A version counts as a change.
    await ask(counter, late)
    found = await counter.compare(rows[:2], after=None, upto=ids[2], grace=-1.0)
    assert (found.added, found.changed, found.dropped) == ((), 0, 1)
    assert await ask(counter, claim(31)) == Refusal(Limit.STORED)
    assert await ask(counter, claim(30)) == 30


async def test_what_is_newer_than_its_record_was_when_it_was_read_stays(make_counter):
    counter = await make_counter(ceilings("all", open=1))
    first = claim(5)
    await ask(counter, first)
    await counter.settle(Dues(rows={first.upload_id: row(first, length=5, version=7)}))
    read_before = row(first, length=5, offset=5, is_open=False, version=6)
    await counter.compare([read_before], after=None, upto=None, grace=60.0)
    assert await ask(counter, claim(5)) == Refusal(Limit.OPEN)


async def test_an_upload_of_unknown_length_keeps_what_it_has_ahead(make_counter):
    counter = await make_counter(ceilings("all", stored=100))
    first = claim(1, most=60)
    await ask(counter, first)
    await counter.compare([row(first, length=None, offset=9)], after=None, upto=None, grace=60)
    assert await ask(counter, claim(41)) == Refusal(Limit.STORED)
    assert await ask(counter, claim(40)) == 40


async def test_nothing_is_admitted_before_everything_needed_was_counted(make_counter):
    counter = await make_counter(ceilings("all", stored=100))
    assert await ask(counter, claim(5), needed=Filled.BYTES) == Refusal(Limit.UNCOUNTED)
    await counter.set_filled(Filled.OPEN)
    assert await ask(counter, claim(5), needed=Filled.BYTES) == Refusal(Limit.UNCOUNTED)
    await counter.set_filled(Filled.BYTES)
    assert await counter.filled() is Filled.BYTES
    assert await ask(counter, claim(5), needed=Filled.BYTES) == 5
    await counter.tidy()


async def test_a_count_that_is_over_says_so_unless_all_was_lost_meanwhile(make_counter):
    counter = await make_counter(ceilings("all", stored=100))
    assert not await counter.confirm_filled(Filled.BYTES)
    assert await counter.filled() is Filled.NO
    await counter.set_filled(Filled.NO)
    assert await counter.filled() is Filled.NO
    assert await counter.confirm_filled(Filled.BYTES)
    assert await counter.filled() is Filled.BYTES
    assert await counter.confirm_filled(Filled.OPEN)
    assert await counter.filled() is Filled.OPEN


async def test_many_at_once_never_get_more_than_there_is(make_counter):
    limits = Ceilings(all=Ceiling(open=20, stored=1000))
    counters = [await make_counter(limits) for _ in range(3)]
    answers = await asyncio.gather(*(ask(c, claim(10)) for _ in range(30) for c in counters))
    assert sum(isinstance(answer, int) for answer in answers) == 20
    assert {a for a in answers if not isinstance(a, int)} == {Refusal(Limit.OPEN)}


# --- SQLite only


@pytest.mark.parametrize("make_counter", ["sqlite"], indirect=True)
class TestDatabase:
    async def test_a_damaged_database_is_made_anew_for_all(self, make_counter, upload_dir, caplog):
        one, two = [await make_counter(ceilings("all", open=1)) for _ in range(2)]
        await one.set_filled(Filled.OPEN)
        await ask(one, claim(1))
        await asyncio.to_thread(spoil, upload_dir / "counts")
        # What was read before may still be known: who reads it for the first time finds out.
        three = await make_counter(ceilings("all", open=1))
        assert await ask(one, claim(1)) == 1
        assert await two.filled() is Filled.NO
        assert await ask(three, claim(1)) == Refusal(Limit.OPEN)
        assert await ask(two, claim(1)) == Refusal(Limit.OPEN)
        assert "counted anew" in caplog.text

    async def test_a_database_that_is_deleted_is_made_anew(self, make_counter, upload_dir):
        one, two = [await make_counter(ceilings("all", open=1)) for _ in range(2)]
        for path in (upload_dir / "counts").glob("*.db*"):
            path.unlink()
        assert await ask(one, claim(1)) == 1
        assert await ask(two, claim(1)) == Refusal(Limit.OPEN)

    async def test_a_damaged_database_does_not_keep_the_server_from_starting(
        self, make_counter, upload_dir
    ):
        one = await make_counter(ceilings("all", open=1))
        await one.close()
        for path in (upload_dir / "counts").glob("*.db"):
            path.write_bytes(b"no database at all" * 1000)
        assert await ask(await make_counter(ceilings("all", open=1)), claim(1)) == 1


def spoil(folder):
    """Overwrite everything of the databases but the names."""
    for path in folder.glob("*.db*"):
        if not path.name.endswith("-shm"):
            path.write_bytes(os.urandom(max(path.stat().st_size, 8192)))


async def test_a_counter_whose_place_is_gone_ends_all_the_same(upload_dir):
    counter = SqliteCounter(upload_dir / "counts", ceilings("all", open=1))
    await counter.open()
    await ask(counter, claim(5))
    shutil.rmtree(upload_dir)
    await counter.close()
