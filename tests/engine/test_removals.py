"""Removals that meet other requests, lost files, faults and crashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.errors import (
    ChecksumMismatch,
    StateConflict,
    StateUnavailable,
    StorageFault,
    TusError,
    UploadNotFound,
)
from tusserver.hooks.callables import CallableHooks
from tusserver.protocol.messages import Checksum
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.upload import Limits, Status


def files(house):
    """Name the files of uploads that lie in the store."""
    return [path.name for path in house.directory.glob("??/*")]


@pytest.mark.usefixtures("quick_disk")
async def test_an_append_that_meets_a_removal_finds_no_upload_and_makes_none(house, caplog):
    for _ in range(20):
        upload = await house.create(10)
        await house.append(upload, 0, FedBody(b"01234"))
        removal = asyncio.create_task(house.engine.terminate(upload.upload_id))
        await asyncio.sleep(0.001)
        with pytest.raises(TusError):
            await house.append(upload, 5, FedBody(b"5"))
        try:
            await removal
        except TusError:
            await house.engine.terminate(upload.upload_id)
        assert await house.record(upload) is None
    assert not files(house)
    assert "data file is gone" not in caplog.text


async def test_an_append_that_was_let_in_before_a_removal_finds_no_upload(build, caplog):
    class Removing(LocalStorage):
        removal = None

        async def lease(self, upload_id, *, on_contended, timeout):
            if self.removal is not None:
                removal, self.removal = self.removal, None
                await removal()
            return await super().lease(upload_id, on_contended=on_contended, timeout=timeout)

    house = await build(storage=Removing)
    other = await build()
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234"))
    house.parts.storage.removal = lambda: other.engine.terminate(upload.upload_id)
    with pytest.raises(UploadNotFound):
        await house.append(upload, 5, FedBody(b"5"))
    assert not files(house)
    assert "data file is gone" not in caplog.text


async def test_an_upload_without_its_data_file_can_be_terminated(house):
    upload = await house.create(10)
    (house.directory / upload.upload_id[:2] / upload.upload_id).unlink()
    await house.engine.terminate(upload.upload_id)
    with pytest.raises(UploadNotFound):
        await house.head(upload)
    assert not files(house)


async def test_an_expired_upload_without_its_data_file_is_swept(build):
    house = await build(limits=Limits(expire_after=100.0), grace=0.0, chores=False)
    upload = await house.create(10)
    (house.directory / upload.upload_id[:2] / upload.upload_id).unlink()
    await house.engine.sweeper.sweep()
    house.clock.pass_(101)
    assert await house.engine.sweeper.sweep() == 1
    assert not files(house)


async def test_one_upload_that_cannot_be_removed_does_not_keep_the_others(build):
    class Damaged(LocalStorage):
        damaged = None

        async def lease(self, upload_id, *, on_contended, timeout):
            if upload_id == self.damaged:
                raise StorageFault
            return await super().lease(upload_id, on_contended=on_contended, timeout=timeout)

    house = await build(storage=Damaged, limits=Limits(expire_after=100.0), grace=0.0, chores=False)
    uploads = [await house.create(10) for _ in range(3)]
    await house.engine.sweeper.sweep()
    house.parts.storage.damaged = min(upload.upload_id for upload in uploads)
    house.clock.pass_(101)
    assert await house.engine.sweeper.sweep() == 2


async def test_a_removal_that_redis_did_not_see_the_end_of_is_finished(build, redis_server):
    house = await build(state_url=redis_server.url, limits=Limits(expire_after=None), grace=0.0)
    upload = await house.create(10)

    async def away(_upload_id):
        raise StateUnavailable

    state = house.parts.state
    state.delete = away
    with pytest.raises(StateUnavailable):
        await house.engine.terminate(upload.upload_id)
    del state.delete
    assert not files(house)
    assert (await state.get(upload.upload_id)).status is Status.REMOVED
    house.clock.pass_(1)
    await house.engine.sweeper.sweep()
    assert await state.get(upload.upload_id) is None
    assert not files(house)


async def test_a_reader_does_not_bring_a_removed_record_back(build, redis_server):
    class SlowGet(RedisState):
        gate = None

        async def get(self, upload_id):
            if self.gate is not None:
                await self.gate.wait()
            return await super().get(upload_id)

    other = await build(state_url=redis_server.url)
    house = await build(state_url=redis_server.url)
    house.parts.state.__class__ = SlowGet
    upload = await house.create(10)
    house.parts.state.gate = asyncio.Event()
    head = asyncio.create_task(house.head(upload))
    await asyncio.sleep(0.05)
    await other.engine.terminate(upload.upload_id)
    house.parts.state.gate.set()
    await asyncio.wait([head])
    head.exception()
    assert await other.parts.state.get(upload.upload_id) is None
    with pytest.raises(UploadNotFound):
        await house.head(upload)


async def test_a_commit_that_the_state_store_knows_to_be_over_is_refused(build, redis_server):
    house = await build(state_url=redis_server.url)
    upload = await house.create(10)

    async def leave(_holder):
        return None

    lease = await house.parts.storage.lease(upload.upload_id, on_contended=leave, timeout=1)
    await house.parts.state.restore(replace(upload, status=Status.REMOVED))
    with pytest.raises(StateConflict):
        await house.parts.records.commit(lease, upload.next(offset=5))
    await lease.release()


@pytest.mark.parametrize("with_body", [False, True])
async def test_an_empty_upload_that_was_finished_is_there_though_redis_goes(
    build, redis_server, monkeypatch, with_body
):
    told = []

    async def post_finish(event):
        told.append(event.upload.upload_id)

    house = await build(state_url=redis_server.url, hooks=CallableHooks(post_finish=post_finish))
    save = RedisState.save

    async def away(_self, _upload):
        raise StateUnavailable

    monkeypatch.setattr(RedisState, "save", away)
    made = await house.create(0, body=FedBody() if with_body else None)
    monkeypatch.setattr(RedisState, "save", save)
    assert made.is_complete
    assert await eventually(lambda: told)
    assert told == [made.upload_id]
    assert (await house.record(made)).is_complete


@pytest.mark.clause("EXP-08")
@pytest.mark.parametrize("checksum", [None, Checksum("sha1", b"x" * 20)], ids=["plain", "checksum"])
async def test_nothing_is_removed_under_a_writer_of_another_process(build, checksum):
    limits = Limits(expire_after=100.0)
    sweeping = await build(limits=limits, grace=0.0)
    writing = await build(limits=limits, clock=sweeping.clock)
    upload = await writing.create(10)
    body = FedBody(b"01234", end=None)
    append = writing.start_append(upload, 0, body, checksum=checksum)
    await writing.receiving(upload)
    await sweeping.engine.sweeper.sweep()
    for _ in range(3):
        sweeping.clock.pass_(101)
        assert await sweeping.engine.sweeper.sweep() == 0
    body.finish()
    if checksum is None:
        assert (await append).offset == 5
        assert (await writing.head(upload)).offset == 5
    else:
        with pytest.raises(ChecksumMismatch):
            await append
