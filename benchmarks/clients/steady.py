"""Sends requests at a steady rate, whatever the server does.

Each upload is a POST, a PATCH, a HEAD, and a HEAD of an upload that was there before.

Order: `place`, `path`, `rate` (requests a second), `size` of an upload, `old` (paths of uploads).
Words: `begin`, and `end` (gives `took`: the milliseconds of each request by what it was, from the
moment in which it was due; and `failed`, how many were not answered as they should).
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import Any

from benchmarks.clients import wire
from benchmarks.clients.talk import obey

THREADS = 16
STEPS = 4
SUCCESS = range(200, 300)


class Load:
    """A steady stream of uploads."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Take the order; nothing is sent yet."""
        self._place = (order["place"][0], order["place"][1])
        self._host = "{}:{}".format(*order["place"])
        self._path = order["path"]
        self._size = order["size"]
        self._pause = STEPS / order["rate"]
        self._old = itertools.cycle(order["old"])
        self._due: queue.Queue[float | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self.took: dict[str, list[float]] = {"POST": [], "PATCH": [], "HEAD": [], "HEAD old": []}
        self.failed = 0

    def begin(self) -> dict[str, Any]:
        """Begin to send."""
        self._threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        self._threads.append(threading.Thread(target=self._tick))
        for thread in self._threads:
            thread.start()
        return {}

    def end(self) -> dict[str, Any]:
        """Send what is due, and no more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return {"took": self.took, "failed": self.failed}

    def _tick(self) -> None:
        """Say when uploads are due."""
        begin = time.perf_counter()
        for number in itertools.count():
            due = begin + number * self._pause
            if self._stopped.wait(max(0.0, due - time.perf_counter())):
                break
            self._due.put(due)
        for _ in range(THREADS):
            self._due.put(None)

    def _work(self) -> None:
        with wire.connect(self._place) as connection:
            while (due := self._due.get()) is not None:
                try:
                    self._upload(connection, due)
                except (OSError, RuntimeError, KeyError):
                    self.failed += 1
                    return

    def _upload(self, connection: Any, due: float) -> None:
        """Send one upload: what is late from the beginning counts for its first request."""
        creation = {"Upload-Length": str(self._size), "Upload-Metadata": wire.METADATA}
        body = {"Upload-Offset": "0", "Content-Length": str(self._size), **wire.TYPED}

        def send(name: str, verb: str, path: str, fields: dict[str, str], data: bytes) -> str:
            before = due if name == "POST" else time.perf_counter()
            connection.sendall(wire.head(verb, path, self._host, fields) + data)
            answer = wire.check(wire.read(connection, bodyless=verb == "HEAD"), *SUCCESS)
            self.took[name].append((time.perf_counter() - before) * 1000)
            return wire.location(answer) if verb == "POST" else ""

        path = send("POST", "POST", self._path, {**creation, "Content-Length": "0"}, b"")
        send("PATCH", "PATCH", path, body, bytes(self._size))
        send("HEAD", "HEAD", path, {}, b"")
        send("HEAD old", "HEAD", next(self._old), {}, b"")


def make(order: dict[str, Any]) -> dict[str, Any]:
    """Give what each word does."""
    load = Load(order)
    return {"begin": load.begin, "end": load.end}


if __name__ == "__main__":
    obey(make)
