"""A request body that goes from the socket to the file without stops on its way (floor 5).

Implements `body.Body` and `body.Pourable`. It begins as a `StreamBody` and stays one where the
socket cannot be taken: chunked or small bodies, a host's own runner, a connection that is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd
from tusserver.web.connection import TusConnection
from tusserver.web.receiving import Receiving, arrived_before
from tusserver.web.stream import CHUNK, StreamBody
from tusserver.web.turns import FRONT, GRAIN

if TYPE_CHECKING:
    from aiohttp import web

    from tusserver.body import Sink


def pick_body(request: web.BaseRequest, *, idle_timeout: float) -> StreamBody | SocketBody:
    """Give the body of a request in the way that suits it."""
    stream = StreamBody(request, idle_timeout=idle_timeout)
    connection, length = request.protocol, stream.length
    if not isinstance(connection, TusConnection) or not connection.gives_sockets:
        return stream
    if length is None or length <= connection.turns.small:
        return stream
    return SocketBody(request, connection, stream, length=length, idle_timeout=idle_timeout)


class SocketBody:
    """The body of one request; for one reader."""

    __slots__ = (
        "_connection",
        "_has_begun",
        "_idle_timeout",
        "_last_byte_at",
        "_length",
        "_loop",
        "_received",
        "_receiving",
        "_request",
        "_rest",
        "_sink",
        "_stream",
        "_then",
        "_timer",
        "_waiter",
        "_waiting_since",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        connection: TusConnection,
        stream: StreamBody,
        *,
        length: int,
        idle_timeout: float,
    ) -> None:
        """Be `stream` until somebody reads; end with TIMEOUT after `idle_timeout` seconds."""
        self._request = request
        self._connection = connection
        self._stream = stream
        self._length = length
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._has_begun = False
        self._receiving: Receiving | None = None
        self._received = 0
        self._last_byte_at = 0.0
        self._rest = bytearray()
        # What `end` is once `_rest` is delivered.
        self._then: BodyEnd | None = None
        self._sink: Sink | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def length(self) -> int | None:
        """Give the announced `Content-Length` in bytes."""
        return self._length

    @property
    def end(self) -> BodyEnd | None:
        """Tell why the body ended; None while it has not, or bytes of it are still here."""
        if self._receiving is None:
            return self._stream.end
        return None if self._rest else self._then

    @property
    def received(self) -> int:
        """Give the bytes that arrived so far."""
        return self._stream.received if self._receiving is None else self._received

    @property
    def last_byte_at(self) -> float:
        """Give the loop time at which the last byte arrived.

        While nobody reads, the client is not silent: what it sends waits for us.
        """
        if self._receiving is None:
            return self._stream.last_byte_at
        if self._waiter is None or (self._sink is not None and self._sink.is_full):
            return self._loop.time()
        return max(self._last_byte_at, self._waiting_since)

    def trailer(self, name: str) -> str | None:
        """Give None: a body with a length has no trailers."""
        del name
        return None

    @property
    def is_direct(self) -> bool:
        """Tell whether the socket was taken."""
        return self._receiving is not None

    # --- for the reader

    async def read(self) -> bytes:
        """Wait for bytes, at most 256 KiB; b"" once the body has ended. Safe to cancel."""
        if not self._begin():
            return await self._stream.read()
        while not self._rest and self._then is None:
            try:
                await self._waits()
            finally:
                self._waited()
        if len(self._rest) <= CHUNK:
            # An emptied bytearray would keep its memory.
            data, self._rest = bytes(self._rest), bytearray()
        else:
            data = bytes(self._rest[:CHUNK])
            del self._rest[:CHUNK]
        return data

    async def pour(self, sink: Sink) -> None:
        """Put what arrives into the sink, until it takes no more or the body has ended."""
        if not self._begin():
            return
        self._sink = sink
        sink.resume = self._go_on
        try:
            while not self._rest and self._then is None:
                try:
                    await self._waits()
                finally:
                    self._waited()
        finally:
            self._sink = None
            sink.resume = None

    def stop(self, why: BodyEnd) -> None:
        """End the body now; see `Body.stop` and `StreamBody.stop`."""
        if self._receiving is None:
            self._stream.stop(why)
        elif self.end is not None:
            if why is BodyEnd.REFUSED and self._then is BodyEnd.COMPLETE:
                self._then = why
        elif self._then is None or why is not BodyEnd.DISCONNECTED:
            # Else what is left is delivered anyway, and how it ends is known.
            if why is not BodyEnd.DISCONNECTED:
                self._rest.clear()
            self._receiving.abandon()
            self._close(why)

    # --- the socket

    def _begin(self) -> bool:
        """Take the socket if that has not been tried; tell whether it is ours."""
        if not self._has_begun:
            self._has_begun = True
            self._take()
        return self._receiving is not None

    def _take(self) -> None:
        content, transport = self._request.content, self._request.transport
        if content.exception() is not None or transport is None or transport.is_closing():
            return
        if self._stream.end is not None or content.is_eof():
            return
        self._last_byte_at = self._stream.last_byte_at
        arrived = arrived_before(content)
        left = self._length - len(arrived)
        if not self._connection.can_give(left):
            self._stream.push(arrived)
            return
        self._rest += arrived
        self._received = len(arrived)
        # As much as was asked for: there is more where that came from.
        is_quick = len(arrived) >= FRONT // 2
        self._receiving = self._connection.give(self, left, is_quick=is_quick)
        # Asked no more, it would stay for as long as a slow client sends.
        del self._stream

    @property
    def turn(self) -> int:
        """Give the most bytes that are wanted at once."""
        return CHUNK if self._sink is None else self._sink.turn

    @property
    def skew(self) -> int:
        """Give how far beyond a multiple of `GRAIN` the next bytes begin in the file."""
        return 0 if self._sink is None else self._sink.position % GRAIN

    @property
    def can_draw(self) -> bool:
        """Tell whether bytes may come by a pipe."""
        sink = self._sink
        return sink is not None and not self._rest and self._then is None and sink.can_draw

    def draw(self, pipe: int, count: int) -> int:
        """Take the first of so many bytes that lie in a pipe; give how many."""
        self._last_byte_at = self._loop.time()
        if self._sink is None:
            return 0
        drawn = self._sink.draw(pipe, count)
        self._received += drawn
        return drawn

    def drawn(self) -> None:
        """Note that all bytes have come."""
        if self._then is None:
            self._close(BodyEnd.COMPLETE)

    def arrived(self, data: memoryview, *, is_last: bool) -> None:
        """Take bytes from the socket."""
        self._last_byte_at = self._loop.time()
        self._received += len(data)
        if self._then is not None:
            return
        stored = 0
        if self._sink is not None and not self._rest:
            stored = self._sink.put(data, self._connection.turns)
            if self._sink.is_full:
                self._pause()
        if stored < len(data):
            self._rest += data[stored:]
            self._pause()
        if is_last:
            self._close(BodyEnd.COMPLETE)
        elif self._rest:
            self._wake()

    def lost(self) -> None:
        """Note that the connection has ended."""
        if self._then is None:
            self._close(BodyEnd.DISCONNECTED)
        content = self._request.content
        if content.exception() is not None and not content.is_eof():
            # Else aiohttp would wait for the rest of it before it closes.
            content.feed_eof()

    def _close(self, why: BodyEnd) -> None:
        self._then = why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    # --- waiting

    def _waits(self) -> asyncio.Future[None]:
        """Let bytes come until the reader has something to do; `_waited` follows."""
        # No coroutine: each would have its frame for as long as a slow client sends.
        self._waiter = self._loop.create_future()
        self._waiting_since = self._loop.time()
        if self._timer is None:
            self._arm(self._waiting_since + self._idle_timeout)
        if self._receiving is not None:
            self._receiving.want()
        return self._waiter

    def _waited(self) -> None:
        self._waiter = None
        self._pause()

    def _go_on(self) -> None:
        """Let bytes come again: the sink has room for them."""
        if self._waiter is not None and not self._rest and self._then is None:
            # What it had to wait for was not the client.
            self._waiting_since = self._loop.time()
            if self._receiving is not None:
                self._receiving.want()

    def _pause(self) -> None:
        if self._receiving is not None and self._then is None:
            self._receiving.pause()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _arm(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._check_idle)

    def _check_idle(self) -> None:
        """End a body of which nothing came for too long, while somebody waited for it."""
        self._timer = None
        if self._waiter is None or self._then is not None:
            return
        due = self.last_byte_at + self._idle_timeout
        if self._loop.time() < due:
            self._arm(due)
        else:
            self.stop(BodyEnd.TIMEOUT)
