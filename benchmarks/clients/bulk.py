"""Sends large bodies: some uploads at the same time, each in one PATCH or in several.

Order: `place`, `paths` (one an upload), `size` of an upload, `piece` (bytes a request), `verb`
(PATCH or PUT), `algorithm` (a checksum of each piece, or null), `warm` (a directory of the server's
disk, see `warm_pages`, or null). Answer: `seconds` from the first byte until the last answer.

Bytes come from one prepared buffer that stays in the cache of the processor. Checksums are computed
before the clock starts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.clients import wire

if TYPE_CHECKING:
    import socket

BUFFER = memoryview(bytes(range(256)) * 1024)
"""What all bodies are made of, repeated."""


def pieces(order: dict[str, Any], path: str) -> list[tuple[bytes, int]]:
    """Give the heads of the requests of an upload, and how long their bodies are."""
    size, piece = order["size"], order["piece"]
    host = "{}:{}".format(*order["place"])
    found = []
    digests: dict[int, str] = {}
    for offset in range(0, size, piece):
        length = min(piece, size - offset)
        fields = {"Content-Length": str(length)}
        if order["verb"] == "PATCH":
            fields |= {"Upload-Offset": str(offset), **wire.TYPED}
        if algorithm := order.get("algorithm"):
            if length not in digests:
                digests[length] = digest(algorithm, length)
            fields["Upload-Checksum"] = digests[length]
        found.append((wire.head(order["verb"], path, host, fields), length))
    return found


def digest(algorithm: str, length: int) -> str:
    """Give the value of Upload-Checksum for a body of this length."""
    whole = hashlib.new(algorithm)
    for start in range(0, length, len(BUFFER)):
        whole.update(BUFFER[: length - start])
    return f"{algorithm} {base64.b64encode(whole.digest()).decode()}"


def send(connection: socket.socket, requests: list[tuple[bytes, int]]) -> None:
    """Send the requests of one upload, each when the one before was answered."""
    place = connection.getpeername()
    is_open = True
    for head, length in requests:
        if not is_open:
            connection.close()
            connection = wire.connect(place)
        first = BUFFER[:length]
        sent = connection.sendmsg([head, first])
        if sent < len(head) + len(first):
            connection.sendall(memoryview(head + bytes(first))[sent:])
        left = length - len(first)
        while left > 0:
            connection.sendall(BUFFER[:left])
            left -= len(BUFFER)
        answer = wire.check(wire.read(connection), 200, 201, 204)
        is_open = answer.headers.get("connection", "").lower() != "close"


def warm_pages(directory: Path, size: int) -> None:
    """Write and drop so many bytes, so that no page that follows is touched for the first time.

    Virtual machines give free pages back to their host after two seconds, and getting them again
    is dear: call it just before the pages are needed.
    """
    path = directory / "warm-pages"
    with path.open("wb") as file:
        for start in range(0, size, len(BUFFER)):
            file.write(BUFFER[: size - start])
    os.truncate(path, 0)


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    place = (order["place"][0], order["place"][1])
    work = [(wire.connect(place), pieces(order, path)) for path in order["paths"]]
    failed: list[BaseException] = []

    def run(connection: socket.socket, requests: list[tuple[bytes, int]]) -> None:
        try:
            send(connection, requests)
        except BaseException as why:
            failed.append(why)
            raise

    if order.get("warm"):
        warm_pages(Path(order["warm"]), order["size"] * len(order["paths"]))
    threads = [threading.Thread(target=run, args=one) for one in work]
    before = time.perf_counter()
    if len(work) == 1:
        run(*work[0])
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seconds = time.perf_counter() - before
    if failed:
        sys.exit(1)
    json.dump({"seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
