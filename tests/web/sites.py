"""A small site on a real socket, on each kind of runner, and a client of raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.body import BodyEnd
from tusserver.options import Ingest
from tusserver.web.interim import hold_continue
from tusserver.web.server import TusRunner
from tusserver.web.socketbody import SocketBody, pick_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tusserver.web.stream import StreamBody

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OWN = "own"
HOST = "host"
CANCELLING_HOST = "cancelling host"
SOCKET = "own, from the socket"
KINDS = (OWN, HOST, CANCELLING_HOST, SOCKET)
TIME = 5.0


def make_runner(kind: str, app: web.Application, **settings: object) -> web.AppRunner:
    if kind in {OWN, SOCKET}:
        ingest = Ingest.SOCKET if kind == SOCKET else Ingest.PORTABLE
        return TusRunner(app, **{"shutdown_timeout": 0.5, "ingest": ingest} | settings)
    cancelling = kind == CANCELLING_HOST
    return web.AppRunner(
        app, handler_cancellation=cancelling, shutdown_timeout=0.5, access_log=None
    )


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)

    def half_close(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def head(self) -> tuple[str, dict[str, str]]:
        """Read one head: the status line and the fields, in lower case."""
        async with asyncio.timeout(TIME):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
        return status, {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    async def answer(self) -> tuple[str, dict[str, str], str]:
        """Read one final response with a Content-Length."""
        status, fields = await self.head()
        async with asyncio.timeout(TIME):
            body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        return status, fields, body.decode()

    async def rest(self, *, within: float = TIME) -> bytes:
        """Read until the server closes."""
        async with asyncio.timeout(within):
            return await self.reader.read()


class Site:
    """Hands out each body to the test, and answers with its end when it may."""

    def __init__(self, *, idle_timeout: float) -> None:
        self.idle_timeout = idle_timeout
        self.bodies: asyncio.Queue[StreamBody | SocketBody] = asyncio.Queue()
        self.requests: list[web.Request] = []
        self.may_answer = asyncio.Event()
        self.port = 0
        self.clients: list[Client] = []
        self.trust: ssl.SSLContext | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = pick_body(request, idle_timeout=self.idle_timeout)
        self.requests.append(request)
        self.bodies.put_nowait(body)
        try:
            await self.may_answer.wait()
            # Handlers start at once from Python 3.12 on: let the test read the body first.
            for _ in range(40):
                if body.end is not None:
                    break
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            body.stop(BodyEnd.DISCONNECTED)
            raise
        return web.Response(text="" if body.end is None else body.end.value)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust))
        self.clients.append(client)
        return client

    async def body(self) -> StreamBody | SocketBody:
        async with asyncio.timeout(TIME):
            return await self.bodies.get()

    async def upload(self, *pieces: bytes) -> tuple[Client, StreamBody | SocketBody]:
        """Send pieces on a new connection; give it and the body of the first request."""
        client = await self.connect()
        await client.send(*pieces)
        return client, await self.body()


@contextlib.asynccontextmanager
async def site(
    kind: str = OWN,
    *,
    idle_timeout: float = TIME,
    handler: Handler | None = None,
    certificate: Path | None = None,
    **settings: object,
) -> AsyncIterator[Site]:
    """Serve every path with a site's own handler, or with another one."""
    it = Site(idle_timeout=idle_timeout)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler or it.handle, expect_handler=hold_continue)
    runner = make_runner(kind, app, **settings)
    await runner.setup()
    try:
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            it.trust = ssl.create_default_context(cafile=certificate)
            it.trust.check_hostname = False
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        it.port = runner.addresses[0][1]
        yield it
    finally:
        it.may_answer.set()
        for client in it.clients:
            await client.close()
        await runner.cleanup()


def head(*fields: str, method: str = "PATCH", version: str = "HTTP/1.1") -> bytes:
    """Write the head of a request."""
    return "\r\n".join([f"{method} /files/x {version}", "Host: a", *fields, "", ""]).encode()


def sized(length: int, *fields: str) -> bytes:
    return head(f"Content-Length: {length}", *fields)


def in_chunks(*fields: str) -> bytes:
    return head("Transfer-Encoding: chunked", *fields)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


async def drain(body: StreamBody | SocketBody) -> bytes:
    """Read a body to its end."""
    pieces = []
    async with asyncio.timeout(TIME):
        while piece := await body.read():
            assert len(piece) <= 262_144
            pieces.append(piece)
    assert body.end is not None
    assert await body.read() == b""
    return b"".join(pieces)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is true."""
    async with asyncio.timeout(TIME):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
