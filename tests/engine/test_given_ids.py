"""Ids that the application gives: each is one upload, also after a crash while it was made."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.errors import Rejected, UploadLocked
from tusserver.gates import NoQuota
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision
from tusserver.storage.leases import Leases
from tusserver.upload import Upload, UploadId

GIVEN = UploadId("0123456789abcdef" * 2)


@pytest.fixture
async def house(build):
    async def before_create(_event):
        return Decision(upload_id=GIVEN)

    return await build(hooks=CallableHooks(pre_create=before_create))


async def test_one_is_given_once(house):
    upload = await house.create(5, body=FedBody(b"hello"))
    assert upload.upload_id == GIVEN
    for length in (0, 5):
        with pytest.raises(Rejected) as refused:
            await house.create(length)
        assert refused.value.status == 409
    assert await house.content(upload) == b"hello"


@pytest.mark.parametrize("length", [0, 5])
async def test_one_is_free_where_the_creation_of_an_empty_upload_was_broken_off(house, length):
    parts = house.parts
    left = Upload(upload_id=GIVEN, created_at=parts.now(), length=0, epoch=parts.storage.epoch)
    await (await parts.storage.create(left, sync=False)).release()
    upload = await house.create(length, body=FedBody(b"hello"[:length]))
    assert await house.content(upload) == b"hello"[:length]


@pytest.mark.parametrize("left", [b"", b"x" * 100])
async def test_one_is_free_where_a_creation_was_broken_off_before_its_record(house, left):
    path = house.directory / GIVEN[:2] / GIVEN
    path.parent.mkdir()
    path.write_bytes(left)
    upload = await house.create(5, body=FedBody(b"hello"))
    assert await house.content(upload) == b"hello"
    assert path.read_bytes() == b"hello"


async def test_a_file_that_has_another_name_keeps_its_bytes(house):
    path = house.directory / GIVEN[:2] / GIVEN
    path.parent.mkdir()
    path.write_bytes(b"published")
    (house.directory / "film").hardlink_to(path)
    upload = await house.create(5, body=FedBody(b"hello"))
    assert await house.content(upload) == b"hello"
    assert (house.directory / "film").read_bytes() == b"published"


async def test_one_is_free_where_only_redis_knows_of_an_upload(build, redis_server):
    async def before_create(_event):
        return Decision(upload_id=GIVEN)

    hooks = CallableHooks(pre_create=before_create)
    house = await build(hooks=hooks, state_url=redis_server.url)
    old = await house.create(3, body=FedBody(b"abc"))
    stored = await house.parts.state.get(old.upload_id)
    await house.engine.terminate(old.upload_id)
    await house.parts.state.restore(stored)
    upload = await house.create(5, body=FedBody(b"hello"))
    assert await house.content(upload) == b"hello"


async def test_the_finish_of_each_is_told_also_where_the_file_of_one_was_moved_away(build):
    told = []

    async def before_create(_event):
        return Decision(upload_id=GIVEN)

    async def after_finish(event):
        told.append(event.event_id)
        (house.directory / GIVEN[:2] / GIVEN).rename(house.directory / "mine")

    hooks = CallableHooks(pre_create=before_create, post_finish=after_finish)
    house = await build(hooks=hooks, chores=False)
    for number in (1, 2):
        await house.create(5, body=FedBody(b"hello"))
        assert await eventually(lambda number=number: len(told) == number)
        await asyncio.sleep(0.05)
        await house.engine.evict(GIVEN)
    assert len(set(told)) == 2


async def test_one_is_not_taken_from_who_is_just_using_it(build, house, monkeypatch):
    """Two processes are given the same id in the same moment."""
    ready, go_on = asyncio.Event(), asyncio.Event()
    loop, write = asyncio.get_running_loop(), Leases._begin

    def slowly(self, upload_id):
        lease = write(self, upload_id)
        if not ready.is_set():
            loop.call_soon_threadsafe(ready.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
        return lease

    monkeypatch.setattr(Leases, "_begin", slowly)
    first = asyncio.create_task(house.create(5, body=FedBody(b"hello")))
    await ready.wait()
    other = await build(hooks=house.parts.hooks)
    noted = []
    monkeypatch.setattr(NoQuota, "note", lambda quota, _upload: noted.append(quota))
    with pytest.raises(UploadLocked):
        await other.create(5, body=FedBody(b"other"))
    assert other.parts.quota not in noted
    go_on.set()
    assert await house.content(await first) == b"hello"
