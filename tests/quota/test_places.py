"""Places that a process holds ahead: never more uploads than may be, whoever made them or died."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.quota.test_counters import NO_DUES, ask, ceilings, claim, row
from tests.quota.test_quota import finished, records_of, removed
from tests.quota.uploads import upload
from tusserver.errors import StorageFault, TooManyUploads
from tusserver.quota import held as held_in_sqlite
from tusserver.quota import redis as in_redis
from tusserver.quota.ceilings import Ceiling, Ceilings
from tusserver.quota.counter import ROOM, Dues, Holding, Limit
from tusserver.quota.places import HELD_SECONDS, MANY, PLACES
from tusserver.upload import Status

LIMIT = 500
OPEN = ceilings("all", open=LIMIT)


async def becomes(condition, *, within=5.0):
    """Ask until the answer is yes, or time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        if (answer := await condition()) or loop.time() >= deadline:
            return answer
        await asyncio.sleep(0.02)


async def count_of(counter):
    """Give how many uploads and held places of others are counted, by what there is room for."""
    least, most = 0, LIMIT - ROOM + 1
    while most - least > 1:
        half = (least + most) // 2
        is_ample = (await counter.hold(NO_DUES, {}, half)).is_ample
        least, most = (half, most) if is_ample else (least, half)
    await counter.hold(NO_DUES, {}, 0)
    return LIMIT - ROOM - least


def rows(*claims, **fields):
    return {one.upload_id: row(one, length=5, **fields) for one in claims}


def new(one, **fields):
    """Give the row of an upload that was made moments ago and is over."""
    return row(one, length=5, gone=True, is_new=True, **fields)


# --- the counter


async def test_held_places_count_as_unfinished_uploads(make_counter):
    one, two = [await make_counter(OPEN) for _ in range(2)]
    assert await one.hold(NO_DUES, {}, 100) == Holding(100, is_ample=True)
    for _ in range(LIMIT - 100):
        assert await ask(two, claim(5)) == 5
    refusal = await ask(two, claim(5))
    assert (refusal.limit, refusal.is_held) == (Limit.OPEN, True)
    assert await one.hold(NO_DUES, {}, 0) == Holding(0, is_ample=False)
    for _ in range(100):
        assert await ask(two, claim(5)) == 5
    refusal = await ask(two, claim(5))
    assert (refusal.limit, refusal.is_held) == (Limit.OPEN, False)


async def test_places_are_held_only_where_much_room_is_left_beside_them(make_counter):
    one, two = [await make_counter(OPEN) for _ in range(2)]
    assert await one.hold(NO_DUES, {}, LIMIT - ROOM - 9) == Holding(LIMIT - ROOM - 9, is_ample=True)
    assert await two.hold(NO_DUES, {}, 10) == Holding(0, is_ample=False)
    assert await two.hold(NO_DUES, {}, 9) == Holding(9, is_ample=True)


async def test_uploads_made_in_places_count_instead_of_these(make_counter):
    one, two = [await make_counter(OPEN) for _ in range(2)]
    await one.hold(NO_DUES, {}, 60)
    made = [claim(5) for _ in range(20)]
    for _ in range(2):
        assert await one.hold(NO_DUES, rows(*made), 60) == Holding(60, is_ample=True)
        assert await count_of(two) == 80
    assert await one.hold(NO_DUES, {}, 0) == Holding(0, is_ample=True)
    assert await count_of(two) == 20
    await two.settle(Dues(rows(*made, gone=True)))
    assert await count_of(two) == 0


async def test_who_made_uploads_keeps_what_they_left_over_when_it_gets_narrow(make_counter):
    one, two = [await make_counter(OPEN) for _ in range(2)]
    await one.hold(NO_DUES, {}, 60)
    for _ in range(LIMIT - ROOM):
        await ask(two, claim(5))
    made = rows(*(claim(5) for _ in range(25)))
    assert await one.hold(NO_DUES, made, 60) == Holding(35, is_ample=False)


async def test_what_ended_elsewhere_before_it_was_told_of_does_not_count(make_counter):
    one, two = [await make_counter(OPEN) for _ in range(2)]
    await one.hold(NO_DUES, {}, 60)
    made = claim(5)
    await two.settle(Dues({made.upload_id: new(made, version=2)}))
    await one.hold(NO_DUES, rows(made), 60)
    await one.hold(NO_DUES, {}, 0)
    assert await count_of(two) == 0


async def test_a_count_leaves_those_that_are_told_of_in_a_moment_to_their_process(make_counter):
    one, two = [await make_counter(OPEN) for _ in range(2)]
    young, old = claim(5), claim(5)
    await one.hold(NO_DUES, {}, 10)
    page = [row(young, length=5, is_new=True), row(old, length=5)]
    page.sort(key=lambda each: each.upload_id)
    found = await two.compare(page, after=None, upto=None, grace=60)
    assert found.added == (old.upload_id,)
    await one.hold(NO_DUES, {}, 0)
    found = await two.compare(page, after=None, upto=None, grace=60)
    assert found.added == (young.upload_id,)


async def test_places_of_a_dead_process_count_until_its_uploads_were_counted(
    make_counter, monkeypatch
):
    monkeypatch.setattr(held_in_sqlite, "NEW_SECONDS", 0.3)
    monkeypatch.setattr(in_redis, "NEW_SECONDS", 0.3)
    monkeypatch.setattr(in_redis, "ALIVE_SECONDS", 0.2)
    one, two = [await make_counter(OPEN) for _ in range(2)]
    await one.hold(NO_DUES, {}, 50)
    assert await two.ghosts() == ()
    await one.close()
    assert await two.ghosts() == ()
    assert await count_of(two) == 50
    assert await becomes(two.ghosts)
    ghosts = await two.ghosts()
    assert len(ghosts) == 1
    for _ in range(2):
        await two.bury(ghosts)
        assert await count_of(two) == 0
    assert await two.ghosts() == ()


# --- the quota


@pytest.fixture
async def make_watched(make_quota, make_counter):
    """Make quotas, and a counter that tells what is counted."""

    async def make(count, limits=OPEN):
        return [await make_quota(limits) for _ in range(count)], await make_counter(limits)

    return make


async def begin_to_hold(quota):
    """Make so many uploads that the quota holds places; give them."""
    first = [upload(5) for _ in range(MANY)]
    for one in first:
        await quota.admit(one)
    await asyncio.sleep(HELD_SECONDS / 5)
    return first


async def test_small_uploads_are_counted_by_nobody_once_there_are_many(make_watched):
    (quota,), counter = await make_watched(1)
    first = await begin_to_hold(quota)
    asked = []
    counted, quota._counter.claim = quota._counter.claim, lambda *each: asked.append(each)
    for _ in range(3 * PLACES):
        one = upload(5)
        await quota.admit(one)
        quota.note(finished(one))
    quota._counter.claim = counted
    assert asked == []
    for one in first:
        quota.note(finished(one))
    await quota.close()
    assert await count_of(counter) == 0


async def test_those_that_stay_open_are_counted_soon(make_watched):
    (quota,), counter = await make_watched(1)
    first = await begin_to_hold(quota)
    later = [upload(5) for _ in range(PLACES // 2)]
    for one in later:
        await quota.admit(one)

    async def are_told():
        return await count_of(counter) == len(first) + len(later)

    # When nothing more is made no places are held either.
    assert await becomes(are_told)
    for one in (*first, *later):
        quota.note(removed(one))

    async def are_gone():
        return await count_of(counter) == 0

    assert await becomes(are_gone)


async def test_a_quota_that_is_closed_leaves_its_uploads_counted_and_no_places(make_watched):
    (quota,), counter = await make_watched(1)
    first = await begin_to_hold(quota)
    for _ in range(9):
        await quota.admit(upload(5))
    await quota.close()
    assert await count_of(counter) == len(first) + 9


async def test_one_finished_in_another_process_at_once_does_not_count(make_watched):
    (here, there), counter = await make_watched(2)
    first = await begin_to_hold(here)
    one = upload(5)
    await here.admit(one)
    there.note(finished(one))
    await there.close()
    await here.close()
    assert await count_of(counter) == len(first)


async def test_three_that_hold_places_make_exactly_as_many_as_may_be(make_watched):
    quotas, _ = await make_watched(3)
    made, random_of = [], random.Random(7)

    async def make_some(quota):
        for _ in range(90):
            one = upload(5)
            try:
                await quota.admit(one)
            except TooManyUploads:
                continue
            if random_of.random() < 0.5:
                await asyncio.sleep(0.001)
                random_of.choice(quotas).note(finished(one))
            else:
                made.append(one)
            await asyncio.sleep(0)

    for _ in range(4):
        await asyncio.gather(*(make_some(quota) for quota in quotas for _ in range(2)))
        assert len(made) <= LIMIT
    async with asyncio.timeout(15):
        while len(made) < LIMIT:
            one = upload(5)
            await random_of.choice(quotas).admit(one)
            made.append(one)
    for quota in quotas:
        with pytest.raises(TooManyUploads):
            await quota.admit(upload(5))
    gone = made.pop()
    quotas[0].note(removed(gone))
    await quotas[0].admit(upload(5))


async def test_bytes_are_never_claimed_ahead(make_quota, make_counter):
    limits = Ceilings(all=Ceiling(open=LIMIT, stored=10**6))
    quota, counter = await make_quota(limits), await make_counter(limits)
    for _ in range(5 * MANY):
        await quota.admit(upload(5))
    await asyncio.sleep(HELD_SECONDS / 5)
    assert (await ask(counter, claim(10**6 - 5 * 5 * MANY))) == 10**6 - 5 * 5 * MANY


async def test_what_could_not_be_told_is_told_again(make_watched):
    (quota,), counter = await make_watched(1)
    first = await begin_to_hold(quota)
    kept, over = upload(5), upload(5)
    await quota.admit(kept)
    await quota.admit(over)
    hold = quota._counter.hold

    async def fail(*_):
        quota._counter.hold = hold
        quota.note(finished(over))
        raise StorageFault

    quota._counter.hold = fail
    with pytest.raises(StorageFault):
        await quota._settle()
    await quota.close()
    assert await count_of(counter) == len(first) + 1


async def test_a_place_that_was_given_to_others_meanwhile_is_not_taken(make_watched):
    (quota,), _ = await make_watched(1)
    await begin_to_hold(quota)
    places = quota._places
    assert places.take(upload(5))
    places._good_until = 0.0
    assert not places.take(upload(5))


async def test_a_count_finds_what_a_dead_process_made_in_its_places(make_watched, monkeypatch):
    monkeypatch.setattr(held_in_sqlite, "NEW_SECONDS", 0.3)
    monkeypatch.setattr(in_redis, "NEW_SECONDS", 0.3)
    monkeypatch.setattr(in_redis, "ALIVE_SECONDS", 0.2)
    (dead, alive), counter = await make_watched(2)
    await alive.reconcile(records_of())
    first = await begin_to_hold(dead)
    long_ago = datetime.now(UTC) - timedelta(minutes=1)
    lost = [upload(5).changed(created_at=long_ago) for _ in range(7)]
    for one in lost:
        await dead.admit(one)
    for chore in dead._chores:
        chore.cancel()
    await dead._counter.close()
    assert await count_of(counter) >= len(first) + len(lost)

    async def is_right():
        await alive.reconcile(records_of(*first, *lost))
        return await count_of(counter) == len(first) + len(lost)

    assert await becomes(is_right)
    assert all(one.status is Status.OPEN for one in lost)
