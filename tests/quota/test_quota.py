"""What the engine is told by the limits: admitted, slowed down, refused, counted anew."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.quota.uploads import Pieces, upload
from tusserver.body import BodyEnd
from tusserver.errors import (
    QuotaExceeded,
    StoreExhausted,
    TooManyAppends,
    TooManyRequests,
    TooManyUploads,
    TusError,
)
from tusserver.quota.ceilings import STEP, Ceiling, Ceilings
from tusserver.quota.recount import PAGE
from tusserver.upload import Kind, Status

MIB = 2**20


def of(scope, **limits):
    return Ceilings(**{scope: Ceiling(**limits)})


def finished(one):
    return one.next(status=Status.COMPLETE, offset=one.length)


def removed(one):
    return one.next(status=Status.REMOVED)


async def read_all(body):
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)


async def read_until_refused(body):
    """Read until that raises; give the number of bytes, and the error."""
    got = 0
    try:
        while piece := await body.read():
            got += len(piece)
    except TusError as error:
        return got, error
    raise AssertionError("it was not refused")


def records_of(*uploads):
    """Give what reads the records of these uploads."""

    async def read(after, limit, *, gently):
        ordered = sorted(uploads, key=lambda one: one.upload_id)
        return [one for one in ordered if after is None or one.upload_id > after][:limit]

    return read


# --- refusals


@pytest.mark.parametrize(
    ("ceilings", "error"),
    [
        (of("owner", stored=9), QuotaExceeded),
        (of("all", stored=9), StoreExhausted),
        (of("owner", unwritten=9), QuotaExceeded),
        (of("all", unwritten=9), StoreExhausted),
    ],
    ids=["owner, stored", "all, stored", "owner, unwritten", "all, unwritten"],
)
async def test_an_upload_that_is_too_large_is_refused(make_quota, ceilings, error):
    quota = await make_quota(ceilings)
    with pytest.raises(error):
        await quota.admit(upload(10))
    await quota.admit(upload(9))


async def test_an_owner_who_must_finish_uploads_first_is_told_to_come_again(make_quota):
    quota = await make_quota(of("owner", unwritten=9))
    first = upload(9)
    await quota.admit(first)
    with pytest.raises(TooManyUploads, match="unfinished") as caught:
        await quota.admit(upload(1))
    assert caught.value.retry_after
    quota.note(finished(first))
    await quota.admit(upload(9))


async def test_the_wait_for_the_next_upload_is_told_in_whole_seconds(make_quota):
    quota = await make_quota(of("all", creations=1), minute=3.0)
    await quota.admit(upload(1))
    with pytest.raises(TooManyRequests) as caught:
        await quota.admit(upload(1))
    assert caught.value.retry_after == 3


async def test_the_log_names_the_setting_once_in_a_while(make_quota, caplog):
    quota = await make_quota(of("owner", open=1))
    await quota.admit(upload(1, owner="ann"))
    for _ in range(5):
        with pytest.raises(TooManyUploads) as caught:
            await quota.admit(upload(1, owner="ann"))
    assert "ann" not in caught.value.message
    lines = [line for line in caplog.messages if "--owner-max-open is 1" in line]
    assert len(lines) == 1
    assert "ann" in lines[0]


# --- what happened counts at once here, and soon elsewhere


async def test_what_was_removed_makes_room_at_once_here_and_soon_elsewhere(make_quota):
    here, elsewhere = [await make_quota(of("all", open=1)) for _ in range(2)]
    first = upload(5)
    await here.admit(first)
    here.note(removed(first))
    second = upload(5)
    await here.admit(second)
    with pytest.raises(TooManyUploads):
        await elsewhere.admit(upload(5))
    here.note(removed(second))
    await asyncio.sleep(0.1)
    await elsewhere.admit(upload(5))


async def test_a_creation_that_came_to_nothing_counts_for_nothing(make_quota):
    quota = await make_quota(Ceilings(all=Ceiling(open=1, stored=5)))
    failed = upload(5)
    await quota.admit(failed)
    quota.note(replace(failed, status=Status.REMOVED))
    await quota.admit(upload(5))


async def test_a_final_upload_counts_beside_its_parts_until_they_are_complete(make_quota):
    quota = await make_quota(Ceilings(all=Ceiling(open=2, stored=20)))
    part = upload(10, kind=Kind.PARTIAL)
    final = upload(10, kind=Kind.FINAL, parts=(part.upload_id,), assembled=False)
    await quota.admit(part)
    await quota.admit(final)
    with pytest.raises(TooManyUploads):
        await quota.admit(upload(0))
    quota.note(finished(part))
    quota.note(finished(final))
    await quota.admit(upload(0))
    with pytest.raises(StoreExhausted):
        await quota.admit(upload(1))


async def test_a_final_upload_of_unknown_length_is_counted_when_it_is_known(make_quota):
    quota = await make_quota(of("all", stored=10))
    part = upload(None, kind=Kind.PARTIAL)
    final = upload(None, kind=Kind.FINAL, parts=(part.upload_id,), assembled=False)
    await quota.admit(final)
    await quota.admit(part)
    quota.note(removed(part))
    quota.note(final.next(length=4, offset=4, status=Status.COMPLETE))
    with pytest.raises(StoreExhausted):
        await quota.admit(upload(7))
    await quota.admit(upload(6))


async def test_with_only_open_uploads_limited_finished_ones_leave_no_row(make_quota):
    quota = await make_quota(of("all", open=1))
    for _ in range(3):
        one = upload(2**62)
        await quota.admit(one)
        quota.note(finished(one))
    await quota.admit(upload(None))


# --- bodies


async def test_an_upload_of_unknown_length_grows_until_nothing_is_left(make_quota):
    quota = await make_quota(of("owner", stored=2 * STEP + 5))
    one, other = upload(None), upload(None)
    await quota.admit(one)
    await quota.admit(other)
    body = Pieces(*[bytes(16 * MIB)] * 5)
    async with quota.appending(one, body, length=None) as limited:
        got, error = await read_until_refused(limited)
    assert isinstance(error, QuotaExceeded)
    assert got == STEP + 5
    quota.note(removed(other))
    async with quota.appending(one.next(offset=got), Pieces(b"abc"), length=None) as limited:
        assert await read_all(limited) == b"abc"


async def test_two_that_grow_at_once_share_what_is_left(make_quota):
    quota = await make_quota(of("all", stored=STEP + 10))
    uploads = [upload(None), upload(None)]
    for one in uploads:
        await quota.admit(one)

    async def send(one):
        async with quota.appending(one, Pieces(*[bytes(MIB)] * 100), length=None) as limited:
            got, error = await read_until_refused(limited)
        assert isinstance(error, StoreExhausted)
        return got

    assert sum(await asyncio.gather(*map(send, uploads))) == STEP + 10


async def test_a_length_that_is_declared_late_must_fit(make_quota):
    quota = await make_quota(of("owner", stored=STEP + 10))
    one = upload(None)
    await quota.admit(one)
    with pytest.raises(QuotaExceeded):
        async with quota.appending(one, Pieces(b"x"), length=STEP + 11):
            pass
    async with quota.appending(one, Pieces(b"x"), length=STEP + 10) as limited:
        assert await read_all(limited) == b"x"
    quota.note(one.next(length=5, offset=1))
    await quota.admit(upload(STEP + 5))


async def test_one_append_more_than_may_be_is_refused_and_the_end_of_one_makes_room(make_quota):
    here, elsewhere = [await make_quota(of("all", appends=2)) for _ in range(2)]
    first, second, third = upload(9), upload(9), upload(9)
    async with AsyncExitStack() as stack:
        for one in (first, second, second):
            await stack.enter_async_context(here.appending(one, Pieces(b""), length=9))
        with pytest.raises(TooManyAppends):
            await stack.enter_async_context(elsewhere.appending(third, Pieces(b""), length=9))
    await asyncio.sleep(0.1)
    async with elsewhere.appending(third, Pieces(b"x"), length=9) as body:
        assert await read_all(body) == b"x"


async def test_bodies_arrive_no_faster_than_they_may_and_take_turns(make_quota):
    rate = 400_000
    quotas = [await make_quota(of("all", bandwidth=rate)) for _ in range(2)]
    loop = asyncio.get_running_loop()
    start, got = loop.time(), [0, 0, 0]

    async def send(number, quota):
        body = Pieces(*[bytes(100_000)] * 30)
        async with quota.appending(upload(9), body, length=9) as limited:
            while loop.time() - start < 2.0 and (piece := await limited.read()):
                got[number] += len(piece)

    await asyncio.gather(*(send(n, quotas[n % 2]) for n in range(3)))
    took = loop.time() - start
    assert 0.8 * rate < sum(got) / took < 1.2 * rate
    assert min(got) > 0.6 * max(got)


@pytest.mark.parametrize("why", [BodyEnd.SUPERSEDED, BodyEnd.SHUTDOWN, BodyEnd.REFUSED])
async def test_a_body_that_waits_for_its_turn_is_stopped_at_once(make_quota, why):
    quota = await make_quota(of("all", bandwidth=2000))
    loop = asyncio.get_running_loop()
    async with quota.appending(upload(9), Pieces(bytes(100_000)), length=9) as limited:
        await limited.read()
        loop.call_later(0.2, limited.stop, why)
        start = loop.time()
        await read_all(limited)
        assert loop.time() - start < 0.6
        assert limited.end is why
        assert limited.last_byte_at <= loop.time()


async def test_what_waits_for_its_turn_is_no_silence(make_quota):
    quota = await make_quota(of("all", bandwidth=2000))
    loop = asyncio.get_running_loop()
    async with quota.appending(upload(9), Pieces(bytes(100_000)), length=9) as limited:
        await limited.read()
        reading = asyncio.create_task(read_all(limited))
        await asyncio.sleep(0.25)
        assert loop.time() - limited.last_byte_at < 0.1
        assert limited.end is None
        limited.stop(BodyEnd.SHUTDOWN)
        await reading


async def test_a_read_that_is_cancelled_loses_nothing(make_quota):
    quota = await make_quota(of("all", bandwidth=4000))
    sent = bytes(range(256)) * 12
    got = b""
    async with quota.appending(upload(9), Pieces(sent), length=9) as limited:
        while len(got) < len(sent):
            try:
                async with asyncio.timeout(0.1):
                    got += await limited.read()
            except TimeoutError:
                continue
    assert got == sent


# --- counting anew


async def test_a_store_that_was_never_counted_admits_nothing_before_it_is(make_quota, caplog):
    quota = await make_quota(of("all", stored=10), empty=False)
    there = [finished(upload(3)), upload(4)]
    with pytest.raises(TooManyRequests, match="counting"):
        await quota.admit(upload(1))
    await quota.reconcile(records_of(*there))
    await quota.admit(upload(3))
    with pytest.raises(StoreExhausted):
        await quota.admit(upload(1))
    assert "do not know the uploads" in caplog.text


async def test_only_open_uploads_need_not_be_known_to_admit_one(make_quota):
    quota = await make_quota(of("all", open=2), empty=False)
    await quota.admit(upload(1))
    await quota.reconcile(records_of(upload(4), finished(upload(1))))
    with pytest.raises(TooManyUploads):
        await quota.admit(upload(1))


async def test_what_is_removed_while_its_page_is_read_takes_no_room(make_quota):
    quota = await make_quota(of("all", stored=10))
    old, refused = upload(10), []
    await quota.admit(old)
    compare = quota._recount._counter.compare

    async def compare_and_create(*args, **options):
        found = await compare(*args, **options)
        try:
            await quota.admit(upload(10))
        except StoreExhausted as error:
            refused.append(error)
        quota._recount._counter.compare = compare
        return found

    async def read(after, limit, *, gently):
        if after is not None:
            return []
        quota._recount._counter.compare = compare_and_create
        quota.note(removed(old))
        await quota._settle()
        return [old]

    await quota.reconcile(read)
    assert not refused


@pytest.mark.parametrize(
    ("ceiling", "counted", "gently"),
    [
        ({"stored": 10}, False, False),
        ({"stored": 10}, True, True),
        ({"open": 2}, False, True),
        ({"open": 2}, True, True),
    ],
)
async def test_records_are_read_in_haste_only_while_new_uploads_wait_for_the_counts(
    make_quota, ceiling, counted, gently
):
    quota = await make_quota(of("all", **ceiling), empty=counted)
    ways = set()

    async def read(after, limit, *, gently):
        ways.add(gently)
        return []

    await quota.reconcile(read)
    assert ways == {gently}


@pytest.mark.parametrize("make_counter", ["redis"], indirect=True)
@pytest.mark.parametrize("hurry", [False, True])
async def test_counts_that_are_lost_while_they_are_compared_are_counted_anew(
    make_quota, redis_server, hurry
):
    quota = await make_quota(of("all", stored=10), empty=not hurry)
    there = finished(upload(9))
    read = records_of(there)
    losses = 0

    async def read_and_lose(after, limit, *, gently):
        nonlocal losses
        if after is not None:
            losses += 1
            await asyncio.to_thread(redis_server.flush)
        return await read(after, limit, gently=gently)

    await quota.reconcile(read_and_lose)
    assert losses == 1
    with pytest.raises(TooManyRequests, match="counting"):
        await quota.admit(upload(1))
    await quota.reconcile(read)
    await quota.admit(upload(1))
    with pytest.raises(StoreExhausted):
        await quota.admit(upload(1))


async def test_counts_outlive_the_process(make_quota):
    first = await make_quota(of("all", open=1))
    await first.admit(upload(1))
    await first.close()
    with pytest.raises(TooManyUploads):
        await (await make_quota(of("all", open=1), empty=False)).admit(upload(1))


async def test_one_that_is_removed_while_it_is_counted_does_not_count_for_ever(make_quota):
    quota = await make_quota(of("all", open=1), empty=False)
    ghost = upload(1)
    pages = [[ghost], [], []]

    async def read(_after, _limit, *, gently):
        return pages.pop(0)

    await quota.reconcile(read)
    await quota.admit(upload(1))


async def test_those_made_while_others_are_counted_push_none_of_them_out(make_quota):
    quota = await make_quota(of("all", open=PAGE + 1), empty=False)
    there = sorted((upload(1) for _ in range(PAGE + 1)), key=lambda one: one.upload_id)
    late, *known = there
    times = 0

    async def read(after, limit, *, gently):
        nonlocal times
        times += 1
        found = known if times == 1 else [late, *known]
        return [one for one in found if after is None or one.upload_id > after][:limit]

    await quota.admit(late)
    await quota.reconcile(read)
    with pytest.raises(TooManyUploads):
        await quota.admit(upload(1))
