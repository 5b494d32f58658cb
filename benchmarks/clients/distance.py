"""A proxy that makes a server far away: a round trip, and a rate that each connection has.

Order: `to` (host and port of the server), `round_trip` in seconds, `rate` in bytes a second, for
what is sent to the server. Word: `place` (gives host and port of the proxy).

What a client sends arrives half a round trip later and no faster than the rate; as much as the way
holds is taken from the client at a time, so that it sees the rate, too. A connection takes one more
round trip, that of the handshake. Answers take half a round trip and have no limit.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from contextlib import suppress
from typing import Any

PIECE = 16_384
LEAST_HELD = 65_536
"""Bytes that are on their way at least, like the first window of a connection."""


class Way:
    """One direction of a connection: a queue of pieces with the times at which they arrive."""

    def __init__(self, delay: float, rate: float | None, held: int) -> None:
        """Let `held` bytes be on their way, at `rate` bytes a second; None for no limit."""
        self._delay = delay
        self._rate = rate
        self._held = held
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._under_way = 0
        self._free_at = 0.0
        self._changed = asyncio.Condition()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, after: float
    ) -> None:
        """Carry everything from one end to the other; nothing arrives before `after`."""
        self._free_at = after
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(reader))
            group.create_task(self._give(writer))

    async def _take(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._under_way < self._held)
            try:
                data = await reader.read(PIECE)
            except ConnectionError:
                data = b""
            took = len(data) / self._rate if self._rate else 0.0
            self._free_at = max(self._free_at, loop.time()) + took
            async with self._changed:
                self._pieces.append((self._free_at + self._delay, data))
                self._under_way += len(data)
                self._changed.notify_all()
            if not data:
                return

    async def _give(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._pieces)
                due, data = self._pieces.popleft()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            async with self._changed:
                self._under_way -= len(data)
                self._changed.notify_all()
            with suppress(ConnectionError, RuntimeError):
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
            if not data:
                return


class Distance:
    """Serves the connections of one proxy."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Take the order."""
        self._to = (order["to"][0], order["to"][1])
        self._delay = order["round_trip"] / 2
        self._rate = order["rate"]
        self._held = max(LEAST_HELD, int(self._rate * self._delay))

    async def serve(
        self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection."""
        loop = asyncio.get_running_loop()
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        there = Way(self._delay, self._rate, self._held)
        back = Way(self._delay, None, 1 << 24)
        try:
            async with asyncio.TaskGroup() as group:
                shaken = loop.time() + 2 * self._delay
                group.create_task(there.carry(near_reader, far_writer, after=shaken))
                group.create_task(back.carry(far_reader, near_writer, after=0.0))
        except* ConnectionError:
            pass
        finally:
            near_writer.close()
            far_writer.close()


async def main() -> None:
    """Serve until nobody says anything any more."""
    distance = Distance(json.loads(sys.stdin.readline()))
    server = await asyncio.start_server(distance.serve, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()
    async with server:
        while await asyncio.to_thread(sys.stdin.readline):
            sys.stdout.write(json.dumps({"place": place}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
