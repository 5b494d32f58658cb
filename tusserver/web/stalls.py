"""Clients that do not read what they are sent (floor 5; tcp(7), SIOCOUTQ, TCP_INFO).

What waits in the buffers of a connection is looked at now and then. When nothing of it has gone
out for too long, the connection is shut down, and whoever was sending sees a client that went
away.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

LOOKS = 4
"""How often each connection is looked at within the time-out."""
_BYTES_ACKED = 120
"""Where `struct tcp_info` tells how many bytes the client has received (Linux 4.1)."""


class Stalls:
    """Watches the connections of one server."""

    def __init__(
        self, connections: Callable[[], Iterable[web.RequestHandler]], *, timeout: float
    ) -> None:
        """Watch what `connections` gives; `timeout` is in seconds."""
        self._connections = connections
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._seen: WeakKeyDictionary[asyncio.Transport, tuple[int, float]] = WeakKeyDictionary()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(self._timeout / LOOKS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        for connection in self._connections():
            transport = connection.transport
            if transport is not None:
                self._check(transport, now)
        self.start()

    def _check(self, transport: asyncio.Transport, now: float) -> None:
        mark = _mark(transport)
        before, since = self._seen.get(transport, (None, now))
        if mark is None:
            self._seen.pop(transport, None)
        elif mark != before:
            self._seen[transport] = mark, now
        elif now - since >= self._timeout:
            del self._seen[transport]
            _shut_down(transport)


def _mark(transport: asyncio.Transport) -> int | None:
    """Give a number that changes whenever bytes go out; None when none wait."""
    end = transport.get_extra_info("socket")
    if end is None or transport.is_closing() or end.fileno() < 0:
        return None
    try:
        answer = fcntl.ioctl(end.fileno(), termios.TIOCOUTQ, bytes(4))
        waiting = int(struct.unpack("i", answer)[0]) + transport.get_write_buffer_size()
        if not waiting:
            return None
        if end.family in {socket.AF_INET, socket.AF_INET6}:
            # A buffer that is filled as fast as it empties looks the same all the time.
            info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
            if len(info) == _BYTES_ACKED + 8:
                return int(struct.unpack_from("Q", info, _BYTES_ACKED)[0])
    except OSError:
        return None
    return waiting


def _shut_down(transport: asyncio.Transport) -> None:
    """End a connection below the event loop: a sendfile that waits would not see an abort."""
    end = transport.get_extra_info("socket")
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        transport.abort()
