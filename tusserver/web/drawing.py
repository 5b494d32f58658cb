"""Bodies that go from the socket to the file without coming into memory (floor 5; splice(2)).

What a client sends lies in memory of the kernel, and so do the files that take it: a pipe between
them carries references to that memory, so that each byte is copied once instead of twice. The
transport of the connection stops meanwhile, as asyncio's have no such way of reading: a second
descriptor of the same socket is watched in its place.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from typing import TYPE_CHECKING

from tusserver.body import NO_SPLICE

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

PIPE_BYTES = 1_048_576
"""What the pipe is asked to hold: more than that, users without privileges do not get."""
MOST = 32
"""Bodies that may be drawn at once: each takes one descriptor more."""
LEAST = 2_097_152
"""Bytes that must be left of a body: for fewer it is not worth the change."""
QUICK = 131_072
"""Bytes that come at once from a client that is quick enough."""
SLOW = 32_768
"""Bytes that come at once, or fewer, from one that is not any more."""
TIMES = 8
"""How often in a row so few of them come from it."""


class Pipe:
    """What bodies of one loop go through: empty again at the end of each callback."""

    def __init__(self) -> None:
        """Make it. Raises: OSError."""
        self.out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            self.close()
            raise

    def fill(self, descriptor: int, most: int) -> int:
        """Take what a socket has, at most so many bytes; give how many. 0: it was ended.

        Raises: BlockingIOError (it has nothing), OSError (the connection is lost, or `NO_SPLICE`).
        """
        return os.splice(descriptor, self._in, most, flags=os.SPLICE_F_NONBLOCK)

    def read(self, memory: memoryview) -> int:
        """Read what lies in it into memory; give how many bytes."""
        return os.readv(self.out, [memory])

    def close(self) -> None:
        """Make it no more."""
        os.close(self.out)
        os.close(self._in)


class Draws:
    """The pipe of one loop, and whose bodies go through it."""

    def __init__(
        self,
        *,
        is_wanted: bool = True,
        least: int = LEAST,
        quick: int = QUICK,
        slow: int = SLOW,
    ) -> None:
        """Make the pipe when the first body wants it, if any may; the others are in bytes."""
        self.least = least
        self.quick = quick
        self.slow = slow
        self._is_possible = is_wanted and hasattr(os, "splice")
        self._pipe: Pipe | None = None
        self._open: set[Drawing] = set()

    @property
    def count(self) -> int:
        """Give how many bodies are being drawn."""
        return len(self._open)

    @property
    def have_room(self) -> bool:
        """Tell whether one body more may be drawn."""
        return self._is_possible and len(self._open) < MOST

    def pipe(self) -> Pipe | None:
        """Give the pipe; None where there is none to be had."""
        if self._pipe is None and self._is_possible:
            try:
                self._pipe = Pipe()
            except OSError as error:
                self.give_up(error)
        return self._pipe

    def give_up(self, why: OSError) -> None:
        """Note that it cannot be done on this machine, if that is why: bodies go through memory."""
        if why.errno in NO_SPLICE:
            logger.info("bodies go through memory, as splice does not work here: %s", why)
            self.close()

    def renew(self) -> None:
        """Drop the pipe with all that is in it."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def begin(self, transport: asyncio.Transport, readable: Callable[[], None]) -> Drawing | None:
        """Watch the socket of a transport that stops reading; None if that cannot be done."""
        if not self.have_room or self.pipe() is None:
            return None
        if transport.get_extra_info("sslcontext") is not None:
            return None
        try:
            descriptor = os.dup(transport.get_extra_info("socket").fileno())
        except OSError:  # No descriptor is left; what has one goes on.
            return None
        drawing = Drawing(descriptor, readable, ended=self._open.discard)
        self._open.add(drawing)
        return drawing

    def close(self) -> None:
        """Give the pipe back."""
        self._is_possible = False
        self.renew()


class Drawing:
    """A second descriptor of a socket, and who is told that there is something to read."""

    __slots__ = ("_ended", "_is_watched", "_loop", "_readable", "descriptor")

    def __init__(
        self, descriptor: int, readable: Callable[[], None], *, ended: Callable[[Drawing], None]
    ) -> None:
        """Own the descriptor until `close`; tell `ended` of that."""
        self.descriptor = descriptor
        self._readable = readable
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._is_watched = False

    def start(self) -> None:
        """Tell when there is something to read."""
        if not self._is_watched:
            self._is_watched = True
            self._loop.add_reader(self.descriptor, self._readable)

    def stop(self) -> None:
        """Tell no more for now."""
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self.descriptor)

    def close(self) -> None:
        """Forget the socket."""
        # First: the loop would otherwise go on hearing of what has no number any more.
        self.stop()
        os.close(self.descriptor)
        self._ended(self)
