"""A store full of uploads: how it starts, what requests take, what the sweeper does to them.

The uploads are made by the server's own code while it is down (see `stores.py`), and then some more
that are expired. A steady load of small requests goes on before and while those are removed.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.clients.talk import talking
from benchmarks.sample import Sample, Scale, lower, percentile
from benchmarks.stores import LENGTH, fill
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.servers import Running

SERVERS = ("tusserver:normal", "tusserver:normal:redis")
COUNT = 100_000
EXPIRED = 10_000
RATE = 100.0
SECONDS = 10.0
PATIENCE = 0.05
"""Seconds that removing one upload may take."""
LOOK_EVERY = 0.05
NO_SWEEP = "--sweep-interval=1h"
SWEEP_NOW = ("--sweep-interval=1h", "--sweep-grace=0s")


async def _run(count: int, server: Running, scale: Scale) -> Sample:
    count, expired = scale.count(count, least=1000), scale.count(EXPIRED, least=100)
    old = await _filled(server, count)
    started = server.restart(NO_SWEEP)
    await server.quiet(30.0)
    load = partial(_under_load, server, old)
    cpu = server.cpu()
    seconds = scale.seconds(SECONDS)
    quiet, requests = await load(partial(asyncio.sleep, seconds))
    cpu = server.cpu() - cpu
    await server.end()
    await fill(server.directory, server.state, expired, expired=True)
    restarted = server.restart(*SWEEP_NOW)
    before = time.perf_counter()
    swept, _ = await load(partial(_until_swept, server, expired))
    sweeping = time.perf_counter() - before
    return {
        "start": lower(started, "s"),
        "start with expired": lower(restarted, "s"),
        "sweep": lower(sweeping, "s"),
        "cpu": lower(cpu / requests * 1000, "ms/request"),
        **_figures("", quiet),
        **_figures(" sweeping", swept),
    }


def _figures(when: str, took: dict[str, list[float]]) -> Sample:
    """Tell what requests took."""
    every = [one for some in took.values() for one in some]
    sample = {f"p99{when}": lower(percentile(every, 0.99), "ms")}
    for name, some in took.items():
        sample[f"{name} p50{when}"] = lower(percentile(some, 0.5), "ms")
        sample[f"{name} p99{when}"] = lower(percentile(some, 0.99), "ms")
    return sample


async def _filled(server: Running, count: int) -> list[str]:
    """End the server and let its store have so many uploads; give the paths of some.

    The store stays from round to round; how many were made stands beside it.
    """
    note = server.directory.parent / "filled"
    made: dict[str, list[str]] = json.loads(note.read_text()) if note.exists() else {}
    await server.end()
    there = int(made.get("count", ["0"])[0])
    paths = made.get("paths", [])
    if there < count:
        some = await fill(server.directory, server.state, count - there, expired=False)
        paths += [server.path + upload_id for upload_id in some]
        note.write_text(json.dumps({"count": [str(count)], "paths": paths}))
    return paths


async def _under_load(
    server: Running, old: list[str], until: Callable[[], Awaitable[None]]
) -> tuple[dict[str, list[float]], int]:
    """Send requests until something has happened; give what they took, and how many there were."""
    order = {"place": server.place, "path": server.path, "rate": RATE, "size": LENGTH, "old": old}
    async with talking("steady", order) as client:
        await client.say("begin")
        await until()
        done = await client.say("end")
    if done["failed"]:
        raise RuntimeError(f"{done['failed']} uploads of the steady load failed")
    took: dict[str, list[float]] = done["took"]
    return took, sum(map(len, took.values()))


async def _until_swept(server: Running, count: int) -> None:
    """Wait until the server says that it swept so many uploads."""
    deadline = time.monotonic() + max(60.0, count * PATIENCE)
    while time.monotonic() < deadline:
        log = server.log.read_text(errors="replace")
        if sum(map(int, re.findall(r"swept ([0-9]+) uploads", log))) >= count:
            return
        await asyncio.sleep(LOOK_EVERY)
    raise TimeoutError("the sweeper did not come to its end")


WORKLOADS = [
    Workload(
        "store",
        "a store of 100,000 uploads: start, requests, requests while 10,000 more are removed",
        partial(_run, COUNT),
        SERVERS,
        main=False,
    ),
    Workload(
        "store-million",
        "a store of 1,000,000 uploads: the same",
        partial(_run, 10 * COUNT),
        SERVERS,
        main=False,
    ),
]
