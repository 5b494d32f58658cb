"""Sends small uploads, each a POST, a PATCH and a HEAD, on some connections at the same time.

Order: `place`, `path`, `connections`, `seconds`, `size` of an upload. Answer: `uploads`, `seconds`,
and `took`: the milliseconds of each request by verb. No upload is begun once the time is over;
those that were are finished.
"""

from __future__ import annotations

import json
import select
import sys
import time

from benchmarks.clients import wire

EXPECTED = {"POST": b"201", "PATCH": b"204", "HEAD": b"200"}
NEXT = {"POST": "PATCH", "PATCH": "HEAD", "HEAD": "POST"}


class Sender:
    """One connection, with one request at a time."""

    def __init__(self, place: tuple[str, int], path: str, size: int) -> None:
        """Connect, and prepare what can be."""
        self.socket = wire.connect(place)
        self.socket.setblocking(False)  # noqa: FBT003 - the library's
        host = f"{place[0]}:{place[1]}"
        creation = {"Upload-Length": str(size), "Upload-Metadata": wire.METADATA}
        typed = {"Upload-Offset": "0", "Content-Length": str(size), **wire.TYPED}
        self._create = wire.head("POST", path, host, {**creation, "Content-Length": "0"})
        self._append = _cut(wire.head("PATCH", "*", host, typed) + bytes(size))
        self._describe = _cut(wire.head("HEAD", "*", host, {}))
        self._where = b""
        self._data = b""
        self._place = place
        self.verb = "HEAD"
        self.began = 0.0
        self.is_watched = False
        """Whether the poll knows the connection."""

    def _connect_anew(self) -> None:
        self.socket.close()
        self.socket = wire.connect(self._place)
        self.socket.setblocking(False)  # noqa: FBT003 - the library's
        self.is_watched = False

    def next(self) -> None:
        """Send what comes next in the life of an upload."""
        self.verb = NEXT[self.verb]
        if self.verb == "POST":
            data = self._create
        else:
            first, rest = self._append if self.verb == "PATCH" else self._describe
            data = first + self._where + rest
        self.began = time.perf_counter()
        self._send(data)

    def _repeat(self) -> None:
        """Send a HEAD on another connection; the clock goes on.

        Some servers close connections without a word: rustus does after some bodies.
        """
        if self.verb != "HEAD" or self._data:
            raise ConnectionError(self.verb, self._data)
        self._connect_anew()
        first, rest = self._describe
        self._send(first + self._where + rest)

    def _send(self, data: bytes) -> None:
        if self.socket.send(data) != len(data):
            raise BlockingIOError("a small request does not fit")

    def is_answered(self) -> bool:
        """Read what is there; tell whether the answer has come as a whole."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._repeat()
            return False
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or not self._is_whole(end):
            return False
        if self._data[9:12] != EXPECTED[self.verb]:
            raise RuntimeError(self._data)
        if self.verb == "POST":
            self._where = wire.location(wire.parse(self._data[:end])).encode()
        if b"\r\nconnection: close" in self._data[:end].lower():
            self._connect_anew()
        self._data = b""
        return True

    def _is_whole(self, end: int) -> bool:
        if self.verb == "HEAD" or self._data[9:12] == b"204":
            return True
        head = self._data[:end].lower()
        if b"chunked" in head:
            return self._data.endswith(b"0\r\n\r\n")
        _, found, rest = head.partition(b"content-length:")
        length = int(rest.partition(b"\r")[0]) if found else 0
        return len(self._data) >= end + 4 + length


def _cut(request: bytes) -> tuple[bytes, bytes]:
    first, _, rest = request.partition(b"*")
    return first, rest


def run(senders: list[Sender], seconds: float) -> tuple[float, dict[str, list[float]]]:
    """Send until the time is over; give how long it took, and what each request took."""
    took: dict[str, list[float]] = {verb: [] for verb in EXPECTED}
    poll = select.epoll()
    by_number: dict[int, Sender] = {}
    busy = set(senders)
    begin = time.perf_counter()
    end = begin + seconds
    for one in senders:
        _watch(poll, by_number, one)
        one.next()
    while busy:
        for number, _ in poll.poll(30.0) or _late():
            one = by_number[number]
            if one not in busy:  # Its server closes what is idle; its next request would tell.
                poll.unregister(number)
            elif one.is_answered():
                now = time.perf_counter()
                took[one.verb].append((now - one.began) * 1000)
                _watch(poll, by_number, one)
                if one.verb == "HEAD" and now >= end:
                    busy.remove(one)
                else:
                    one.next()
            else:
                _watch(poll, by_number, one)
    poll.close()
    for one in senders:
        one.is_watched = False
    return time.perf_counter() - begin, took


def _watch(poll: select.epoll, by_number: dict[int, Sender], one: Sender) -> None:
    """Watch a connection that is new; the poll has forgotten the one before when it was closed."""
    if not one.is_watched:
        one.is_watched = True
        by_number[one.socket.fileno()] = one
        poll.register(one.socket, select.EPOLLIN)


def _late() -> list[tuple[int, int]]:
    raise TimeoutError("no answer for 30 seconds")


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    place = (order["place"][0], order["place"][1])
    senders = [Sender(place, order["path"], order["size"]) for _ in range(order["connections"])]
    seconds, took = run(senders, order["seconds"])
    json.dump({"uploads": len(took["HEAD"]), "seconds": seconds, "took": took}, sys.stdout)


if __name__ == "__main__":
    main()
