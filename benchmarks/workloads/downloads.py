"""Reading files back: a whole one, and ranges of it."""

from __future__ import annotations

from uuid import uuid4

from benchmarks.clients import drive, wire
from benchmarks.sample import GIB, MIB, Sample, Scale, higher, lower
from benchmarks.servers import Running, Unavailable
from benchmarks.workloads import TUS_PEERS, Workload

SERVERS = ("tusserver:process", *TUS_PEERS, "nginx")

SIZE = 256 * MIB
READS = 4
"""How often the whole file is read in a run: once is too short to tell the CPU time."""
RANGES = 64
TURNS = 8
PIECE = MIB
CONNECTIONS = 16


async def _whole(server: Running, scale: Scale) -> Sample:
    size = scale.size(SIZE)
    paths = await _stored(server, 1, size)
    return await _read(server, paths, size, {"ranges": 0, "piece": 0, "connections": 1}, READS)


async def _ranges(server: Running, scale: Scale) -> Sample:
    """Read ranges, each connection of a file of its own: tusd locks a file that is read."""
    size = max(1, scale.size(SIZE) // CONNECTIONS // PIECE) * PIECE
    count = scale.count(RANGES * TURNS, least=CONNECTIONS)
    ranges = {"ranges": count, "piece": PIECE, "connections": CONNECTIONS}
    paths = await _stored(server, CONNECTIONS, size)
    return await _read(server, paths, size, ranges, 1)


async def _stored(server: Running, count: int, size: int) -> list[str]:
    """Fill some files; give their paths."""
    is_put = "put" in server.abilities
    if is_put:
        paths = [f"/{uuid4().hex}" for _ in range(count)]
    else:
        paths = [wire.create(server.place, server.path, size) for _ in range(count)]
    order = {"place": server.place, "paths": paths, "size": size, "piece": size}
    await drive("bulk", order | {"verb": "PUT" if is_put else "PATCH"})
    await server.quiet()
    return paths


async def _read(
    server: Running, paths: list[str], size: int, what: dict[str, int], times: int
) -> Sample:
    """Have it read so often. Raises: Unavailable when the server does not do that."""
    order = {"place": server.place, "paths": paths, "size": size, **what}
    before, seconds, total = server.cpu(), 0.0, 0
    for _ in range(times):
        done = await drive("fetch", order)
        if done["refused"] is not None:
            raise Unavailable(f"it does not give what is asked (status {done['refused']})")
        seconds += done["seconds"]
        total += done["bytes"]
    await server.quiet()
    took = server.cpu() - before
    return {
        "speed": higher(total / MIB / seconds, "MiB/s"),
        "cpu": lower(took / (total / GIB), "s/GiB"),
    }


WORKLOADS = [
    Workload("download", "a GET of 256 MiB, 4 times", _whole, SERVERS, needs="bytes", main=False),
    Workload(
        "ranges",
        "512 GETs of ranges of 1 MiB on 16 connections",
        _ranges,
        SERVERS,
        needs="bytes",
        main=False,
    ),
]
