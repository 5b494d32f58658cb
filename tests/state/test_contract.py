"""What every state store promises, run against each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.state.conftest import STORE_ID, LocalBench, RedisBench
from tests.state.uploads import NOW, due, make_upload
from tusserver.errors import StateConflict
from tusserver.state.redis import RedisState
from tusserver.upload import EventState, Kind, Status, new_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.state.conftest import Bench


@pytest.fixture(params=["redis", "redis-cluster", "local"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "local":
        async with LocalBench.opened(request.getfixturevalue("tmp_path")) as local:
            yield local
        return
    is_cluster = request.param == "redis-cluster"
    server = request.getfixturevalue("cluster_server" if is_cluster else "redis_server")
    server.flush()
    state = RedisState(server.url)
    await state.attach(STORE_ID)
    yield RedisBench(state)
    await state.close()


async def test_a_new_record_is_read_back(bench):
    upload = make_upload(
        metadata="filename d29ybGQ=,empty",
        owner="åsa",
        kind=Kind.PARTIAL,
        expires_at=due(60),
        concat="partial",
    )
    await bench.create(upload)

    assert await bench.state.get(upload.upload_id) == upload


async def test_a_final_upload_of_10000_parts_is_read_back(bench):
    parts = tuple(new_upload_id() for _ in range(10_000))
    upload = make_upload(
        kind=Kind.FINAL, parts=parts, concat="final;" + "/files/x " * 10_000, assembled=False
    )
    await bench.create(upload)

    assert await bench.state.get(upload.upload_id) == upload


async def test_an_unknown_upload_is_none(bench):
    assert await bench.state.get(new_upload_id()) is None


async def test_adding_the_same_record_again_is_no_error(bench):
    upload = make_upload()
    await bench.create(upload)

    await bench.state.add(upload)

    assert await bench.state.get(upload.upload_id) == upload


async def test_adding_another_record_of_the_same_id_conflicts(bench):
    upload = make_upload()
    await bench.create(upload)

    with pytest.raises(StateConflict):
        await bench.state.add(upload.next(offset=5))
    assert await bench.state.get(upload.upload_id) == upload


async def test_each_version_follows_the_one_before(bench):
    upload = make_upload()
    await bench.create(upload)
    for offset in range(100, 1000, 100):
        upload = upload.next(offset=offset, expires_at=due(offset))
        await bench.commit(upload)

    assert await bench.state.get(upload.upload_id) == upload


async def test_an_upload_goes_through_its_whole_life(bench):
    upload = make_upload(length=None, expires_at=due(60))
    await bench.create(upload)
    for changes in (
        {"offset": 400, "epoch": "e2"},
        {"length": 500, "synced": 400},
        {
            "offset": 500,
            "synced": 500,
            "status": Status.COMPLETE,
            "event": EventState.PENDING,
            "event_id": "event-1",
            "expires_at": None,
        },
        {"event": EventState.SENT},
        {"status": Status.REMOVED},
    ):
        upload = upload.next(**changes)
        await bench.commit(upload)
        assert await bench.state.get(upload.upload_id) == upload
    await bench.remove(upload.upload_id)

    assert await bench.state.get(upload.upload_id) is None


async def test_saving_the_same_version_again_is_no_error(bench):
    upload = make_upload()
    await bench.create(upload)
    upload = upload.next(offset=10)
    await bench.commit(upload)

    await bench.state.save(upload)

    assert await bench.state.get(upload.upload_id) == upload


@pytest.mark.parametrize("version", [1, 2, 5], ids=["older", "older by one", "too far on"])
async def test_a_version_that_does_not_follow_conflicts(bench, version):
    upload = make_upload()
    await bench.create(upload)
    for offset in (10, 20):
        upload = upload.next(offset=offset)
        await bench.commit(upload)

    with pytest.raises(StateConflict):
        await bench.state.save(replace(upload, version=version, offset=500))
    assert await bench.state.get(upload.upload_id) == upload


async def test_saving_what_was_never_added_conflicts(bench):
    upload = make_upload().next(offset=10)

    with pytest.raises(StateConflict):
        await bench.state.save(upload)
    assert await bench.state.get(upload.upload_id) is None


async def test_restoring_a_lost_record_gives_it_back(bench):
    upload = make_upload().next(offset=10)

    assert await bench.state.restore(upload) == upload


async def test_restoring_an_older_record_gives_the_newer_one(bench):
    older = make_upload()
    await bench.create(older)
    newer = older.next(offset=10)
    await bench.commit(newer)

    assert await bench.state.restore(older) == newer
    assert await bench.state.get(older.upload_id) == newer


async def test_a_dropped_record_is_gone_and_dropping_it_again_is_no_error(bench):
    upload = make_upload(expires_at=due(-1))
    await bench.create(upload)

    await bench.remove(upload.upload_id)
    await bench.state.delete(upload.upload_id)

    assert await bench.state.get(upload.upload_id) is None
    assert await bench.state.expired(NOW, 10) == []
    assert await bench.state.list(None, 10) == []


async def test_uploads_past_their_time_are_named_the_oldest_first(bench):
    times = {-5: "c", -1: "d", -9.5: "b", 0: "e", -9.75: "a"}
    names = {}
    for seconds, name in times.items():
        upload = make_upload(expires_at=due(seconds))
        names[upload.upload_id] = name
        await bench.create(upload)
    for other in (due(0.000001), due(3600), None):
        await bench.create(make_upload(expires_at=other))

    found = await bench.state.expired(NOW, 10)
    first = await bench.state.expired(NOW, 3)

    assert [names[upload_id] for upload_id in found] == ["a", "b", "c", "d", "e"]
    assert first == found[:3]


async def test_an_upload_whose_time_slid_on_is_not_named(bench):
    slid, endless = make_upload(expires_at=due(-1)), make_upload(expires_at=due(-1))
    await bench.create(slid)
    await bench.create(endless)

    await bench.commit(slid.next(expires_at=due(60)))
    await bench.commit(endless.next(expires_at=None))

    assert await bench.state.expired(NOW, 10) == []
    assert await bench.state.expired(due(60), 10) == [slid.upload_id]


async def test_records_are_listed_page_by_page_in_the_order_of_their_ids(bench):
    records = [make_upload(metadata=f"n {number}") for number in range(7)]
    for upload in records:
        await bench.create(upload)
    records.sort(key=lambda upload: upload.upload_id)

    pages, after = [], None
    while page := await bench.state.list(after, 3):
        pages.append(page)
        after = page[-1].upload_id

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [upload for page in pages for upload in page] == records


async def test_nothing_is_listed_where_nothing_is(bench):
    assert await bench.state.list(None, 10) == []
    assert await bench.state.list(new_upload_id(), 10) == []
    assert await bench.state.expired(NOW, 10) == []
