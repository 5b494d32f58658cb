"""100 Continue is held back until the checks have passed, on our own runner and on a host's."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web

from tests.web.sites import HOST, KINDS, OWN, drain, head, site, sized
from tusserver.errors import ExpectationFailed
from tusserver.web.interim import check_expectation, send_continue
from tusserver.web.stream import StreamBody

everywhere = pytest.mark.parametrize("kind", KINDS)


class Gate:
    """Checks, then lets the client go on, then reads: the order of every upload request."""

    def __init__(self) -> None:
        self.may_check = asyncio.Event()
        self.refuse = False

    async def handle(self, request: web.Request) -> web.Response:
        await self.may_check.wait()
        try:
            check_expectation(request)
        except ExpectationFailed:
            return web.Response(status=417)
        if self.refuse:
            return web.Response(status=409)
        await send_continue(request)
        await send_continue(request)
        data = await drain(StreamBody(request, idle_timeout=5))
        return web.Response(text=data.decode())


@everywhere
@pytest.mark.clause("CWU-07", "HTTP-08")
@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
async def test_100_comes_after_the_checks_and_once(kind: str, expectation: str):
    gate = Gate()
    async with site(kind, handler=gate.handle) as it:
        client = await it.connect()
        await client.send(sized(3, f"Expect: {expectation}"))
        with pytest.raises(TimeoutError):
            await client.rest(within=0.05)
        gate.may_check.set()
        assert await client.head() == ("HTTP/1.1 100 Continue", {})
        await client.send(b"abc" + sized(2) + b"de")
        assert (await client.answer())[2] == "abc"
        assert (await client.answer())[2] == "de"


@everywhere
@pytest.mark.clause("CWU-07", "HTTP-08")
async def test_a_refusal_comes_instead_of_100(kind: str):
    gate = Gate()
    gate.refuse = True
    gate.may_check.set()
    async with site(kind, handler=gate.handle) as it:
        client = await it.connect()
        await client.send(sized(3, "Expect: 100-continue"))
        assert (await client.answer())[0] == "HTTP/1.1 409 Conflict"


@everywhere
@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize(
    ("expect", "status"),
    [
        ("200-ok", "417 Expectation Failed"),
        ("100-continue, other", "417 Expectation Failed"),
        (",", "200 OK"),
    ],
)
async def test_any_other_expectation_is_417(kind: str, expect: str, status: str):
    gate = Gate()
    gate.may_check.set()
    async with site(kind, handler=gate.handle) as it:
        client = await it.connect()
        await client.send(sized(3, f"Expect: {expect}") + b"abc")
        assert (await client.answer())[0] == f"HTTP/1.1 {status}"


@everywhere
@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize(
    "text",
    [
        sized(3, "Expect: 100-continue") + b"abc",
        head("Content-Length: 3", "Expect: 100-continue", version="HTTP/1.0") + b"abc",
        head("Content-Length: 3", "Expect: other", version="HTTP/1.0") + b"abc",
        sized(0, "Expect: 100-continue"),
    ],
    ids=["body came", "http 1.0", "http 1.0, another", "no body"],
)
async def test_no_100_comes_where_nobody_waits_for_it(kind: str, text: bytes):
    gate = Gate()
    async with site(kind, handler=gate.handle) as it:
        client = await it.connect()
        await client.send(text)
        await asyncio.sleep(0.02)
        gate.may_check.set()
        assert (await client.answer())[0].endswith(" 200 OK")


@pytest.mark.parametrize("kind", [OWN, HOST])
async def test_a_client_that_left_while_it_waited_for_100_is_no_error(kind: str, caplog):
    gate = Gate()
    async with site(kind, handler=gate.handle) as it:
        client = await it.connect()
        await client.send(sized(3, "Expect: 100-continue"))
        client.reset()
        await asyncio.sleep(0.02)
        gate.may_check.set()
        await asyncio.sleep(0.02)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
