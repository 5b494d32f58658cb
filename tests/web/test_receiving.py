"""Bodies from the socket: how a connection and its receiver part, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.proxies import make_certificate
from tests.web.sites import SOCKET, drain, head, site, sized, until
from tusserver.body import ALGORITHMS, BodyEnd, Tap
from tusserver.web.socketbody import SocketBody, pick_body
from tusserver.web.stream import StreamBody
from tusserver.web.turns import FRONT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.web.sites import Client, Site
    from tusserver.body import Lender

DATA = os.urandom(3_000_000)


class Full:
    """A sink that takes nothing."""

    turn = 2**20
    position = 0
    is_full = False
    resume: Callable[[], None] | None = None
    can_draw = False

    def draw(self, pipe: int, count: int) -> int:
        raise AssertionError(pipe, count)

    def put(self, data: memoryview, lender: Lender) -> int:
        del data, lender
        return 0


async def with_rest(it: Site) -> tuple[Client, SocketBody]:
    """Begin a body, of which some bytes wait for their reader."""
    client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
    assert isinstance(body, SocketBody)
    await body.pour(Full())
    assert body.is_direct
    return client, body


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_lies_in_the_shared_buffer_can_be_hashed(algorithm: str):
    buffer = bytearray(b"hello world, and what another body left")
    tap, expected = Tap(algorithm), ALGORITHMS[algorithm]()
    tap.update(memoryview(buffer)[:5])
    tap.update(memoryview(buffer)[5:11])
    expected.update(b"hello world")
    assert tap.matches(algorithm, expected.digest())


async def waited(body):
    try:
        await body._waits()
    finally:
        body._waited()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_body_whose_tls_has_gone_can_be_stopped(tmp_path: Path, how: str):
    make_certificate(certificate := tmp_path / "certificate.pem")
    async with site(SOCKET, certificate=certificate) as it:
        client, body = await with_rest(it)
        connection = it.requests[0].protocol
        if how == "close":
            # Only who reads on sees that.
            reading = asyncio.create_task(waited(body))
            await client.close()
            await reading
        else:
            client.reset()
        await until(lambda: connection.transport is None)
        assert body.end is None
        body.stop(BodyEnd.SUPERSEDED)
        assert body.end is BodyEnd.SUPERSEDED
        assert await body.read() == b""


async def test_a_body_that_nobody_stopped_is_read_away_after_the_answer():
    bodies = []

    async def handler(request: web.Request) -> web.StreamResponse:
        body = pick_body(request, idle_timeout=5)
        bodies.append(body)
        assert isinstance(body, SocketBody)
        await body.pour(Full())
        raise ValueError

    async with site(SOCKET, handler=handler) as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA))
        status, _, _ = await client.answer()
        assert "500" in status
        assert bodies[0].end is BodyEnd.REFUSED
        async with asyncio.timeout(2):
            await sending
            assert await client.reader.read() == b""


async def test_a_whole_body_stays_whole_when_its_reader_goes():
    async with site(SOCKET) as it:
        client, body = await with_rest(it)
        rest = bytes(await body.read())
        sending = asyncio.create_task(client.send(DATA[100_000:]))
        while body.received < len(DATA):
            await body.pour(Full())
            if body.received < len(DATA):
                rest += await body.read()
        assert body.end is None
        body.stop(BodyEnd.DISCONNECTED)
        assert rest + await drain(body) == DATA
        assert body.end is BodyEnd.COMPLETE
        await sending


async def test_a_server_that_stops_ends_also_what_begins_later():
    async with site(SOCKET) as it:
        _, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        stopping = asyncio.create_task(it.requests[0].protocol.shutdown(3))
        await asyncio.sleep(0.1)
        assert await drain(body) == DATA[:100_000]
        assert body.end is BodyEnd.SHUTDOWN
        it.may_answer.set()
        await stopping


async def test_a_connection_that_is_full_of_requests_reads_no_more():
    length = 600_000
    async with site(SOCKET) as it:
        client = await it.connect()
        many = head(method="HEAD") * 200
        await client.send(sized(length) + DATA[:length] + many)
        body = await it.body()
        transport = it.requests[0].transport
        assert transport is not None
        await until(lambda: not transport.is_reading())
        first = await body.read()
        assert not transport.is_reading()
        assert first + await drain(body) == DATA[:length]
        it.may_answer.set()
        assert (await client.answer())[2] == "complete"


async def test_the_rest_of_a_large_body_stays_in_the_socket_until_it_is_wanted():
    async with site(SOCKET) as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA))
        body = await it.body()
        transport = it.requests[0].transport
        assert transport is not None
        assert not transport.is_reading()
        assert it.requests[0].content.total_bytes <= FRONT
        it.may_answer.set()
        assert await drain(body) == DATA
        assert (await client.answer())[2] == "complete"
        await sending


async def test_a_large_body_that_nobody_wants_is_read_after_the_answer():
    async with site(SOCKET) as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA))
        await it.body()
        it.may_answer.set()
        assert (await client.answer())[2] == ""
        await sending
        await client.send(head(method="HEAD"))
        assert (await client.head())[0] == "HTTP/1.1 200 OK"


async def test_a_large_body_can_be_read_from_aiohttps_stream_too():
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=str(await drain(StreamBody(request, idle_timeout=5)) == DATA))

    async with site(SOCKET, handler=handle) as it:
        client = await it.connect()
        await client.send(sized(len(DATA)) + DATA)
        assert (await client.answer())[2] == "True"
