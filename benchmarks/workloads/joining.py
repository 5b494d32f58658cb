"""Files sent in parts that the server joins: at once, and over a slow way."""

from __future__ import annotations

from benchmarks.clients import drive
from benchmarks.clients.talk import talking
from benchmarks.sample import MIB, Sample, Scale, higher, lower
from benchmarks.servers import Running, Unavailable
from benchmarks.workloads import OURS, Workload

SERVERS = (*OURS, "tusd", "rustus", "tus-node-server", "tuspyserver")

PARTS = 16
PART = 8 * MIB

FILE = 100_000_000
WAYS = 4
ROUND_TRIP = 0.08
RATE = 10_000_000
"""Bytes a second that the way lets through on each connection."""


async def _sixteen(server: Running, scale: Scale) -> Sample:
    """Fill 16 parts, join them, read the whole."""
    size = scale.size(PARTS * PART)
    await server.quiet()
    before = server.cpu()
    order = {"place": server.place, "path": server.path, "size": size}
    done = await _joined(order | {"parts": PARTS, "read": True})
    await server.quiet()
    took = server.cpu() - before
    return {
        "answered": lower((done["made"] - done["sent"]) * 1000, "ms until 201"),
        "complete": lower((done["whole"] - done["sent"]) * 1000, "ms until HEAD tells it"),
        "readable": lower((done["read"] - done["sent"]) * 1000, "ms until it was read"),
        "cpu": lower(took, "s"),
    }


async def _far(server: Running, scale: Scale) -> Sample:
    """Send a file as one stream, and one in four parts, through a slow way."""
    size = scale.size(FILE)
    order = {"place": server.place, "path": server.path, "size": size, "read": False}
    way = {"to": server.place, "round_trip": ROUND_TRIP, "rate": RATE}
    async with talking("distance", way) as proxy:
        order["connect"] = (await proxy.say("place"))["place"]
        one = (await _joined(order | {"parts": 1}))["whole"]
        four = (await _joined(order | {"parts": WAYS}))["whole"]
    return {
        "one": lower(one, "s as one stream"),
        "four": lower(four, "s as four parts"),
        "faster": higher(one / four, "times"),
    }


async def _joined(order: dict[str, object]) -> dict[str, float]:
    """Have a file sent. Raises: Unavailable when the server does not join parts."""
    done = await drive("parts", order)
    if done["refused"] is not None:
        raise Unavailable(f"it does not join parts (status {done['refused']})")
    return done


WORKLOADS = [
    Workload(
        "joining",
        "16 parts of 8 MiB, joined by the server and read back",
        _sixteen,
        SERVERS,
        needs="concatenation",
        main=False,
    ),
    Workload(
        "far",
        "100 MB as one stream and as 4 parts, 80 ms and 10 MB/s a connection away",
        _far,
        SERVERS,
        needs="concatenation",
        most_rounds=1,
    ),
]
