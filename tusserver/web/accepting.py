"""Connections are accepted (floor 5): few at a time, up to a limit, whatever the system lacks.

The event loop's own way of accepting takes as many connections as wait, so that of several
processes at one socket the first to wake takes all of them; it knows no limit, and without
free descriptors it fills the log.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from tusserver.web.connection import TusConnection

if TYPE_CHECKING:
    from ssl import SSLContext

    from tusserver.web.server import TusServer

logger = logging.getLogger(__name__)

PAUSE = 0.2
"""Seconds after which accepting is tried again when the system has lacked something."""
LOG_EVERY = 60.0
"""Seconds between two log records about the same trouble."""
BURST = 64
"""Connections accepted in one turn of the loop by a process that is alone at its socket."""
SHARED_BURST = 2
"""The same where others wait at the socket too."""
YIELD = 0.002
"""Seconds for which a process with more connections than another lets that one go first."""
PATIENCE = 0.5
"""Seconds for which a process that is full lets one that has room take a connection."""
MAX_REFUSED = 100
"""Refused clients that may be read from until they have seen why."""
REFUSED_SECONDS = 2.0
ASKING_SECONDS = 0.5
"""How long who has just connected has to send a request when the server stops."""

_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TEXT = b"overloaded: The server has as many connections as it may; try again.\n"
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nTus-Resumable: 1.0.0\r\nRetry-After: 5\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Access-Control-Allow-Origin: *\r\nContent-Length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


class Seat(Protocol):
    """The place of a process among others that accept at the same sockets."""

    number: int
    """Another one for each of them."""

    def tell(self, count: int) -> None:
        """Say how many connections this process has."""

    def leave(self) -> None:
        """Say that this process accepts no more."""

    def least(self) -> int:
        """Give the fewest connections that any of the processes has that accept."""


class Acceptor:
    """Takes the connections of listening sockets for one server."""

    def __init__(
        self,
        server: TusServer,
        sockets: tuple[socket.socket, ...],
        *,
        limit: int,
        seat: Seat | None = None,
        tls: SSLContext | None = None,
        handshake_timeout: float = 30.0,
    ) -> None:
        """Take sockets that listen and do not block.

        `limit` is the most connections at once. A `seat` among other processes that accept here
        lets those go first that have fewer connections.
        """
        self._server = server
        self._sockets = sockets
        self._limit = limit
        self._seat = seat
        self._burst = BURST if seat is None else SHARED_BURST
        self._tls = tls
        self._handshake_timeout = handshake_timeout
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._refused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self._said = -LOG_EVERY
        self._stuck: tuple[int, float] | None = None
        """What the emptiest other process has, and since when it has taken nothing."""

    def start(self) -> None:
        """Begin to accept."""
        if self._seat is not None:
            self._server.on_count = self._seat.tell
            self._seat.tell(0)
        for listener in self._sockets:
            self._loop.add_reader(listener, self._accept, listener)

    def stop(self) -> None:
        """Accept no more; what waits in the sockets' queues stays there for others."""
        if self._seat is not None:
            self._server.on_count = None
            self._seat.leave()
        for listener in self._sockets:
            self._loop.remove_reader(listener)
        for timer in self._retries.values():
            timer.cancel()
        for refused in list(self._refused):
            self._forget(refused)

    async def close(self) -> None:
        """Wait a moment for the requests of who has just connected, so that they are answered.

        To such a client, a connection that closes in silence is a server that failed. Call
        after `stop`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKING_SECONDS):
                # A request that comes is told by nobody but the connection itself.
                while self._opening or self._has_fresh():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        for task in self._opening:
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)

    def _has_fresh(self) -> bool:
        known = self._server.connections
        return any(isinstance(one, TusConnection) and one.is_fresh for one in known)

    def _count(self) -> int:
        return self._server.open_connections + len(self._opening)

    def _accept(self, listener: socket.socket, *, is_patient: bool = True) -> None:
        """Accept some of the connections that wait; `is_patient`: let others go first."""
        for _ in range(self._burst):
            if self._is_others_turn(is_patient=is_patient):
                self._loop.remove_reader(listener)
                self._retries[listener] = self._loop.call_later(YIELD, self._insist, listener)
                return
            try:
                connection, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._stuck = None
                return
            except OSError as exc:
                self._pause(listener, exc)
                return
            connection.settimeout(0)
            if self._count() >= self._limit:
                self._refuse(connection)
            else:
                task = self._loop.create_task(self._open(connection))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    def _is_others_turn(self, *, is_patient: bool) -> bool:
        """Tell whether another process should take the next connection; if full, for as long."""
        if self._seat is None:
            return False
        count, least = self._count(), self._seat.least()
        if count <= least:
            return False
        return is_patient or (count >= self._limit and self._expects_others(least))

    def _expects_others(self, least: int) -> bool:
        """Tell whether who has room may still take what waits: one that hangs does not."""
        now = self._loop.time()
        if self._stuck is None or self._stuck[0] != least:
            self._stuck = least, now
        return now - self._stuck[1] < PATIENCE

    async def _open(self, connection: socket.socket) -> None:
        timeout = self._handshake_timeout if self._tls is not None else None
        try:
            await self._loop.connect_accepted_socket(
                self._server, connection, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except OSError as exc:  # TLS that is none, or a client that has gone
            logger.debug("a connection came to nothing: %s", exc)
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Accept nothing for a moment: the socket stays readable, and the loop would spin."""
        self._loop.remove_reader(listener)
        self._retries[listener] = self._loop.call_later(PAUSE, self._resume, listener)
        if error.errno in _LACKING:
            advice = "raise the limit of open files (LimitNOFILE=) or lower --max-connections"
        else:
            advice = "connections wait meanwhile"
        self._say("no connection can be accepted (%s): %s", error.strerror, advice)

    def _resume(self, listener: socket.socket) -> None:
        del self._retries[listener]
        self._loop.add_reader(listener, self._accept, listener)

    def _insist(self, listener: socket.socket) -> None:
        """Accept what nobody else has taken meanwhile."""
        self._resume(listener)
        if _has_waiting(listener):
            self._accept(listener, is_patient=False)
        else:
            self._stuck = None

    def _refuse(self, connection: socket.socket) -> None:
        """Tell a client in one write that there are too many, and read until it has seen that."""
        self._say(
            "%d connections are open: others are answered 503; raise --max-connections, or look "
            "for who opens so many%s",
            self._limit,
            "",
        )
        # Without a handshake nothing can be said to a client that wants TLS.
        if self._tls is not None or len(self._refused) >= MAX_REFUSED:
            connection.close()
            return
        try:
            connection.send(REFUSAL)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        # Closing with unread bytes would reset the connection, and the answer could be lost.
        self._refused[connection] = self._loop.call_later(REFUSED_SECONDS, self._forget, connection)
        self._loop.add_reader(connection, self._drain, connection)

    def _drain(self, connection: socket.socket) -> None:
        with suppress(BlockingIOError, InterruptedError):
            try:
                if connection.recv(65_536):
                    return
            except ConnectionError:
                pass
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._refused.pop(connection).cancel()
        self._loop.remove_reader(connection)
        connection.close()

    def _say(self, text: str, *data: object) -> None:
        now = self._loop.time()
        if now - self._said >= LOG_EVERY:
            self._said = now
            logger.warning(text, *data)


def _has_waiting(listener: socket.socket) -> bool:
    """Tell whether a connection waits to be accepted."""
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(0))
