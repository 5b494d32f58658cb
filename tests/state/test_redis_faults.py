"""Redis that does not answer, refuses, or loses the answer: 503 soon, and nothing done twice."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress

import pytest

from tests.state.conftest import STORE_ID
from tests.state.uploads import NOW, make_upload
from tests.support.ports import free_port
from tests.support.waiting import check_time
from tusserver.errors import StateConflict, StateUnavailable
from tusserver.state.redis import RedisState


@asynccontextmanager
async def opened(url, **options):
    state = RedisState(url, **options)
    try:
        yield state
    finally:
        await state.close()


@asynccontextmanager
async def losing_answers(port, losses):
    """Pass connections on to a Redis, but cut `losses` of them instead of answering EVALSHA.

    Gives a URL and the list of what was lost.
    """
    lost = []

    async def serve(reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while request := await reader.read(1 << 20):
                upstream_writer.write(request)
                answer = await upstream_reader.read(1 << 20)
                if b"EVALSHA" in request and b"NOSCRIPT" not in answer and len(lost) < losses:
                    lost.append(answer)
                    return
                writer.write(answer)
        except ConnectionError:
            pass
        finally:
            for stream in (writer, upstream_writer):
                stream.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", lost


@pytest.mark.parametrize("method", ["add", "save", "restore"])
async def test_a_write_whose_answer_was_lost_is_repeated_without_harm(state, redis_server, method):
    before = make_upload()
    upload = before if method == "add" else before.next(offset=10)
    if method != "add":
        await state.add(before)
    async with (
        losing_answers(redis_server.port, losses=2) as (url, lost),
        opened(url) as unlucky,
    ):
        await getattr(unlucky, method)(upload)

    assert len(lost) == 2
    assert await state.get(upload.upload_id) == upload


async def save_until_answered(state, upload):
    """Save as often as a client of the server would; a conflict would be a lost commit."""
    for _ in range(20):
        try:
            return await state.save(upload)
        except StateUnavailable:
            continue
    raise AssertionError("no save was ever answered")


async def test_clients_killed_all_the_time_lose_no_commit(state, redis_server):
    upload = make_upload(length=10_000)
    await state.add(upload)
    killed = 0

    async def kill():
        nonlocal killed
        while True:
            killed += await asyncio.to_thread(
                redis_server.cli, "CLIENT KILL", "TYPE", "normal", "SKIPME", "yes"
            )
            await asyncio.sleep(0.02)

    killer = asyncio.create_task(kill())
    try:
        for offset in range(1, 301):
            upload = upload.next(offset=offset)
            await save_until_answered(state, upload)
    finally:
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)

    assert killed > 0
    assert await state.get(upload.upload_id) == upload


async def test_a_paused_redis_is_given_up_in_time_and_is_used_again_afterwards(
    state, redis_server, caplog
):
    upload = make_upload()
    await state.add(upload)
    redis_server.pause()
    begin = time.monotonic()
    try:
        with caplog.at_level(logging.ERROR):
            results = await asyncio.gather(
                *(state.get(upload.upload_id) for _ in range(50)),
                state.save(upload.next(offset=10)),
                return_exceptions=True,
            )
        took = time.monotonic() - begin
        await asyncio.sleep(max(0, 3 - took))
    finally:
        redis_server.resume()

    assert all(isinstance(result, StateUnavailable) for result in results)
    assert took < 4.5  # one patience of 2.5 s, not two
    assert caplog.text.count("failed") == 1
    assert "it does not answer in time" in caplog.text
    # The save may have been carried out when Redis went on: it is the same save again.
    await state.save(upload.next(offset=10))
    records = await asyncio.gather(*(state.get(upload.upload_id) for _ in range(50)))
    assert records == [upload.next(offset=10)] * 50


async def test_a_redis_that_is_not_there_is_given_up_in_time(caplog):
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as state:
        begin = time.monotonic()
        for call in (state.attach(STORE_ID), state.add(make_upload()), state.expired(NOW, 1)):
            with pytest.raises(StateUnavailable):
                await call

    assert time.monotonic() - begin < 3 * 2.5
    assert caplog.text.count("is it running, and is the address right?") == 1


async def test_a_redis_that_was_down_for_a_moment_is_waited_for(start_redis):
    server = start_redis(appendfsync="always")
    upload = make_upload()
    async with opened(server.url) as state:
        await state.add(upload)
        server.kill()

        reading = asyncio.create_task(state.get(upload.upload_id))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await asyncio.to_thread(server.start)
        took = time.monotonic() - begun

        with suppress(StateUnavailable):
            assert await reading == upload
            return
        # Redis is tried for a second or so.
        check_time(took, 0.5)
        raise AssertionError("it was given up")


async def test_a_full_redis_is_unavailable_for_writes_and_still_reads_and_drops(
    start_redis, caplog
):
    server = start_redis()
    async with opened(server.url) as state:
        upload, other = make_upload(), make_upload()
        await state.add(upload)
        await state.add(other)
        server.cli("CONFIG SET maxmemory", 1)

        with pytest.raises(StateUnavailable):
            await state.save(upload.next(offset=10))
        assert "raise maxmemory" in caplog.text
        assert await state.get(upload.upload_id) == upload
        await state.delete(other.upload_id)
        assert await state.get(other.upload_id) is None

        server.cli("CONFIG SET maxmemory", 0)
        await state.save(upload.next(offset=10))


async def test_a_read_only_replica_is_named_as_one(redis_server, start_redis, caplog):
    replica = start_redis()
    replica.cli("REPLICAOF", "127.0.0.1", redis_server.port)
    async with opened(replica.url) as state:
        with pytest.raises(StateUnavailable):
            await state.add(make_upload())

    assert "name the primary in --state" in caplog.text


@pytest.mark.parametrize("password", ["", ":wr0ng-one@"], ids=["none", "wrong"])
async def test_a_refused_login_is_unavailable_and_no_password_is_logged(
    start_redis, caplog, password
):
    server = start_redis(requirepass="the-r1ght-one")
    caplog.set_level(logging.DEBUG)
    async with opened(f"redis://{password}127.0.0.1:{server.port}/0", patience=20) as state:
        with pytest.raises(StateUnavailable):
            await state.attach(STORE_ID)

    assert "put it into the URL" in caplog.text
    assert "wr0ng" not in caplog.text


async def test_a_password_is_used_and_never_logged(start_redis, caplog):
    server = start_redis(requirepass="s3cret-word", appendonly="no")
    caplog.set_level(logging.DEBUG)
    async with opened(server.url) as state:
        await state.attach(STORE_ID)
        await state.add(make_upload())
        server.kill()
        with pytest.raises(StateUnavailable):
            await state.add(make_upload())

    assert caplog.text.count("redis://***@127.0.0.1") == 3
    assert "s3cret" not in caplog.text


async def test_a_redis_that_answers_again_is_logged(state, redis_server, caplog):
    caplog.set_level(logging.INFO)
    redis_server.kill()
    with pytest.raises(StateUnavailable):
        await state.get(make_upload().upload_id)
    redis_server.start()

    await state.get(make_upload().upload_id)
    await state.get(make_upload().upload_id)

    assert caplog.text.count("answers again") == 1


async def test_a_conflict_is_not_taken_for_a_failure_of_redis(state, caplog):
    with pytest.raises(StateConflict):
        await state.save(make_upload().next(offset=1))

    assert "failed" not in caplog.text
