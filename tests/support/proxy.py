"""A TCP proxy between client and servers that does what networks do.

It cuts connections at given byte counts, loses them without a word, limits the rate, spreads
connections over several servers and counts what it forwards.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType

FIN = "fin"
RST = "rst"
ANSWER = "answer"
PIECE = 65_536
BUFFER = 262_144


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut the connection that carries the `after`-th byte upstream since the last cut.

    `how`: FIN, RST, or ANSWER, which lets the request pass and cuts when it is answered.
    """

    after: int
    how: str = FIN


def seeded_cuts(
    seed: int, *, count: int, mean: int, kinds: Sequence[str] = (FIN, RST)
) -> list[Cut]:
    """Give cuts at pseudo-random places, `mean` bytes apart on average."""
    chance = random.Random(seed)
    # The first is late enough for a creation to pass: a client that never hears of its upload
    # makes another one, and rightly so.
    return [Cut(chance.randrange(4096, 2 * mean), chance.choice(kinds)) for _ in range(count)]


@dataclass(eq=False, slots=True)
class _Link:
    client: socket.socket
    server: socket.socket
    port: int
    sent: int = 0
    pumps: list[asyncio.Task[None]] = field(default_factory=list)

    def end(self, how: str = FIN) -> None:
        for pump in self.pumps:
            pump.cancel()
        for end in (self.server, self.client):
            _end(end, how)


class Proxy:
    """Listens on a port of its own from its making until `close`, in a thread of its own."""

    def __init__(
        self,
        *ports: int,
        cuts: Sequence[Cut] = (),
        rate: int | None = None,
        scheme: str = "http",
        path: str = "/files/",
    ) -> None:
        """Forward to `ports` in turn, at most `rate` bytes a second upstream over all links."""
        self.ports = list(ports)
        self.rate = rate
        self.forwarded = 0
        """Bytes sent upstream, heads of requests included."""
        self.connections = 0
        self.cuts_made = 0
        self._cuts = list(cuts)
        self._since_cut = 0
        self._answer_is_to_be_lost = False
        self._turn = 0
        self._due = 0.0
        self._links: set[_Link] = set()
        self._lost: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._listener.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        self.port = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}{path}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what a test does to it, from its own thread

    def lose(self, *, client_notices: bool = True) -> int:
        """Let all present connections go silent towards the servers: no byte, no FIN.

        Clients see a reset, as a phone does that leaves its network, or nothing either. Give
        their number. What servers send into a lost connection is never read.
        """
        return self._call(self._lose(client_notices=client_notices))

    def cut_all(self, how: str = RST) -> int:
        """Cut all present connections; give their number."""
        return self._call(self._cut_all(how))

    def carrier(self) -> int:
        """Give the port of the server that gets the most over a connection that is there now."""
        return max(list(self._links), key=lambda link: link.sent).port

    def wait_until_forwarded(self, size: int, *, within: float = 15.0) -> float:
        """Wait until `size` bytes went upstream; give the seconds it took."""
        start = time.monotonic()
        while self.forwarded < size:
            if time.monotonic() - start > within:
                raise AssertionError(f"only {self.forwarded} of {size} bytes in {within} s")
            time.sleep(0.002)
        return time.monotonic() - start

    def close(self) -> None:
        """End everything. Does nothing the second time."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, coroutine: Coroutine[None, None, int]) -> int:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)

    # --- in the proxy's thread

    def _run(self) -> None:
        accepting = self._loop.create_task(self._accept())
        self._loop.run_forever()
        accepting.cancel()
        for link in list(self._links):
            link.end()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(
            asyncio.gather(accepting, *self._tasks, return_exceptions=True)
        )
        for lost in self._lost:
            lost.close()
        self._listener.close()
        self._loop.close()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            client.setblocking(False)  # noqa: FBT003
            task = self._loop.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        found = await self._connect()
        if found is None:
            _end(client, RST)
            return
        server, port = found
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.rate is not None:
            # What waits in buffers is neither sent nor unsent: keep it small where it counts.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        link = _Link(client, server, port)
        self._links.add(link)
        link.pumps = [
            self._loop.create_task(self._pump_up(link)),
            self._loop.create_task(self._pump_down(link)),
        ]
        try:
            await asyncio.gather(*link.pumps)
        except (OSError, asyncio.CancelledError):
            for pump in link.pumps:
                pump.cancel()
        finally:
            if link in self._links:
                self._links.discard(link)
                link.end(RST if _has_failed(link) else FIN)

    async def _connect(self) -> tuple[socket.socket, int] | None:
        for _ in self.ports:
            port = self.ports[self._turn % len(self.ports)]
            self._turn += 1
            server = socket.socket()
            server.setblocking(False)  # noqa: FBT003
            try:
                await self._loop.sock_connect(server, ("127.0.0.1", port))
            except OSError:
                server.close()
            else:
                return server, port
        return None

    async def _pump_up(self, link: _Link) -> None:
        while data := await self._loop.sock_recv(link.client, self._piece()):
            place = self._place_of_cut(len(data))
            if place is not None and self._cuts[0].how != ANSWER:
                data = data[:place]
            await self._loop.sock_sendall(link.server, data)
            self.forwarded += len(data)
            link.sent += len(data)
            if place is not None:
                self._cut(link)
            await self._slow_down(len(data))
        link.server.shutdown(socket.SHUT_WR)

    async def _pump_down(self, link: _Link) -> None:
        while data := await self._loop.sock_recv(link.server, PIECE):
            if self._answer_is_to_be_lost:
                self._answer_is_to_be_lost = False
                self._drop(link, RST)
            await self._loop.sock_sendall(link.client, data)
        link.client.shutdown(socket.SHUT_WR)

    def _piece(self) -> int:
        return PIECE if self.rate is None else max(1, min(PIECE, self.rate // 50))

    async def _slow_down(self, size: int) -> None:
        if self.rate is not None:
            now = self._loop.time()
            self._due = max(now, self._due) + size / self.rate
            await asyncio.sleep(self._due - now)

    # --- cutting

    def _place_of_cut(self, size: int) -> int | None:
        if not self._cuts or self._answer_is_to_be_lost:
            return None
        left = self._cuts[0].after - self._since_cut
        if size < left:
            self._since_cut += size
            return None
        return left

    def _cut(self, link: _Link) -> None:
        cut = self._cuts.pop(0)
        self._since_cut = 0
        if cut.how == ANSWER:
            self._answer_is_to_be_lost = True
        else:
            self._drop(link, cut.how)

    def _drop(self, link: _Link, how: str) -> None:
        self.cuts_made += 1
        self._links.discard(link)
        link.end(how)

    async def _cut_all(self, how: str) -> int:
        links = list(self._links)
        for link in links:
            self._drop(link, how)
        return len(links)

    async def _lose(self, *, client_notices: bool) -> int:
        links = list(self._links)
        for link in links:
            self._links.discard(link)
            for pump in link.pumps:
                pump.cancel()
            self._lost.append(link.server)
            if client_notices:
                _end(link.client, RST)
            else:
                self._lost.append(link.client)
        return len(links)


def _has_failed(link: _Link) -> bool:
    return any(pump.cancelled() or pump.exception() for pump in link.pumps if pump.done())


def _end(end: socket.socket, how: str) -> None:
    if how == RST:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
