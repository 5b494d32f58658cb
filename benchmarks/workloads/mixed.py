"""Large and small together: what small requests wait while large bodies are received."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.clients import drive, wire
from benchmarks.clients.bulk import warm_pages
from benchmarks.sample import GIB, MIB, Sample, Scale, higher, lower, percentile
from benchmarks.workloads import OURS, TUS_PEERS

if TYPE_CHECKING:
    from benchmarks.servers import Running

NAME = "mixed"
TITLE = "4 uploads of 512 MiB, and small uploads on 4 connections as long as they run"
SERVERS = (*OURS, "tusserver:process:2", *TUS_PEERS)

LARGE = 4
SIZE = 512 * MIB
CONNECTIONS = 4
SMALL = 4096


async def run(server: Running, scale: Scale) -> Sample:
    """Send both; CPU is that of all together, so it is told for what was large."""
    size = scale.size(SIZE)
    paths = [wire.create(server.place, server.path, size) for _ in range(LARGE)]
    await asyncio.to_thread(warm_pages, server.directory.parent, size * LARGE)
    await server.quiet()
    before = server.cpu()
    large = {"place": server.place, "paths": paths, "size": size, "piece": size, "verb": "PATCH"}
    small = {"place": server.place, "path": server.path, "connections": CONNECTIONS, "size": SMALL}
    done = await drive("mixed", {"large": large, "small": small})
    await server.quiet()
    took = server.cpu() - before
    verbs: dict[str, list[float]] = done["small"]["took"]
    every = [one for some in verbs.values() for one in some]
    total = size * LARGE
    sample = {
        "speed": higher(total / MIB / done["large"]["seconds"], "MiB/s"),
        "p50": lower(percentile(every, 0.5), "ms"),
        "p99": lower(percentile(every, 0.99), "ms"),
        "rate": higher(done["small"]["uploads"] / done["small"]["seconds"], "small/s"),
        "cpu": lower(took / (total / GIB), "s/GiB with the small"),
    }
    for verb, some in verbs.items():
        sample[f"{verb} p99"] = lower(percentile(some, 0.99), "ms")
    return sample
