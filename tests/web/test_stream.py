"""A request body ends and says why, on our own runner and on a host's."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp.helpers import NO_EXTENSIONS

from tests.support.waiting import check_time
from tests.web.sites import (
    CANCELLING_HOST,
    KINDS,
    OWN,
    SOCKET,
    chunk,
    drain,
    head,
    in_chunks,
    site,
    sized,
    until,
)
from tusserver.body import BodyEnd
from tusserver.web import stream

DATA = bytes(range(256)) * 8192

everywhere = pytest.mark.parametrize("kind", KINDS)


@everywhere
@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
async def test_a_body_arrives_whole_in_pieces_of_256_kib_at_most(kind: str, *, chunks: bool):
    async with site(kind) as it:
        client = await it.connect()
        framed = in_chunks() + chunk(DATA) + b"0\r\n\r\n" if chunks else sized(len(DATA)) + DATA
        sending = asyncio.create_task(client.send(framed))
        body = await it.body()
        assert body.length == (None if chunks else len(DATA))
        assert body.end is None
        await asyncio.sleep(0.05)  # more than one piece is waiting by now
        assert await drain(body) == DATA
        assert body.end is BodyEnd.COMPLETE
        await sending


async def test_the_end_is_known_with_the_last_bytes():
    async with site() as it:
        _, body = await it.upload(sized(5) + b"hello")
        assert await body.read() == b"hello"
        assert body.end is BodyEnd.COMPLETE
        _, body = await it.upload(in_chunks() + chunk(b"hello") + b"0\r\n\r\n")
        assert await body.read() == b"hello"
        assert body.end is BodyEnd.COMPLETE


# --- clients that go away


@everywhere
@pytest.mark.clause("CORE-PATCH-16")
@pytest.mark.parametrize("busy", [True, False], ids=["busy reader", "waiting reader"])
@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("size", [60, 1_500_000], ids=str)
async def test_every_byte_before_a_fin_is_kept(kind: str, *, chunks: bool, busy: bool, size: int):
    sent = DATA[:size]
    async with site(kind) as it:
        client = await it.connect()
        framed = in_chunks() + chunk(sent) if chunks else sized(size + 40) + sent
        sending = asyncio.create_task(client.send(framed))
        body = await it.body()
        if busy:
            await until(lambda: it.requests[0].content.total_bytes >= min(size, 50_000))
        else:
            reading = asyncio.create_task(drain(body))
        await sending
        await client.close()
        if busy:
            await asyncio.sleep(0.05)
            reading = asyncio.create_task(drain(body))
        assert await reading == sent
        assert body.end is BodyEnd.DISCONNECTED


@everywhere
@pytest.mark.clause("CORE-PATCH-16")
@pytest.mark.parametrize("busy", [True, False], ids=["busy reader", "waiting reader"])
async def test_what_had_been_read_before_a_reset_is_kept(kind: str, *, busy: bool):
    async with site(kind) as it:
        client, body = await it.upload(sized(100) + DATA[:60])
        await until(lambda: it.requests[0].content.total_bytes == 60)
        reading = None if busy else asyncio.create_task(drain(body))
        await asyncio.sleep(0.01)
        client.reset()
        await until(lambda: it.requests[0].transport is None)
        assert await (reading or drain(body)) == DATA[:60]
        assert body.end is BodyEnd.DISCONNECTED


@everywhere
@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
async def test_a_whole_body_is_complete_though_the_client_left_before_it_was_read(
    kind: str, *, chunks: bool
):
    async with site(kind) as it:
        framed = in_chunks() + chunk(b"hello") + b"0\r\n\r\n" if chunks else sized(5) + b"hello"
        client, body = await it.upload(framed)
        await client.close()
        await until(lambda: it.requests[0].transport is None or kind in {OWN, SOCKET})
        await asyncio.sleep(0.02)
        assert await drain(body) == b"hello"
        assert body.end is BodyEnd.COMPLETE


@everywhere
async def test_a_body_that_is_read_only_after_its_connection_was_lost_ends(kind: str):
    async with site(kind) as it:
        client, body = await it.upload(sized(10))
        client.reset()
        await until(lambda: it.requests[0].transport is None)
        assert await drain(body) == b""
        assert body.end is BodyEnd.DISCONNECTED


async def test_a_cancelled_handler_loses_no_byte_that_had_arrived():
    async with site(CANCELLING_HOST) as it:
        client, body = await it.upload(sized(100) + DATA[:60])
        await until(lambda: body._content.total_bytes == 60)
        await client.close()
        # The host cancels the handler, which stops the body before anybody reads it.
        await until(lambda: body._then is not None)
        assert body.end is None
        assert await body.read() == DATA[:60]
        assert body.end is BodyEnd.DISCONNECTED


# --- stopping


@everywhere
@pytest.mark.parametrize("why", [BodyEnd.SUPERSEDED, BodyEnd.SHUTDOWN, BodyEnd.DISCONNECTED])
async def test_a_stopped_read_returns_at_once_and_the_connection_lives_on(kind: str, why: BodyEnd):
    async with site(kind) as it:
        client, body = await it.upload(sized(10) + b"abc")
        assert await body.read() == b"abc"
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.01)
        body.stop(why)
        assert await asyncio.wait_for(reading, 0.5) == b""
        assert body.end is why
        assert await body.read() == b""
        it.may_answer.set()
        # aiohttp reads the rest of the body, so that the next request is understood.
        assert (await client.answer())[2] == why.value
        await client.send(b"defghij" + sized(0))
        assert (await client.answer())[2] == "complete"


async def test_a_stop_takes_back_what_was_not_delivered_yet():
    async with site() as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA))
        body = await it.body()
        await until(lambda: body._content.total_bytes > 500_000)
        assert len(await body.read()) == 262_144
        body.stop(BodyEnd.SUPERSEDED)
        assert body.end is BodyEnd.SUPERSEDED
        assert await body.read() == b""
        it.may_answer.set()
        await sending


@pytest.mark.parametrize("why", [BodyEnd.SUPERSEDED, BodyEnd.DISCONNECTED])
async def test_bytes_that_come_in_the_moment_of_the_stop_are_kept_only_for_a_lost_client(
    why: BodyEnd,
):
    async with site() as it:
        _, body = await it.upload(sized(10))
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.01)
        body._content.feed_data(b"abc")
        body.stop(why)
        kept = b"abc" if why is BodyEnd.DISCONNECTED else b""
        assert await asyncio.wait_for(reading, 0.5) == kept
        assert await body.read() == b""
        assert body.end is why


async def test_a_stop_in_the_moment_of_a_break_is_no_error():
    async with site() as it:
        _, body = await it.upload(sized(10))
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.01)
        body._content.set_exception(ConnectionResetError())
        body.stop(BodyEnd.SUPERSEDED)
        assert await asyncio.wait_for(reading, 0.5) == b""
        assert body.end is BodyEnd.SUPERSEDED


@pytest.mark.parametrize("why", [BodyEnd.SUPERSEDED, BodyEnd.DISCONNECTED, BodyEnd.REFUSED])
async def test_a_body_that_has_ended_can_only_be_refused(why: BodyEnd):
    async with site() as it:
        _, body = await it.upload(sized(3) + b"abc")
        assert await drain(body) == b"abc"
        body.stop(why)
        assert body.end is (why if why is BodyEnd.REFUSED else BodyEnd.COMPLETE)
        _, body = await it.upload(sized(0))
        body.stop(BodyEnd.SUPERSEDED)
        assert body.end is BodyEnd.COMPLETE


@everywhere
async def test_a_cancelled_read_leaves_the_body_as_it_was(kind: str):
    async with site(kind) as it:
        client, body = await it.upload(sized(3))
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert body.end is None
        await client.send(b"abc")
        assert await drain(body) == b"abc"
        assert body.end is BodyEnd.COMPLETE


async def test_nothing_is_read_once_the_request_was_answered():
    async with site(lingering_time=0.1) as it:
        client, body = await it.upload(sized(10) + b"abc")
        it.may_answer.set()
        await client.answer()
        await client.send(b"d")
        await client.rest()
        assert await drain(body) == b""
        assert body.end is not BodyEnd.COMPLETE


async def test_a_server_that_stops_ends_a_waiting_read_but_cancels_no_reader():
    async with site() as it:
        _, body = await it.upload(sized(10))
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.01)
        body._request._cancel(asyncio.CancelledError())
        assert await asyncio.wait_for(reading, 0.5) == b""
        assert body.end is BodyEnd.SHUTDOWN


# --- time


@everywhere
async def test_a_silent_client_ends_a_waiting_read(kind: str):
    async with site(kind, idle_timeout=0.15) as it:
        _, body = await it.upload(sized(10) + b"abc")
        start = asyncio.get_running_loop().time()
        assert await drain(body) == b"abc"
        assert body.end is BodyEnd.TIMEOUT
        took = asyncio.get_running_loop().time() - start
        assert took > 0.14
        check_time(took, 1)


@everywhere
@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
async def test_what_came_while_the_loop_stood_still_is_no_silence(kind: str, *, chunks: bool):
    async with site(kind, idle_timeout=0.5) as it:
        client, body = await it.upload(in_chunks() if chunks else sized(6))
        reading = asyncio.create_task(drain(body))
        await asyncio.sleep(0.05)
        client.writer.write(chunk(b"abcdef") + b"0\r\n\r\n" if chunks else b"abcdef")
        time.sleep(0.7)  # noqa: ASYNC251 the loop is to stand still
        assert await reading == b"abcdef"
        assert body.end is BodyEnd.COMPLETE


@everywhere
@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
async def test_who_is_not_asked_for_bytes_is_not_silent(kind: str, *, chunks: bool):
    now = asyncio.get_running_loop().time
    async with site(kind) as it:
        client, body = await it.upload(in_chunks() + chunk(b"abc") if chunks else sized(6) + b"abc")
        assert await body.read() == b"abc"
        await asyncio.sleep(0.05)
        assert body.last_byte_at >= now() - 0.001
        asked = now()
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.05)
        assert asked <= body.last_byte_at <= now() - 0.04
        await client.close()
        assert await reading == b""


async def test_time_in_which_nobody_reads_is_no_silence():
    async with site(idle_timeout=3.0) as it:
        client, body = await it.upload(sized(6) + b"abc")
        assert await body.read() == b"abc"
        await asyncio.sleep(3.2)
        reading = asyncio.create_task(body.read())
        await asyncio.sleep(0.1)
        await client.send(b"def")
        assert await reading == b"def"
        assert body.end is BodyEnd.COMPLETE


async def test_a_slow_client_that_goes_on_is_not_ended():
    async with site(idle_timeout=3.0) as it:
        client, body = await it.upload(sized(14))
        reading = asyncio.create_task(drain(body))
        await client.send(*[b"x"] * 14, pause=0.25)
        assert await reading == b"x" * 14


async def test_reads_share_one_timer(monkeypatch):
    loop = asyncio.get_running_loop()
    async with site(idle_timeout=60) as it:
        client, body = await it.upload(sized(50))
        armed = []
        call_at = loop.call_at
        monkeypatch.setattr(
            loop,
            "call_at",
            lambda when, call, *a, **kw: armed.append(call) or call_at(when, call, *a, **kw),
        )
        for _ in range(50):
            reading = asyncio.create_task(body.read())
            await asyncio.sleep(0)
            await client.send(b"x")
            assert await reading == b"x"
        assert body.end is BodyEnd.COMPLETE
        assert armed.count(body._check_idle) == 1
        assert body._timer is None


async def test_bytes_that_nobody_has_read_yet_count_as_having_arrived():
    async with site() as it:
        client, body = await it.upload(sized(10))
        before = body.last_byte_at
        await asyncio.sleep(0.05)
        assert body.last_byte_at == before
        await client.send(b"abc")
        await until(lambda: body._content.total_bytes == 3)
        assert body.last_byte_at > before


# --- requests of every kind


@everywhere
async def test_2000_empty_bodies_in_a_row_are_complete_at_once(kind: str):
    async with site(kind) as it:
        it.may_answer.set()
        client = await it.connect()
        heads = [sized(0), head(method="GET")] * 10
        for _ in range(100):
            await client.send(b"".join(heads))
            for _ in heads:
                assert (await client.answer())[2] == "complete"
                body = it.bodies.get_nowait()
                assert (body.length, body.end, await body.read()) == (0, BodyEnd.COMPLETE, b"")


@everywhere
async def test_an_empty_chunked_body_is_complete(kind: str):
    async with site(kind) as it:
        _, body = await it.upload(in_chunks() + b"0\r\n\r\n")
        assert await drain(body) == b""
        assert (body.length, body.end) == (None, BodyEnd.COMPLETE)


@everywhere
async def test_requests_that_follow_a_body_in_the_same_packet_are_served(kind: str):
    async with site(kind) as it:
        client, body = await it.upload(
            sized(3) + b"abc" + in_chunks() + chunk(b"de") + b"0\r\n\r\n" + sized(2) + b"fg"
        )
        it.may_answer.set()
        for expected in (b"abc", b"de", b"fg"):
            assert await drain(body) == expected
            assert body.end is BodyEnd.COMPLETE
            assert (await client.answer())[0] == "HTTP/1.1 200 OK"
            body = await it.body() if expected != b"fg" else body


@everywhere
async def test_a_connection_is_kept_after_a_whole_body(kind: str):
    async with site(kind) as it:
        client, body = await it.upload(sized(3) + b"abc")
        it.may_answer.set()
        assert await drain(body) == b"abc"
        await client.answer()
        for _ in range(3):
            await client.send(in_chunks(), chunk(b"abc"), b"0\r\n\r\n")
            assert await drain(await it.body()) == b"abc"
            await client.answer()


@everywhere
async def test_a_body_of_http_1_0_is_read(kind: str):
    async with site(kind) as it:
        client, body = await it.upload(head("Content-Length: 3", version="HTTP/1.0") + b"abc")
        it.may_answer.set()
        assert await drain(body) == b"abc"
        assert body.end is BodyEnd.COMPLETE
        assert b"200 OK" in await client.rest()


@everywhere
@pytest.mark.clause("HTTP-07")
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"zz\r\n", id="word"),
        pytest.param(b"-1\r\n", id="negative"),
        pytest.param(b"+5\r\n", id="plus"),
        pytest.param(b"0x5\r\n", id="prefix"),
        pytest.param(b"5 \x00\r\n", id="nul"),
        # To aiohttp's Python parser this is a long chunk as any other.
        pytest.param(
            b"f" * 20 + b"\r\n",
            id="huge",
            marks=pytest.mark.skipif(NO_EXTENSIONS, reason="fine for the Python parser"),
        ),
    ],
)
@pytest.mark.parametrize("busy", [True, False], ids=["busy reader", "waiting reader"])
async def test_a_broken_chunk_ends_the_body_after_what_came_before(
    kind: str, broken: bytes, *, busy: bool, monkeypatch
):
    monkeypatch.setattr(stream, "LOOK_EVERY", 0.05)
    async with site(kind) as it:
        client, body = await it.upload(in_chunks() + chunk(b"abc"))
        await until(lambda: body._content.total_bytes == 3)
        reading = None if busy else asyncio.create_task(drain(body))
        await client.send(broken)
        await asyncio.sleep(0.02)
        assert await (reading or drain(body)) == b"abc"
        assert body.end is BodyEnd.MALFORMED
        it.may_answer.set()
        assert (await client.answer())[2] == "malformed"


async def test_a_chunk_that_is_longer_than_it_says_is_malformed():
    async with site() as it:
        _, body = await it.upload(in_chunks() + chunk(b"abc"))
        assert await body.read() == b"abc"
        client = it.clients[0]
        await client.send(b"5\r\nhelloXX0\r\n\r\n")
        assert await drain(body) == b"hello"
        assert body.end is BodyEnd.MALFORMED
