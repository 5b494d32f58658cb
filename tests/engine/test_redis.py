"""Redis lost, flushed, rolled back or restarted in mid-upload: no upload is lost."""

from __future__ import annotations

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.errors import OffsetMismatch, StateUnavailable, UploadNotFound
from tusserver.upload import Limits


@pytest.fixture
async def house(build, redis_server):
    return await build(state_url=redis_server.url)


def remember(redis_server, upload):
    """Give a function that puts the record in Redis back to what it is now."""
    key = f"tus:{{{upload.upload_id}}}"
    old = redis_server.cli("HGETALL", key)
    fields = [word for pair in old.items() for word in pair] if isinstance(old, dict) else old

    def roll_back():
        redis_server.cli("DEL", key)
        redis_server.cli("HSET", key, *fields)

    return roll_back


async def begin(house, length=20, data=b"0123456789"):
    """Start an append and let its first bytes be committed."""
    upload = await house.create(length)
    body = FedBody(data, end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == len(data))
    await work.progress.commit_now(at_once=True)
    return upload, body, append


async def test_a_flush_in_mid_upload_loses_nothing(house, redis_server):
    upload, body, append = await begin(house)
    redis_server.flush()
    body.feed(b"abcdefghij")
    body.finish()
    assert (await append).is_complete
    assert await house.parts.state.get(upload.upload_id) == await house.record(upload)
    assert await house.content(upload) == b"0123456789abcdefghij"


async def test_a_flush_between_two_patches_loses_nothing(house, redis_server):
    upload = await house.create(20)
    await house.append(upload, 0, FedBody(b"0123456789"))
    redis_server.flush()
    assert (await house.head(upload)).offset == 10
    redis_server.flush()
    assert (await house.append(upload, 10, FedBody(b"abcdefghij"))).is_complete


async def test_a_restart_with_its_append_only_file_in_mid_upload_loses_nothing(house, redis_server):
    upload, body, append = await begin(house)
    redis_server.restart()
    body.feed(b"abcdefghij")
    body.finish()
    assert (await append).is_complete
    assert await house.content(upload) == b"0123456789abcdefghij"


async def test_a_roll_back_in_mid_upload_loses_nothing(house, redis_server):
    upload = await house.create(30)
    roll_back = remember(redis_server, upload)
    await house.append(upload, 0, FedBody(b"0123456789"))
    body = FedBody(b"abcdefghij", end=None)
    append = house.start_append(upload, 10, body)
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 20)
    roll_back()
    await work.progress.commit_now(at_once=True)
    body.feed(b"ABCDEFGHIJ")
    body.finish()
    assert (await append).is_complete
    roll_back()
    assert (await house.head(upload)).offset == 30
    assert await house.content(upload) == b"0123456789abcdefghijABCDEFGHIJ"


async def test_redis_away_in_mid_upload_keeps_the_bytes_for_when_it_is_back(house, redis_server):
    upload, body, append = await begin(house)
    redis_server.kill()
    body.feed(b"abcde")
    body.finish()
    with pytest.raises(StateUnavailable):
        await append
    with pytest.raises(StateUnavailable):
        await house.head(upload)
    redis_server.start()
    # The ledger was ahead of Redis: nothing of it is sent again.
    assert (await house.head(upload)).offset == 15
    with pytest.raises(OffsetMismatch):
        await house.append(upload, 10, FedBody(b"xxxxx"))
    assert (await house.append(upload, 15, FedBody(b"fghij"))).is_complete
    assert await house.content(upload) == b"0123456789abcdefghij"


async def test_a_completion_that_redis_did_not_hear_of_is_complete(house, redis_server):
    upload, body, append = await begin(house, length=15)
    redis_server.kill()
    body.feed(b"abcde")
    body.finish()
    with pytest.raises(StateUnavailable):
        await append
    redis_server.start()
    assert (await house.head(upload)).upload.is_complete
    assert await house.content(upload) == b"0123456789abcde"


async def test_nothing_is_created_while_redis_is_away(house, redis_server):
    redis_server.kill()
    with pytest.raises(StateUnavailable):
        await house.create(20)
    assert not [path for path in house.directory.glob("??/*") if path.is_file()]
    redis_server.start()
    assert (await house.create(20)).offset == 0


async def test_a_removal_is_not_undone_by_a_roll_back(house, redis_server):
    upload = await house.create(30)
    roll_back = remember(redis_server, upload)
    await house.engine.terminate(upload.upload_id)
    roll_back()
    with pytest.raises(UploadNotFound):
        await house.append(upload, 0, FedBody(b"x" * 30))
    with pytest.raises(UploadNotFound):
        await house.head(upload)


async def test_expired_uploads_are_swept_from_files_and_redis(build, redis_server):
    house = await build(state_url=redis_server.url, limits=Limits(expire_after=100.0), grace=0.0)
    upload = await house.create(10)
    await house.engine.sweeper.sweep()
    house.clock.pass_(101)
    await house.engine.sweeper.sweep()
    house.clock.pass_(10)
    await house.engine.sweeper.sweep()
    assert await house.parts.state.get(upload.upload_id) is None
    assert not list(house.directory.glob(f"*/{upload.upload_id}*"))


async def test_two_processes_share_uploads_through_redis(build, redis_server):
    first = await build(state_url=redis_server.url)
    second = await build(state_url=redis_server.url)
    upload = await first.create(20)
    append = first.start_append(upload, 0, FedBody(b"0123456789", end=None))
    work = await first.receiving(upload)
    await eventually(lambda: work.progress.position == 10)
    assert (await second.head(upload)).offset == 10
    with pytest.raises(Exception, match="newer request"):
        await append
    assert (await second.append(upload, 10, FedBody(b"abcdefghij"))).is_complete
    assert await first.content(upload) == b"0123456789abcdefghij"


@pytest.mark.parametrize("epoch", ["the same", "after a reboot"])
async def test_a_redis_set_back_to_before_a_removal_brings_no_upload_back(house, epoch):
    upload = await house.create(3, body=FedBody(b"abc"))
    stored = await house.parts.state.get(upload.upload_id)
    await house.engine.terminate(upload.upload_id)
    await house.parts.state.restore(stored.changed(epoch="e0") if epoch[0] == "a" else stored)
    for asking in (house.head(upload), house.content(upload)):
        with pytest.raises(UploadNotFound):
            await asking
    # That its files are gone may be a mistake of somebody: only an operator removes the record.
    assert await house.parts.state.get(upload.upload_id) is not None
