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

from tusserver.body import NO_SPLICE
from tusserver.web.drawing import TIMES

if TYPE_CHECKING:
    from aiohttp import StreamReader

    from tusserver.body import BodyEnd
    from tusserver.web.connection import TusConnection
    from tusserver.web.drawing import Drawing, Pipe


class Taker(Protocol):
    """Who gets the bytes."""

    @property
    def turn(self) -> int:
        """Give the most bytes that are wanted at once."""

    @property
    def skew(self) -> int:
        """Give how far beyond a good place to begin at the next bytes lie in the file."""

    @property
    def can_draw(self) -> bool:
        """Tell whether bytes may come by a pipe (see `drawing`)."""

    def draw(self, pipe: int, count: int) -> int:
        """Take the first of so many bytes that lie in a pipe; give how many.

        The others are offered to `arrived`.
        """

    def drawn(self) -> None:
        """Note that all bytes have come, the last ones by the pipe."""

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
        "_drawing",
        "_idled",
        "_is_over",
        "_is_paused",
        "_is_quick",
        "_left",
        "_taken",
        "_taker",
        "_transport",
        "_turns",
    )

    def __init__(
        self, connection: TusConnection, taker: Taker, left: int, *, is_quick: bool
    ) -> None:
        """Hand on the next `left` bytes, once they are wanted.

        `is_quick`: the client has already sent more than it was asked for.
        """
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
        self._drawing: Drawing | None = None
        """Reads while bytes come by the pipe: the transport is stopped then."""
        self._idled = 0
        """How many draws, the last ones, brought little."""
        self._is_quick = is_quick

    # --- for the taker

    def stop(self, why: BodyEnd) -> None:
        """Have the taker want no more."""
        self._taker.stop(why)

    def want(self) -> None:
        """Let bytes come."""
        if self._is_paused:
            if self._is_quick:
                self._is_quick = False
                self._begin_drawing()
            self._is_paused = False
            self._listen()

    def pause(self) -> None:
        """Let no bytes come for now."""
        if not self._is_paused and not self._is_over:
            self._is_paused = True
            self._turns.leave(self)
            if self._drawing is not None:
                self._drawing.stop()
            elif not self._transport.is_closing():
                self._transport.pause_reading()

    def abandon(self) -> None:
        """Leave what has not come to the connection, which reads it to throw it away."""
        if not self._is_over:
            self._hand_back()
            self.want()

    def _listen(self) -> None:
        if self._transport.is_closing():
            return
        if self._drawing is not None:
            self._drawing.start()
        else:
            self._transport.resume_reading()

    def _hand_back(self) -> None:
        self._is_over = True
        self._turns.leave(self)
        if self._drawing is not None:
            self._stop_drawing()
            self._is_paused = True
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
        self._pass_on(nbytes)
        if not self._left:
            self._end()
        elif nbytes >= self._turns.draws.quick:
            self._begin_drawing()

    def _pass_on(self, count: int) -> None:
        """Hand on what lies in the buffer."""
        data = self._turns.note(self, count)
        self._note(count)
        self._taker.arrived(data, is_last=not self._left)

    def _note(self, count: int) -> None:
        self._left -= count
        self._taken += count

    def _end(self) -> None:
        if not self._is_over:
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
        self._stop_drawing()
        self._connection.connection_lost(exc)
        self._taker.lost()

    # --- by the pipe, beside the transport

    def _begin_drawing(self) -> None:
        """Let the bytes go by the pipe, if they may and it is worth it."""
        draws = self._turns.draws
        if self._left < draws.least or not draws.have_room or not self._taker.can_draw:
            return
        if self._is_over or self._transport.is_closing():
            return
        self._idled = 0
        self._drawing = draws.begin(self._transport, self._readable)
        if self._drawing is not None and not self._is_paused:
            self._transport.pause_reading()
            self._drawing.start()

    def _stop_drawing(self) -> None:
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None

    def _leave_to_transport(self) -> None:
        self._stop_drawing()
        if not self._is_paused:
            self._listen()

    def _readable(self) -> None:
        """Draw what the socket has."""
        drawing, taker = self._drawing, self._taker
        pipe = self._turns.draws.pipe()
        if drawing is None or self._transport.is_closing():
            # The transport tells of its end when it comes.
            self.pause()
            return
        if pipe is None or not taker.can_draw:
            self._leave_to_transport()
            return
        now = asyncio.get_running_loop().time()
        share = self._turns.share(self._left, now, most=taker.turn, skew=taker.skew)
        try:
            count = pipe.fill(drawing.descriptor, share)
        except BlockingIOError:
            return
        except OSError as error:
            self._turns.draws.give_up(error)
            self._leave_to_transport()
            if error.errno not in NO_SPLICE:
                # The kernel tells it once; the transport would not hear of it.
                self._transport.abort()
            return
        if count:
            self._draw(pipe, count)
        self._idled = self._idled + 1 if count <= self._turns.draws.slow else 0
        if self._drawing is not None and (not count or self._idled >= TIMES):
            # At the end of what the client sends, too: the transport takes notice of that.
            self._leave_to_transport()

    def _draw(self, pipe: Pipe, count: int) -> None:
        """Have the taker draw so many bytes; read into memory what it left in the pipe."""
        # Before it may pause: then it takes no part in turns.
        self._turns.note_drawn(self, count)
        try:
            drawn = self._taker.draw(pipe.out, count)
            self._note(drawn)
            while drawn < count:
                read = pipe.read(self._turns.room(count - drawn, 0.0))
                self._pass_on(read)
                drawn += read
        except BaseException:
            # What lies in it belongs to nobody any more: least of all to the next body.
            self._turns.draws.renew()
            self._transport.abort()
            raise
        if not self._left:
            self._taker.drawn()
            self._end()

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
