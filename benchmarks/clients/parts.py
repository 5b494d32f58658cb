"""Sends one file in parts at the same time and has the server join them.

Order: `place`, `path`, `size` of the file, `parts` (1: one plain upload), `connect` (another place
to connect to: a proxy), `read` (whether the file is read back). Answer, in seconds from the first
byte: `sent` (the last part was answered), `made` (201 for the whole), `whole` (HEAD tells that
every byte is there), `read` (the file was read back whole); and `refused`, the status of a server
that does not join parts, or null.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from benchmarks.clients import wire
from benchmarks.clients.bulk import BUFFER
from benchmarks.clients.fetch import MOST, OK, Refused, fetch

CREATED = 201
PATIENCE = 60.0
PAUSE = 0.02


class Joining:
    """One file on its way."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Take the order; nothing is sent yet."""
        place = order.get("connect") or order["place"]
        self.place = (place[0], place[1])
        self.host = "{}:{}".format(*order["place"])
        self.path = order["path"]
        self.size = order["size"]
        self.parts = order["parts"]
        self.urls: list[str] = [""] * self.parts

    def send(self, number: int) -> None:
        """Create and fill a part on a connection of its own."""
        start, end = (self.size * at // self.parts for at in (number, number + 1))
        fields = {"Upload-Length": str(end - start), "Content-Length": "0"}
        if self.parts > 1:
            fields["Upload-Concat"] = "partial"
        fields["Upload-Metadata"] = wire.METADATA
        connection = wire.connect(self.place)
        connection.sendall(wire.head("POST", self.path, self.host, fields))
        created = wire.read(connection)
        if created.status != CREATED:
            raise Refused(created.status)
        self.urls[number] = created.headers["location"]
        if created.headers.get("connection", "").lower() == "close":
            connection = wire.connect(self.place)
        fields = {"Upload-Offset": "0", "Content-Length": str(end - start), **wire.TYPED}
        path = wire.location(created)
        connection.sendall(wire.head("PATCH", path, self.host, fields))
        for at in range(start, end, len(BUFFER)):
            connection.sendall(BUFFER[: end - at])
        wire.check(wire.read(connection), 204)
        connection.close()

    def join(self) -> str:
        """Make the whole of the parts; give its path."""
        if self.parts == 1:
            return urlsplit(self.urls[0]).path
        listed = " ".join(urlsplit(url).path for url in self.urls)
        fields = {"Upload-Concat": f"final;{listed}", "Content-Length": "0"}
        fields["Upload-Metadata"] = wire.METADATA
        answer = self._ask("POST", self.path, fields)
        if answer.status != CREATED:
            raise Refused(answer.status)
        return wire.location(answer)

    def await_whole(self, path: str) -> None:
        """Ask until every byte is there."""
        deadline = time.perf_counter() + PATIENCE
        while time.perf_counter() < deadline:
            told = self._ask("HEAD", path, {}).headers
            if told.get("upload-offset") == str(self.size):
                return
            time.sleep(PAUSE)
        raise TimeoutError("the whole never came to be")

    def read_back(self, path: str) -> None:
        """Read the file; its parts must stand in the right order."""
        wanted, got = hashlib.sha1(usedforsecurity=False), hashlib.sha1(usedforsecurity=False)
        for number in range(self.parts):
            start, end = (self.size * at // self.parts for at in (number, number + 1))
            for at in range(start, end, len(BUFFER)):
                wanted.update(BUFFER[: end - at])
        with wire.connect(self.place) as connection:
            request, room = wire.head("GET", path, self.host, {}), memoryview(bytearray(MOST))
            fetch(connection, request, status=OK, buffer=room, take=got.update)
        if got.digest() != wanted.digest():
            raise RuntimeError("what was read is not what was sent")

    def _ask(self, verb: str, path: str, fields: dict[str, str]) -> wire.Answer:
        with wire.connect(self.place) as connection:
            connection.sendall(wire.head(verb, path, self.host, fields))
            return wire.read(connection, bodyless=verb == "HEAD")


def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """Send, join, look, read; give the times."""
    file = Joining(order)
    begin = time.perf_counter()
    passed: dict[str, float] = {}

    def note(name: str) -> None:
        passed[name] = time.perf_counter() - begin

    with ThreadPoolExecutor(file.parts) as pool:
        list(pool.map(file.send, range(file.parts)))
    note("sent")
    path = file.join()
    note("made")
    file.await_whole(path)
    note("whole")
    if order["read"]:
        file.read_back(path)
        note("read")
    return passed | {"refused": None}


def main() -> None:
    """Carry out the order."""
    try:
        answer = carry_out(json.load(sys.stdin))
    except Refused as why:
        answer = {"refused": why.args[0]}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
