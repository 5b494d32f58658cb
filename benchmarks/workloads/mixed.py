"""Large and small together: what small requests wait while large bodies are received."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.clients import drive, wire
from benchmarks.clients.bulk import warm_pages
from benchmarks.machine import write_out
from benchmarks.sample import GIB, MIB, Sample, Scale, higher, lower, percentile
from benchmarks.workloads import OURS, TUS_PEERS, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.servers import Running

LARGE = 4
SIZE = 512 * MIB
SIZE_ON_SLOW = 64 * MIB
SLOW = 100.0
"""MiB/s that a disk syncs at most which is slow."""
CONNECTIONS = 4
SMALL = 4096


async def _quick(server: Running, scale: Scale) -> Sample:
    size = scale.size(SIZE)
    warm = partial(warm_pages, server.directory.parent, size * LARGE)
    return await _run(server, size, warm)


async def _slow(server: Running, scale: Scale) -> Sample:
    return await _run(server, scale.size(SIZE_ON_SLOW), partial(_need_slow, server.directory))


def _need_slow(directory: Path) -> None:
    """Raise RuntimeError if the disk is quick, having waited until it has written all it had."""
    write_out(directory)
    path, size, begun = directory.parent / "how-slow", 16 * MIB, time.perf_counter()
    with path.open("wb") as file:
        file.write(bytes(size))
        os.fsync(file.fileno())
    path.unlink()
    speed = size / MIB / (time.perf_counter() - begun)
    if speed > SLOW:
        raise RuntimeError(
            f"a disk of {speed:.0f} MiB/s is not slow: the page tells how to make one"
        )


async def _run(server: Running, size: int, prepare: Callable[[], None]) -> Sample:
    """Send both; CPU is that of all together, so it is told for what was large."""
    paths = [wire.create(server.place, server.path, size) for _ in range(LARGE)]
    await asyncio.to_thread(prepare)
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


WORKLOADS = [
    Workload(
        "mixed",
        "4 uploads of 512 MiB, and small uploads on 4 connections as long as they run",
        _quick,
        (*OURS, "tusserver:process:2", *TUS_PEERS),
    ),
    Workload(
        "slow-disk",
        "4 uploads of 64 MiB to a disk of 50 MB/s, and small uploads on 4 connections meanwhile",
        _slow,
        (*OURS, "tus-node-server", "tusd"),
        main=False,
    ),
]
