"""Reads files back: a whole one, or ranges of it on several connections.

Order: `place`, `paths` of files that hold what `bulk` sends (the connections take turns with them),
`size` of each, and `ranges` (how many, over all connections; 0: whole files, one a connection),
`piece` (bytes of a range), `connections`. Answer: `seconds`, `bytes`, and `refused`: the status of
a server that does not give what is asked, or null.

What is read is compared with what was sent at both of its ends.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.clients import wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

OK, PARTIAL = 200, 206
MOST = 1 << 20
LOOKED_AT = 256


class Refused(Exception):
    """The server does not give what is asked; holds its status."""


def fetch(
    connection: socket.socket,
    request: bytes,
    *,
    status: int,
    buffer: memoryview,
    take: Callable[[memoryview], object] | None = None,
) -> int:
    """Read one answer; hand its bytes to `take` as they come; give their number.

    Raises: Refused for another status, or a length that is not told.
    """
    connection.sendall(request)
    head, end = b"", -1
    while end < 0:
        if not (data := connection.recv(65_536)):
            raise ConnectionError(head)
        head += data
        end = head.find(b"\r\n\r\n")
    answer = wire.parse(head[:end])
    length = answer.headers.get("content-length")
    if answer.status != status or length is None:
        raise Refused(answer.status)
    first = memoryview(head)[end + 4 :]
    if take is not None:
        take(first)
    left = int(length) - len(first)
    while left > 0:
        count = connection.recv_into(buffer, min(left, len(buffer)))
        if not count:
            raise ConnectionError(f"{left} bytes are missing")
        if take is not None:
            take(buffer[:count])
        left -= count
    return int(length)


class Ends:
    """Keeps the first and the last bytes of what comes."""

    def __init__(self) -> None:
        """Begin."""
        self.first = self.last = b""

    def take(self, data: memoryview) -> None:
        """Take what came."""
        if len(self.first) < LOOKED_AT:
            self.first += bytes(data[:LOOKED_AT])
        self.last = (self.last + bytes(data[-LOOKED_AT:]))[-LOOKED_AT:]

    def check(self, start: int, length: int) -> None:
        """Raise RuntimeError unless these are the bytes of that range."""
        pattern = bytes(range(256))
        wanted = (pattern[start % 256 :] + pattern)[:LOOKED_AT]
        at = (start + length - LOOKED_AT) % 256
        if self.first[:LOOKED_AT] != wanted or self.last != (pattern[at:] + pattern)[:LOOKED_AT]:
            raise RuntimeError("what was read is not what was sent")


class Reader:
    """One connection and what it is to read."""

    def __init__(self, order: dict[str, Any], number: int) -> None:
        """Connect; `number` is that of the connection."""
        place = (order["place"][0], order["place"][1])
        self._place = place
        self._host = f"{place[0]}:{place[1]}"
        self._socket = wire.connect(place)
        self._is_used = False
        self._buffer = memoryview(bytearray(MOST))
        self._path = order["paths"][number % len(order["paths"])]
        self._size = order["size"]
        self._piece = order["piece"]
        self._ranges = range(number, order["ranges"], order["connections"])
        self._whole = not order["ranges"]
        self.bytes = 0

    def run(self) -> None:
        """Read everything, one thing after the other."""
        if self._whole:
            self._read({}, OK, 0, self._size)
        for number in self._ranges:
            start = number // self._ranges.step * self._piece % self._size
            fields = {"Range": f"bytes={start}-{start + self._piece - 1}"}
            self._read(fields, PARTIAL, start, self._piece)

    def _read(self, fields: dict[str, str], status: int, start: int, length: int) -> None:
        request, ends = wire.head("GET", self._path, self._host, fields), Ends()
        how = partial(fetch, request=request, status=status, buffer=self._buffer, take=ends.take)
        try:
            count = how(self._socket)
        except ConnectionError:
            if not self._is_used:
                raise
            # Not every server keeps connections.
            self._socket = wire.connect(self._place)
            count = how(self._socket)
        self._is_used = True
        if count != length:
            raise Refused(status)
        ends.check(start, length)
        self.bytes += count


def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """Read on all connections; give what came, and how long it took."""
    readers = [Reader(order, number) for number in range(order["connections"])]
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(readers)) as pool:
        list(pool.map(Reader.run, readers))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "bytes": sum(one.bytes for one in readers), "refused": None}


def main() -> None:
    """Carry out the order."""
    try:
        answer = carry_out(json.load(sys.stdin))
    except Refused as why:
        answer = {"refused": why.args[0]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
