"""Whether sockets can be taken from this release of aiohttp, tried at the start (floor 5).

`TusConnection` sets one private name of aiohttp. So before the first client comes, one request
with a body and another one behind it go through a connection of this process; anything but the
right bytes and two answers leaves all bodies to aiohttp's own stream, which always works. The
same shows whether they can be drawn (`drawing`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from tusserver.options import Ingest
from tusserver.web.server import TusServer
from tusserver.web.socketbody import SocketBody, pick_body
from tusserver.web.turns import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from tusserver.body import Lender

logger = logging.getLogger(__name__)

SECONDS = 5.0
"""The most that the trial may take."""
_BODY = bytes(range(251)) * (4 * SMALL // 251)
_REQUESTS = (
    b"PATCH /first HTTP/1.1\r\nHost: trial\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
    + _BODY
    + b"GET /second HTTP/1.1\r\nHost: trial\r\nConnection: close\r\n\r\n"
)


async def find_way(wanted: Ingest) -> Ingest:
    """Try the wanted way, and others if it does not work; log what to do then."""
    if wanted is not Ingest.MEMORY and await _works(Ingest.SOCKET):
        return wanted
    if await _works(Ingest.MEMORY):
        if wanted is not Ingest.MEMORY:
            logger.info("bodies go through memory: what they would be drawn with does not work")
        return Ingest.MEMORY
    logger.warning(
        "aiohttp %s does not give up its sockets as others do: bodies go the portable way, "
        "which costs more CPU; install the release of aiohttp that tusserver was tested with",
        aiohttp.__version__,
    )
    return Ingest.PORTABLE


async def _works(way: Ingest) -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            return await _try(way)
    except Exception:
        logger.debug("the trial of a fast way for bodies failed", exc_info=True)
        return False


async def _try(way: Ingest) -> bool:
    loop = asyncio.get_running_loop()
    received = _Received()
    server = TusServer(
        received.handle,
        request_factory=_request,
        lingering_time=0.0,
        access_log=None,
        ingest=way,
    )
    near, far = socket.socketpair()
    near.settimeout(0.0)
    far.settimeout(0.0)
    try:
        await loop.connect_accepted_socket(server, far)
        await loop.sock_sendall(near, _REQUESTS)
        answers = b""
        while data := await loop.sock_recv(near, SMALL):
            answers += data
    finally:
        near.close()
        await server.shutdown(0.1)
    went_well = answers.count(b"HTTP/1.1 200 OK\r\n") == len(received.paths)
    return went_well and received.paths == ["/first", "/second"] and received.is_right


class _Received:
    """Serves the trial, and takes what the first body puts into it."""

    turn = 3 * SMALL // 2
    is_full = False
    resume: Callable[[], None] | None = None
    can_draw = True

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.is_right = False
        self.position = 0
        self._bytes = bytearray()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = pick_body(request, idle_timeout=SECONDS)
        if isinstance(body, SocketBody):
            await body.pour(self)
            while data := await body.read():
                self._bytes += data
                await body.pour(self)
            self.is_right = body.is_direct and self._bytes == _BODY
        self.paths.append(request.path)
        return web.Response()

    def draw(self, pipe: int, count: int) -> int:
        """Take the first half of what is in a pipe."""
        data = os.read(pipe, (count + 1) // 2)
        self._bytes += data
        return len(data)

    def put(self, data: memoryview, lender: Lender) -> int:
        """Take the first half of what is offered."""
        del lender
        count = (len(data) + 1) // 2
        self._bytes += data[:count]
        return count


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
