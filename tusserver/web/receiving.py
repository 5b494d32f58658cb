"""The rest of one body, taken from the socket without aiohttp's parser (floor 5).

A parser copies every byte of a body twice, and wakes a task for each piece. Where the length of
a body is known nothing in it needs parsing: so, once its head was checked, the connection's
transport is given to a `Receiving`, which has exactly the missing bytes read into the buffer of
`Turns` and hands them on in the same moment. With the last one, or when the body ends early, the
connection gets its transport back; requests that follow are still in the socket, as no more was
asked for. Works the same with TLS.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aiohttp import StreamReader

    from tusserver.body import BodyEnd
    from tusserver.web.connection import TusConnection


class Taker(Protocol):
    """Who gets the bytes."""

    @property
    def turn(self) -> int:
        """Give the most bytes that are wanted at once."""

    @property
    def skew(self) -> int:
        """Give how far beyond a good place to begin at the next bytes lie in the file."""

    def arrived(self, data: memoryview, *, is_last: bool) -> None:
        """Take bytes, which are only good during the call."""

    def lost(self) -> None:
        """Note that no more will come."""

    def stop(self, why: BodyEnd) -> None:
        """Want no more."""


class Receiving(asyncio.BufferedProtocol):
    """Stands between a transport and its connection while the rest of a body arrives."""

    __slots__ = (
        "_connection",
        "_is_over",
        "_is_paused",
        "_left",
        "_taken",
        "_taker",
        "_transport",
        "_turns",
    )

    def __init__(self, connection: TusConnection, taker: Taker, left: int) -> None:
        """Hand on the next `left` bytes, once they are wanted."""
        self._connection = connection
        self._turns = connection.turns
        self._taker = taker
        self._left = left
        self._taken = 0
        transport = connection.transport
        if transport is None:
            raise RuntimeError("the connection was lost")
        self._transport = transport
        transport.pause_reading()
        self._is_paused = True
        # The transport cannot be asked whose it is: one with TLS forgets all when it is closed.
        self._is_over = False
        transport.set_protocol(self)

    # --- for the taker

    def stop(self, why: BodyEnd) -> None:
        """Have the taker want no more."""
        self._taker.stop(why)

    def want(self) -> None:
        """Let bytes come."""
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def pause(self) -> None:
        """Let no bytes come for now."""
        if not self._is_paused and not self._is_over:
            self._is_paused = True
            self._turns.leave(self)
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def abandon(self) -> None:
        """Leave what has not come to the connection, which reads it to throw it away."""
        if not self._is_over:
            self._hand_back()
            self.want()

    def _hand_back(self) -> None:
        self._is_over = True
        self._turns.leave(self)
        self._transport.set_protocol(self._connection)
        self._connection.take_back(self._taken, left=self._left)

    # --- for the transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give memory for the next bytes: none of them belongs to another message."""
        del sizehint
        taker = self._taker
        now = asyncio.get_running_loop().time()
        return self._turns.room(self._left, now, most=taker.turn, skew=taker.skew)

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what has arrived."""
        data = self._turns.note(self, nbytes)
        self._left -= nbytes
        self._taken += nbytes
        is_last = not self._left
        self._taker.arrived(data, is_last=is_last)
        if is_last and not self._is_over:
            self._hand_back()
            self.want()

    def eof_received(self) -> bool | None:
        """Take the client's FIN."""
        self._hand_back()
        keep = self._connection.eof_received()
        self._taker.lost()
        return keep

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._is_over = True
        self._turns.leave(self)
        self._connection.connection_lost(exc)
        self._taker.lost()

    def pause_writing(self) -> None:
        """Tell the connection that the client reads slowly."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection that the client has caught up."""
        self._connection.resume_writing()


def arrived_before(content: StreamReader) -> bytes:
    """Take all that a parser has received of a body.

    Reading lets the parser go on with what it holds back: so until there is nothing. The
    transport is left as aiohttp wants it; nothing more arrives before the caller waits.
    Raises: what is set on the stream.
    """
    pieces = []
    while piece := content.read_nowait():
        pieces.append(piece)
    return b"".join(pieces)
