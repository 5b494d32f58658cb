"""Keeps many uploads open at the same time, each a PATCH that gets a little now and then.

Order: `place`, `path`, `size` of an upload. Words: `create` (`count`), `open` (`count`: the next of
those that were created, with the first chunk of each), `chunk` (`seconds`: one more chunk for each
that is open, spread over this time), `lost` (how many were answered or closed), `resume` (`count`:
disconnects all, then goes on with so many of them).
"""

from __future__ import annotations

import resource
import select
import time
from typing import TYPE_CHECKING, Any

from benchmarks.clients import wire
from benchmarks.clients.talk import obey

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

CHUNK = bytes(1024)
AT_ONCE = 25
"""Connections that are made without a pause: a server's queue is not endless."""
PAUSE = 0.01
AGAIN = 0.2
TRIES = 50


class Uploads:
    """The uploads of one run."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Take the order; nothing is sent yet."""
        self.place = (order["place"][0], order["place"][1])
        self.path = order["path"]
        self.size = order["size"]
        self.host = f"{self.place[0]}:{self.place[1]}"
        self.created: list[str] = []
        self.open: list[tuple[str, socket.socket]] = []
        self.sent: dict[str, int] = {}

    def create(self, count: int) -> dict[str, Any]:
        """Create uploads, one after the other."""
        for _ in range(count):
            self.created.append(wire.create(self.place, self.path, self.size))
        return {"created": len(self.created)}

    def begin(self, count: int) -> dict[str, Any]:
        """Open a PATCH for each of the next uploads, and send its first chunk."""
        begun = len(self.open)
        for path in _in_steps(self.created[begun : begun + count]):
            connection = wire.connect(self.place)
            connection.sendall(self._patch(path, 0, self.size) + CHUNK)
            self.open.append((path, connection))
            self.sent[path] = len(CHUNK)
        return {"open": len(self.open)}

    def chunk(self, seconds: float) -> dict[str, Any]:
        """Send a chunk on each connection."""
        begin = time.perf_counter()
        for number, (path, connection) in enumerate(self.open):
            due = begin + seconds * number / len(self.open)
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            connection.sendall(CHUNK)
            self.sent[path] += len(CHUNK)
        return {"sent": len(self.open)}

    def lost(self) -> dict[str, Any]:
        """Count the connections on which the server has already said something."""
        poll = select.poll()
        for _, connection in self.open:
            poll.register(connection, select.POLLIN)
        return {"lost": len(poll.poll(0))}

    def resume(self, count: int) -> dict[str, Any]:
        """Disconnect all; count the uploads that kept every byte, and those that go on."""
        for _, connection in self.open:
            connection.close()
        step = max(1, len(self.open) // count)
        some = [path for path, _ in self.open][::step][:count]
        kept = resumed = 0
        for path in some:
            offset = self._offset(path)
            kept += offset == self.sent[path]
            resumed += offset is not None and self._goes_on(path, offset)
        return {"tried": len(some), "kept": kept, "resumed": resumed}

    def _offset(self, path: str) -> int | None:
        """Ask for the offset, again while what was sent last may still be on its way."""
        offset = None
        for _ in range(TRIES):
            answer = self._ask(wire.head("HEAD", path, self.host, {}), bodyless=True)
            told = answer.headers.get("upload-offset")
            if answer.status < 300 and told is not None:  # noqa: PLR2004 - any success
                offset = int(told)
                if offset == self.sent[path]:
                    break
            time.sleep(AGAIN)
        return offset

    def _goes_on(self, path: str, offset: int) -> bool:
        answer = self._ask(self._patch(path, offset, len(CHUNK)) + CHUNK)
        return answer.status == 204  # noqa: PLR2004 - No Content

    def _ask(self, request: bytes, *, bodyless: bool = False) -> wire.Answer:
        """Send a request on a connection of its own: not every server keeps them."""
        with wire.connect(self.place) as connection:
            connection.sendall(request)
            return wire.read(connection, bodyless=bodyless)

    def _patch(self, path: str, offset: int, length: int) -> bytes:
        fields = {"Upload-Offset": str(offset), "Content-Length": str(length), **wire.TYPED}
        return wire.head("PATCH", path, self.host, fields)


def _in_steps(paths: Sequence[str]) -> Iterator[str]:
    for number, path in enumerate(paths):
        if number % AT_ONCE == AT_ONCE - 1:
            time.sleep(PAUSE)
        yield path


def make(order: dict[str, Any]) -> dict[str, Any]:
    """Give what each word does."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uploads = Uploads(order)
    return {
        "create": uploads.create,
        "open": uploads.begin,
        "chunk": uploads.chunk,
        "lost": uploads.lost,
        "resume": uploads.resume,
    }


if __name__ == "__main__":
    obey(make)
