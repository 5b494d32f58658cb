"""The program's own server (floor 5): makes connections of its own class, and keeps count."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web, web_protocol

from tusserver.options import Ingest
from tusserver.web.connection import TusConnection
from tusserver.web.drawing import Draws
from tusserver.web.heads import HEAD_TIMEOUT
from tusserver.web.lingering import LINGERING_TIME
from tusserver.web.stalls import Stalls
from tusserver.web.turns import Turns

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    _RequestFactory = Callable[
        [
            RawRequestMessage,
            StreamReader,
            web.RequestHandler,
            AbstractStreamWriter,
            asyncio.Task[None],
        ],
        web.BaseRequest,
    ]


MAX_FIELD_SIZE = 1_048_576
"""The longest header field: `Upload-Concat` with 10,000 absolute URLs fits, in bytes."""

MAX_HEADERS = 128
"""The most header fields of one request. Their sum is limited by `trailers.MAX_HEAD`."""

KEEPALIVE_TIMEOUT = 75.0
"""Seconds that a connection may be idle, from its beginning or from the last answer."""

SEND_TIMEOUT = 60.0
"""Seconds for which a client may read nothing of what it is sent."""

# What aiohttp puts in the place of a message that its parser refused.
_REFUSED_MESSAGE = getattr(web_protocol, "ERROR", None)


def make_turns(ingest: Ingest) -> Turns:
    """Make what the connections of a loop receive into, for this way of receiving."""
    match ingest:
        case Ingest.AUTO:
            return Turns(draws=Draws())
        case Ingest.SOCKET:
            return Turns(small=0, draws=Draws(least=1, quick=0, slow=-1))
        case _:
            return Turns()


class SharingConnection(TusConnection, asyncio.BufferedProtocol):
    """A connection that receives into the buffer of all."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give memory for what comes next: of a large body only its beginning comes with its head.

        asyncio makes an object of 256 KiB for each call of `data_received`, however little comes.
        """
        del sizehint
        return self.turns.front(is_head=self.awaits_head)

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes from the network."""
        self.data_received(self.turns.parsed(nbytes))


class TusServer(web.Server):
    """Makes the connections of the program's own server."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        request_factory: _RequestFactory,
        send_timeout: float = SEND_TIMEOUT,
        ingest: Ingest = Ingest.PORTABLE,
        **settings: Any,
    ) -> None:
        """Serve requests with `handler`; `settings` are those of a connection.

        `ingest`: whether bodies are received beside aiohttp's parser (see `receiving`).
        """
        loop = asyncio.get_running_loop()
        super().__init__(handler, request_factory=self._begin, loop=loop)
        self.open_connections = 0
        self.on_count: Callable[[int], None] | None = None
        """Is called with the number of open connections when it changes."""
        self._stalls = Stalls(lambda: self.connections, timeout=send_timeout)
        self._stalls.start()
        self._make = request_factory
        self._turns = turns = make_turns(ingest)
        gives_sockets = ingest is not Ingest.PORTABLE
        self._new = partial(
            SharingConnection if gives_sockets else TusConnection,
            self,
            loop=loop,
            turns=turns,
            gives_sockets=gives_sockets,
            **settings,
        )

    def __call__(self) -> TusConnection:
        """Make the protocol of a new connection."""
        return self._new()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection."""
        self._count(1)
        super().connection_made(handler, transport)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Count a connection no more."""
        self._count(-1)
        super().connection_lost(handler, exc)

    def _count(self, change: int) -> None:
        self.open_connections += change
        if self.on_count is not None:
            self.on_count(self.open_connections)

    async def shutdown(self, timeout: float | None = None) -> None:
        """End all connections; requests that run have `timeout` seconds."""
        self._stalls.stop()
        await super().shutdown(timeout)
        self._turns.draws.close()

    def _begin(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if message is _REFUSED_MESSAGE:
            # It says HTTP/1.0, and the answer would too.
            message = message._replace(version=HttpVersion11)
        if isinstance(protocol, TusConnection):
            message = protocol.begin(message, payload)
        return self._make(message, payload, protocol, writer, task)


class TusRunner(web.AppRunner):
    """Runs an application on connections of the program's own class."""

    def __init__(
        self,
        app: web.Application,
        *,
        shutdown_timeout: float = 60.0,
        access_log: logging.Logger | None = None,
        keepalive_timeout: float = KEEPALIVE_TIMEOUT,
        lingering_time: float = LINGERING_TIME,
        head_timeout: float = HEAD_TIMEOUT,
        send_timeout: float = SEND_TIMEOUT,
        ingest: Ingest = Ingest.AUTO,
    ) -> None:
        """Times are in seconds; requests are logged to `access_log`, if any.

        `ingest`: whether bodies are received beside aiohttp's parser; it is not tried here.
        """
        super().__init__(app, handle_signals=False, shutdown_timeout=shutdown_timeout)
        self._settings: dict[str, Any] = {
            "access_log": access_log,
            # Bytes are stored as they come; the parser must not count other ones.
            "auto_decompress": False,
            "keepalive_timeout": keepalive_timeout,
            "lingering_time": lingering_time,
            "head_timeout": head_timeout,
            "send_timeout": send_timeout,
            "ingest": ingest,
            "max_field_size": MAX_FIELD_SIZE,
            "max_headers": MAX_HEADERS,
            # aiohttp's Python parser holds an incomplete header line against this one.
            "max_line_size": MAX_FIELD_SIZE,
            "tcp_keepalive": True,
        }

    async def _make_server(self) -> TusServer:
        stock = await super()._make_server()
        return TusServer(
            stock.request_handler, request_factory=stock.request_factory, **self._settings
        )
