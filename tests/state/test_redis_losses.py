"""Redis restarted, killed, flushed, rolled back: what it says afterwards, and what repairs it."""

from __future__ import annotations

import logging
import shutil

import pytest

from tests.state.conftest import STORE_ID
from tests.state.uploads import NOW, due, make_upload
from tusserver.errors import StateConflict
from tusserver.state.redis import RedisState
from tusserver.upload import Status


async def saved(state, **fields):
    """Add a record, save five more versions of it and give the last."""
    upload = make_upload(**fields)
    await state.add(upload)
    for offset in range(10, 60, 10):
        upload = upload.next(offset=offset)
        await state.save(upload)
    return upload


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_record_survives_the_server(start_redis, how):
    server = start_redis(appendfsync="always")
    state = RedisState(server.url)
    upload = await saved(state, expires_at=due(-1))

    if how == "restart":
        server.restart()
    else:
        server.kill()
        server.start()

    assert await state.get(upload.upload_id) == upload
    assert await state.expired(NOW, 10) == [upload.upload_id]
    await state.save(upload.next(offset=60))
    await state.close()


async def test_a_flushed_redis_takes_records_back(state, redis_server):
    upload = await saved(state, expires_at=due(-1))

    redis_server.flush()

    assert await state.get(upload.upload_id) is None
    with pytest.raises(StateConflict, match="no record"):
        await state.save(upload.next(offset=60))
    assert await state.restore(upload) == upload
    assert await state.get(upload.upload_id) == upload
    assert await state.expired(NOW, 10) == [upload.upload_id]
    assert await state.list(None, 10) == [upload]
    await state.save(upload.next(offset=60))


async def test_a_flush_in_mid_life_does_not_let_another_store_in(state, redis_server):
    redis_server.flush()

    await state.expired(NOW, 10)

    assert redis_server.cli("GET", "tus:store") == STORE_ID


async def test_a_redis_set_back_to_an_old_append_only_file_takes_the_newer_record(start_redis):
    server = start_redis()
    state = RedisState(server.url)
    old = make_upload()
    await state.add(old)
    server.restart()
    shutil.copytree(server.directory / "appendonlydir", server.directory / "backup")
    upload = old
    for offset in (10, 20):
        upload = upload.next(offset=offset)
        await state.save(upload)

    server.kill()
    shutil.rmtree(server.directory / "appendonlydir")
    (server.directory / "backup").rename(server.directory / "appendonlydir")
    server.start()

    assert await state.get(old.upload_id) == old
    with pytest.raises(StateConflict, match="version 1"):
        await state.save(upload.next(offset=30))
    assert await state.restore(upload) == upload
    assert await state.get(old.upload_id) == upload
    await state.save(upload.next(offset=30))
    await state.close()


async def test_the_ledger_s_record_replaces_another_one_of_the_same_version(state):
    upload = await saved(state)
    same_version = upload.next(offset=55)
    await state.save(upload.next(offset=51))

    assert await state.restore(same_version) == same_version
    assert await state.get(upload.upload_id) == same_version


async def test_a_status_never_moves_back_even_with_a_higher_version(state):
    upload = await saved(state)
    complete = upload.next(offset=1000, status=Status.COMPLETE)
    await state.save(complete)
    open_again = upload.next(offset=60).next(offset=70)
    assert open_again.version > complete.version

    assert await state.restore(open_again) == complete
    with pytest.raises(StateConflict):
        await state.save(open_again)
    assert await state.get(upload.upload_id) == complete


async def test_a_status_further_on_is_restored_over_a_higher_version(state):
    upload = await saved(state)
    removed = make_upload(upload_id=upload.upload_id, status=Status.REMOVED)
    assert removed.version < upload.version

    assert await state.restore(removed) == removed


async def test_flushed_scripts_are_loaded_again(state, redis_server):
    upload = await saved(state)

    redis_server.cli("SCRIPT FLUSH")

    await state.save(upload.next(offset=60))
    redis_server.cli("SCRIPT FLUSH")
    assert (await state.restore(upload)).offset == 60
    redis_server.cli("SCRIPT FLUSH")
    await state.add(make_upload())


async def test_a_refused_write_does_not_leave_a_wrong_time_of_expiry(state):
    stale = make_upload(expires_at=due(-10))
    await state.add(stale)
    newer = stale.next(expires_at=due(60)).next(expires_at=due(70))
    await state.restore(newer)

    with pytest.raises(StateConflict):
        await state.save(stale.next(expires_at=due(-5)))
    assert (await state.restore(stale)) == newer

    assert await state.expired(NOW, 10) == []
    assert await state.expired(due(70), 10) == [stale.upload_id]


async def test_an_outdated_index_entry_is_corrected_when_it_is_met(state, redis_server):
    later, never = make_upload(expires_at=due(60)), make_upload()
    await state.add(later)
    await state.add(never)
    for upload in (later, never):
        redis_server.cli("ZADD", "tus:exp", 1, upload.upload_id)

    assert await state.expired(NOW, 10) == []

    assert redis_server.cli("ZRANGE", "tus:exp", 0, -1) == [later.upload_id]
    assert await state.expired(due(60), 10) == [later.upload_id]


async def test_an_index_entry_without_a_record_is_named_as_due_and_not_listed(state, redis_server):
    lost, there = make_upload(expires_at=due(-1)), make_upload()
    await state.add(lost)
    await state.add(there)
    redis_server.cli("DEL", f"tus:{{{lost.upload_id}}}")

    assert await state.expired(NOW, 10) == [lost.upload_id]
    assert await state.list(None, 10) == [there]
    assert redis_server.cli("ZRANGE", "tus:ids", 0, -1) == [there.upload_id]

    await state.delete(lost.upload_id)
    assert await state.expired(NOW, 10) == []


async def test_what_is_no_id_in_an_index_never_comes_out(state, redis_server):
    for junk in ("../../etc/passwd", "", "x"):
        redis_server.cli("ZADD", "tus:exp", 1, junk)
        redis_server.cli("ZADD", "tus:ids", 0, junk)
    upload = make_upload(expires_at=due(-1))
    await state.add(upload)

    assert await state.expired(NOW, 10) == [upload.upload_id]
    assert await state.list(None, 1) == [upload]


async def test_a_record_of_a_later_version_hides_no_other(state, redis_server, caplog):
    later, there = make_upload(expires_at=due(-2)), make_upload(expires_at=due(-1))
    await state.add(later)
    await state.add(there)
    redis_server.cli("HSET", f"tus:{{{later.upload_id}}}", "data", '{"codec":9}')

    with pytest.raises(StateConflict, match="version 9"):
        await state.get(later.upload_id)
    with caplog.at_level(logging.WARNING):
        assert await state.expired(NOW, 10) == [there.upload_id]
        assert await state.list(None, 10) == [there]
    assert f"upload {later.upload_id} is left out" in caplog.text
