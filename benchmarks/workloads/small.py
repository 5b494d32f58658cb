"""Small uploads: a POST, a PATCH of 4 KiB and a HEAD each, on 32 connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.clients import drive
from benchmarks.naming import FLOOR
from benchmarks.sample import Sample, Scale, higher, lower, percentile
from benchmarks.workloads import LEVELS, TUS_PEERS, Workload

if TYPE_CHECKING:
    from benchmarks.servers import Running

CONNECTIONS = 32
SIZE = 4096
SECONDS = 2.5
TWO = "tusserver:process:2"
"""Two worker processes: tusd and rustus use every processor by default."""
REDIS = ("tusserver:process:redis", "tusserver:normal:redis")


async def run(server: Running, scale: Scale) -> Sample:
    """Send small uploads for a while; Redis counts with its server."""
    before = server.cpu()
    done = await drive(
        "small",
        {
            "place": server.place,
            "path": server.path,
            "connections": CONNECTIONS,
            "seconds": scale.seconds(SECONDS),
            "size": SIZE,
        },
    )
    await server.quiet()
    took = server.cpu() - before
    verbs: dict[str, list[float]] = done["took"]
    every = [one for some in verbs.values() for one in some]
    sample = {
        "rate": higher(done["uploads"] / done["seconds"], "/s"),
        "cpu": lower(took / done["uploads"] * 1000, "ms/upload"),
        "p50": lower(percentile(every, 0.5), "ms"),
        "p99": lower(percentile(every, 0.99), "ms"),
    }
    for verb, some in verbs.items():
        sample[f"{verb} p50"] = lower(percentile(some, 0.5), "ms")
        sample[f"{verb} p99"] = lower(percentile(some, 0.99), "ms")
    return sample


WORKLOADS = [
    Workload(
        "small",
        "uploads of 4 KiB (POST, PATCH and HEAD) on 32 connections",
        run,
        (*LEVELS, *REDIS, TWO, *TUS_PEERS, FLOOR),
    ),
]
