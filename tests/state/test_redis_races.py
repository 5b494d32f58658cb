"""Many tasks, many connections, and tasks that are cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest
from redis.crc import key_slot

from tests.state.uploads import NOW, due, make_upload
from tusserver.errors import StateConflict
from tusserver.state.redis import RedisState, record_key


async def test_of_saves_of_the_same_version_exactly_one_wins(redis_server):
    states = [RedisState(redis_server.url) for _ in range(2)]
    upload = make_upload()
    await states[0].add(upload)
    for _ in range(10):
        rivals = [upload.next(owner=str(number)) for number in range(20)]
        results = await asyncio.gather(
            *(states[number % 2].save(rival) for number, rival in enumerate(rivals)),
            return_exceptions=True,
        )
        winners = [rival for rival, result in zip(rivals, results, strict=True) if result is None]
        assert len(winners) == 1
        assert sum(isinstance(result, StateConflict) for result in results) == 19
        assert await states[1].get(upload.upload_id) == winners[0]
        upload = winners[0]
    for state in states:
        await state.close()


async def test_of_two_different_records_with_one_id_only_one_is_added(redis_server, state):
    upload = make_upload()
    rivals = [make_upload(upload_id=upload.upload_id, owner=str(number)) for number in range(10)]

    results = await asyncio.gather(*(state.add(rival) for rival in rivals), return_exceptions=True)

    assert results.count(None) == 1
    assert await state.get(upload.upload_id) == rivals[results.index(None)]


async def test_of_restores_in_any_order_the_newest_stays(state):
    versions = [make_upload()]
    for offset in range(1, 30):
        versions.append(versions[-1].next(offset=offset))
    shuffled = versions[:]
    random.Random(7).shuffle(shuffled)

    results = await asyncio.gather(*(state.restore(upload) for upload in shuffled))

    assert await state.get(versions[0].upload_id) == versions[-1]
    for given, result in zip(shuffled, results, strict=True):
        assert result.version >= given.version


async def test_cancelled_reads_never_mix_up_answers(redis_server):
    rng = random.Random(11)
    state = RedisState(redis_server.url)
    uploads = [make_upload(metadata=f"n {number}") for number in range(20)]
    await asyncio.gather(*(state.add(upload) for upload in uploads))

    async def cancelled_read():
        reading = asyncio.create_task(state.get(rng.choice(uploads).upload_id))
        await asyncio.sleep(rng.uniform(0, 0.003))
        return reading.cancel()

    hits = 0
    for _ in range(10):
        hits += sum(await asyncio.gather(*(cancelled_read() for _ in range(20))))
        assert await asyncio.gather(*(state.get(each.upload_id) for each in uploads)) == uploads
    await state.close()

    assert hits > 20, "hardly a read was cancelled in its course"


async def test_a_cancelled_save_is_carried_to_its_end(redis_server, state):
    upload = make_upload()
    await state.add(upload)
    impatient = RedisState(redis_server.url)

    saving = asyncio.create_task(impatient.save(upload.next(offset=10)))
    await asyncio.sleep(0)
    saving.cancel()
    await asyncio.wait([saving])
    await impatient.close()

    assert saving.cancelled()
    assert await state.get(upload.upload_id) == upload.next(offset=10)


async def test_a_listing_goes_on_over_uploads_that_come_and_go(state):
    staying = sorted((make_upload() for _ in range(40)), key=lambda upload: upload.upload_id)
    for upload in staying:
        await state.add(upload)

    async def churn():
        while True:
            upload = make_upload(expires_at=due(-1))
            await state.add(upload)
            await state.expired(NOW, 5)
            await state.delete(upload.upload_id)

    churning = asyncio.create_task(churn())
    seen, after = [], None
    while page := await state.list(after, 3):
        seen += page
        after = page[-1].upload_id
    churning.cancel()
    await asyncio.gather(churning, return_exceptions=True)

    assert [upload for upload in seen if upload in staying] == staying


async def test_the_key_of_a_record_has_its_id_as_hash_tag(cluster_server):
    upload_id = make_upload().upload_id

    slot = cluster_server.cli("CLUSTER KEYSLOT", record_key(upload_id))

    assert slot == cluster_server.cli("CLUSTER KEYSLOT", upload_id) == key_slot(upload_id.encode())


async def test_what_others_wrote_since_is_read_whatever_was_written_here(redis_server):
    here, there = RedisState(redis_server.url), RedisState(redis_server.url)
    first = make_upload()
    await here.add(first)
    assert await here.get(first.upload_id) is first
    second = first.next(offset=5)
    await there.save(second)
    assert await here.get(first.upload_id) == second
    with pytest.raises(StateConflict):
        await here.save(first.next(offset=3))
    assert await here.get(first.upload_id) == second
    for one in (here, there):
        await one.close()
