"""Connections of the program's own class, and what a held 100 Continue looks like."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.web.sites import (
    KINDS,
    chunk,
    drain,
    head,
    in_chunks,
    site,
    sized,
    until,
)
from tusserver.body import BodyEnd
from tusserver.errors import RequestMalformed
from tusserver.web.connection import TusConnection
from tusserver.web.hosts import check_host
from tusserver.web.server import MAX_FIELD_SIZE

everywhere = pytest.mark.parametrize("kind", KINDS)
MALFORMED = "request_malformed: The request is not well-formed HTTP.\n"


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Give what was logged, but for what asyncio says of itself in debug mode."""
    return [record for record in caplog.records if record.name != "asyncio"]


# --- faults


@pytest.mark.clause("HTTP-04", "CORE-VER-01")
@pytest.mark.parametrize(
    "text",
    [
        b"FOO\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        head("Bad Name: 1"),
        sized(-5),
        head("Content-Length: abc") + b"x" * 3_000_000,
        head("Content-Length: 5", "Transfer-Encoding: chunked"),
        in_chunks() + b"zz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        head("X: " + "x" * (MAX_FIELD_SIZE + 1)),
    ],
    ids=[
        "word",
        "no host",
        "two hosts",
        "name",
        "negative length",
        "length and a long body",
        "length and chunks",
        "chunk at once",
        "tls",
        "long field",
    ],
)
async def test_what_the_parser_refuses_is_answered_as_other_errors_are(text: bytes, caplog):
    caplog.set_level(logging.DEBUG)
    async with site() as it:
        client = await it.connect()
        await client.send(text)
        status, fields, body = await client.answer()
        # A chunk that is malformed from the start may reach the handler before it is parsed.
        assert (status, body) == ("HTTP/1.1 400 Bad Request", MALFORMED)
        assert fields["tus-resumable"] == "1.0.0"
        assert fields["content-type"] == "text/plain; charset=utf-8"
        assert fields["connection"] == "close"
        assert await client.rest() == b""
    lines = told(caplog)
    assert [(r.levelno, r.exc_info) for r in lines] == [(logging.INFO, None)]
    assert len(lines[0].getMessage()) < 300


async def test_a_fault_of_a_handler_is_an_error_in_plain_text_with_a_trace_in_the_log(caplog):
    async def fail(request: web.Request) -> web.Response:
        raise ValueError("a secret")

    async with site(handler=fail) as it:
        client = await it.connect()
        await client.send(head("Accept: text/html", method="POST"))
        status, fields, body = await client.answer()
        assert status == "HTTP/1.1 500 Internal Server Error"
        assert body.startswith("internal_error: ")
        assert "secret" not in body
        assert fields["tus-resumable"] == "1.0.0"
        assert fields["connection"] == "close"
        assert await client.rest() == b""
    assert [bool(r.exc_info) for r in told(caplog) if r.levelno == logging.ERROR] == [True]


async def test_a_fault_of_a_handler_is_no_refusal_of_what_the_client_expects(caplog):
    async def fail(request: web.Request) -> web.Response:
        raise ValueError("a fault")

    async with site(handler=fail) as it:
        client = await it.connect()
        await client.send(head("Expect: 100-continue", "Expect: other", method="POST"))
        rest = await client.rest()
        assert b"HTTP/1.1 500 " in rest
    assert [bool(r.exc_info) for r in told(caplog) if r.levelno == logging.ERROR] == [True]


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), TimeoutError("late")])
async def test_a_handler_that_lost_its_client_or_its_time_ends_the_connection(error, caplog):
    async def fail(request: web.Request) -> web.Response:
        raise error

    async with site(handler=fail) as it:
        client = await it.connect()
        await client.send(head(method="POST"))
        lost = isinstance(error, ConnectionError)
        assert (await client.rest()).startswith(b"" if lost else b"HTTP/1.1 500 ")
    assert bool([r for r in told(caplog) if r.levelno >= logging.ERROR]) is not lost


async def test_a_fault_after_the_answer_has_begun_sends_no_second_one(caplog):
    async def fail(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"12345")
        raise ValueError

    async with site(handler=fail) as it:
        client = await it.connect()
        await client.send(head(method="GET"))
        text = await client.rest()
    assert text.endswith(b"\r\n\r\n12345")
    assert text.count(b"HTTP/1.1") == 1


@pytest.mark.clause("HTTP-05", "CORE-PATCH-16")
@pytest.mark.parametrize("framed", [sized(10) + b"abc", in_chunks() + chunk(b"abc")])
async def test_a_client_that_ends_its_sending_early_can_read_the_answer(framed: bytes, caplog):
    async with site() as it:
        client, body = await it.upload(framed)
        client.half_close()
        assert await drain(body) == b"abc"
        assert body.end is BodyEnd.DISCONNECTED
        it.may_answer.set()
        assert (await client.answer())[2] == "disconnected"
        assert await client.rest(within=1.0) == b""
    assert not told(caplog)


async def test_a_client_that_ends_its_sending_after_a_request_gets_its_answer():
    async with site() as it:
        client, body = await it.upload(sized(3) + b"abc")
        client.half_close()
        await asyncio.sleep(0.02)
        assert await drain(body) == b"abc"
        it.may_answer.set()
        assert (await client.answer())[2] == "complete"
        assert await client.rest(within=1.0) == b""


async def test_a_refused_client_may_be_gone_before_anybody_has_seen_it():
    async with site() as it:
        with socket.create_connection(("127.0.0.1", it.port)) as wire:
            wire.sendall(sized(3) + b"abc")
            await it.bodies.get()
            # Reset, and no turn of the loop in which the server could learn of it.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await it.requests[0].protocol.linger()
        it.may_answer.set()


async def test_an_idle_connection_is_closed_when_its_client_ends_it():
    async with site() as it:
        it.may_answer.set()
        client = await it.connect()
        await client.send(sized(0))
        await client.answer()
        client.half_close()
        assert await client.rest(within=1.0) == b""


async def test_a_refused_client_that_never_looks_before_it_has_sent_all_can_read_the_answer(caplog):
    async with site() as it:
        it.may_answer.set()
        client = await it.connect()
        await client.send(sized(8_000_000), *[bytes(100_000)] * 80)
        assert (await client.answer())[0] == "HTTP/1.1 200 OK"
        await client.send(sized(0))
        assert (await client.answer())[2] == "complete"
    assert not told(caplog)


async def test_a_refused_client_that_goes_away_leaves_nothing_behind(caplog):
    async with site() as it:
        it.may_answer.set()
        client = await it.connect()
        await client.send(sized(1000) + b"x")
        await client.answer()
        connection = it.requests[0].protocol
        await client.close()
        # aiohttp alone would wait for the rest of the body, for ten seconds.
        await until(
            lambda: (
                not any(t.get_coro().__qualname__.endswith(".start") for t in asyncio.all_tasks())
            )
        )
        assert not connection.connected
    assert not told(caplog)


# --- heads


@pytest.mark.parametrize("step", [10**7, 60_000], ids=["at once", "in pieces"])
async def test_a_list_of_10000_parts_fits_into_a_header(step: int):
    url = "https://uploads.example.com/files/" + "0123456789abcdef" * 2
    text = sized(0, "Upload-Concat: final;" + " ".join([url] * 10_000))
    async with site() as it:
        it.may_answer.set()
        client = await it.connect()
        await client.send(*[text[at : at + step] for at in range(0, len(text), step)])
        assert (await client.answer())[0] == "HTTP/1.1 200 OK"
        assert it.requests[0].headers["Upload-Concat"].count(url) == 10_000


@pytest.mark.clause("META-12")
@pytest.mark.parametrize("step", [10**7, 100_000], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "fields",
    [
        ["X: " + "x" * 4_000_000],
        [f"X-{number}: " + "x" * 500_000 for number in range(8)],
        ["x" * 4_000_000],
    ],
    ids=["one field", "several fields", "one name"],
)
async def test_a_head_beyond_any_limit_is_refused_in_a_way_that_can_be_read(fields, step: int):
    text = head(*fields, method="GET")
    async with site() as it:
        client = await it.connect()
        await client.send(*[text[at : at + step] for at in range(0, len(text), step)])
        status, _, body = await client.answer()
        assert (status, body) == ("HTTP/1.1 400 Bad Request", MALFORMED)
        assert await client.rest() == b""
        assert not it.requests


async def test_a_head_beyond_any_limit_waits_for_the_answer_of_the_request_before_it():
    async with site() as it:
        client, body = await it.upload(sized(3) + b"abc")
        fields = [f"X-{number}: " + "x" * 500_000 for number in range(8)]
        await client.send(head(*fields, method="GET"))
        assert await drain(body) == b"abc"
        it.may_answer.set()
        assert (await client.answer())[2] == "complete"


@pytest.mark.clause("HTTP-04")
@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("a", True),
        ("example.com:80", True),
        ("[::1]:1080", True),
        ("", True),
        ("a b", False),
        ("a/b", False),
        ("a@b", False),
        ("a, b", False),
        ("a:b", False),
        ("[::1", False),
    ],
)
async def test_a_host_must_be_one(host: str, *, right: bool):
    refused = []

    async def handle(request: web.Request) -> web.Response:
        try:
            check_host(request)
        except RequestMalformed as error:
            refused.append(error)
        return web.Response()

    async with site(handler=handle) as it:
        client = await it.connect()
        await client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await client.answer()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.answer()
    assert bool(refused) is not right


# --- connections


async def test_the_program_uses_its_own_connections_without_access_log_or_decompression(caplog):
    caplog.set_level(logging.INFO)
    async with site() as it:
        client, body = await it.upload(sized(3, "Content-Encoding: gzip") + b"abc")
        assert await drain(body) == b"abc"
        it.may_answer.set()
        await client.answer()
        connection = it.requests[0].protocol
        assert isinstance(connection, TusConnection)
        assert connection.keepalive_timeout == 75
        # An idle connection holds on to nothing of the request before.
        assert (connection._content, connection.trailers) == (None, None)
        assert not hasattr(connection, "__dict__")
    assert not told(caplog)


async def test_an_idle_connection_and_a_slow_head_are_closed():
    async with site(keepalive_timeout=0.1) as it:
        idle, slow = await it.connect(), await it.connect()
        await slow.send(b"GET / HTTP/1.1\r\n")
        assert await idle.rest(within=2.0) == b""
        assert await slow.rest(within=2.0) == b""


async def test_requests_are_logged_where_that_is_asked_for(caplog):
    caplog.set_level(logging.INFO)
    async with site(access_log=logging.getLogger("asked.for")) as it:
        it.may_answer.set()
        client = await it.connect()
        await client.send(sized(0))
        await client.answer()
    assert [r.name for r in told(caplog)] == ["asked.for"]


# --- the other parser


@pytest.mark.timeout(120)
@pytest.mark.skipif("AIOHTTP_NO_EXTENSIONS" in os.environ, reason="this is that run")
def test_the_same_holds_with_aiohttps_python_parser():
    here = Path(__file__)
    files = [
        here.with_name(f"test_{name}.py") for name in ("stream", "server", "trailers", "interim")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)],
        env=os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"},
        cwd=here.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
