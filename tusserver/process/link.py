"""A worker's line to its parent (floor 5): ready, alive, and the end of the one or the other.

A pair of connected sockets. Each side sees the other's death as the end of the line, so that
workers stop in good order when their parent was killed.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.process.balance import Seat

READY = b"R"
BEAT = b"."
BEAT_SECONDS = 1.0
"""How often a worker shows that its event loop turns."""


class Link:
    """The worker's end."""

    def __init__(self, end: socket.socket, seat: Seat) -> None:
        """Take the worker's end of the pair, and its place among the workers."""
        self.seat = seat
        end.settimeout(0)
        self._end = end
        self._timer: asyncio.TimerHandle | None = None

    def open(self, on_end: Callable[[], None]) -> None:
        """Begin to show signs of life; `on_end` is called when the parent has died."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._end, self._read, on_end)
        self._beat()

    def ready(self) -> None:
        """Say that connections are accepted."""
        self._send(READY)

    def close(self) -> None:
        """End the line, and with it the signs of life."""
        if self._timer is not None:
            self._timer.cancel()
            asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()

    def _beat(self) -> None:
        self._send(BEAT)
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _read(self, on_end: Callable[[], None]) -> None:
        try:
            if self._end.recv(64):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        asyncio.get_running_loop().remove_reader(self._end)  # The end would be told for ever.
        on_end()

    def _send(self, word: bytes) -> None:
        # A parent that is suspended reads nothing: signs of life beyond its buffer are not needed.
        with suppress(OSError):
            self._end.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
