"""Goes on with uploads whose old connection hangs open: half a body was sent, then nothing.

Order: `place`, `path`, `size` of an upload, `count`, `silent` (seconds from the last byte of the
old connection until the client comes back), `patience` (seconds after which it gives up). Answer:
`took`, the seconds of each from the first HEAD until a PATCH with the rest was accepted (204),
`refused`, how often a PATCH or HEAD was refused on the way, and `given_up`, how many never went on.

The client does what clients do: HEAD, PATCH at the offset it was told; when that is refused, HEAD
again after a pause that grows. The old connection is closed only after that.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.clients import wire

PAUSE, LONGEST = 0.05, 1.0
FIRST = 65_536
"""Bytes that are sent at a time at the beginning, as far as the half of the body."""
SUCCESS = range(200, 300)


def one(order: dict[str, Any], _number: int) -> tuple[float | None, int]:
    """Do it with one upload; give the seconds, None if it never went on, and the refusals."""
    place = (order["place"][0], order["place"][1])
    size = order["size"]
    path = wire.create(place, order["path"], size)
    host = f"{place[0]}:{place[1]}"
    with wire.connect(place) as old:
        old.sendall(_patch(path, host, 0, size))
        for _ in range(0, size // 2, FIRST):
            old.sendall(bytes(FIRST))
        time.sleep(order["silent"])
        return _come_back(place, path, size, order["patience"])


def _come_back(
    place: tuple[str, int], path: str, size: int, patience: float
) -> tuple[float | None, int]:
    host = f"{place[0]}:{place[1]}"
    begin, pause, refused = time.perf_counter(), PAUSE, 0
    while (left := patience - (time.perf_counter() - begin)) > 0:
        try:
            with wire.connect(place, left) as new:
                new.sendall(wire.head("HEAD", path, host, {}))
                told = wire.read(new, bodyless=True)
                if told.status in SUCCESS:
                    offset = int(told.headers["upload-offset"])
                    new.sendall(_patch(path, host, offset, size - offset) + bytes(size - offset))
                    if wire.read(new).status in SUCCESS:
                        return time.perf_counter() - begin, refused
        except (TimeoutError, ConnectionError):
            pass
        refused += 1
        time.sleep(pause)
        pause = min(LONGEST, pause * 2)
    return None, refused


def _patch(path: str, host: str, offset: int, length: int) -> bytes:
    fields = {"Upload-Offset": str(offset), "Content-Length": str(length), **wire.TYPED}
    return wire.head("PATCH", path, host, fields)


def main() -> None:
    """Carry out the order."""
    order = json.load(sys.stdin)
    with ThreadPoolExecutor(order["count"]) as pool:
        done = list(pool.map(partial(one, order), range(order["count"])))
    took = [seconds for seconds, _ in done if seconds is not None]
    answer = {
        "took": took,
        "refused": sum(refused for _, refused in done),
        "given_up": len(done) - len(took),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
