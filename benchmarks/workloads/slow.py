"""Many slow uploads at the same time: what each costs while it is open."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

from benchmarks.clients.talk import talking
from benchmarks.sample import MIB, Sample, Scale, higher, lower
from benchmarks.workloads import OURS, TUS_PEERS

if TYPE_CHECKING:
    from benchmarks.servers import Running

NAME = "slow"
TITLE = "2,000 open PATCHes that get 1 KiB every other second"
SERVERS = (OURS[0], *TUS_PEERS)
"""What is not noted on a disk costs no memory: one level of durability is enough."""
FRESH = True
MOST_ROUNDS = 1

COUNT = 2000
WARM = 0.05
"""The share that is open before memory is looked at first: what the first request of all costs is
no cost of an upload."""
ROUNDS = 3
SECONDS = 2.0
TRIED = 100
FILES = 4
"""Open files that a server may need for an upload: connection, data, record, lock."""
SETTLED = 1.5
"""Seconds after which what an upload has got has been noted, at whatever pace that is done."""


async def run(server: Running, scale: Scale) -> Sample:
    """Open them, let them trickle, cut them off, and go on with some."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // FILES
    count = min(scale.count(COUNT, least=50), most)
    warm, rounds = max(10, int(count * WARM)), scale.count(ROUNDS)
    order = {"place": server.place, "path": server.path, "size": MIB}
    async with talking("slow", order) as client:
        await client.say("create", count=warm + count)
        await client.say("open", count=warm)
        await client.say("chunk", seconds=0.5)
        await _settle(server)
        before = server.rss()
        await client.say("open", count=count)
        await _settle(server)
        cpu = server.cpu()
        for _ in range(rounds):
            await client.say("chunk", seconds=scale.seconds(SECONDS))
            await _settle(server)
        took = server.cpu() - cpu
        memory = server.rss() - before
        lost = (await client.say("lost"))["lost"]
        done = await client.say("resume", count=min(TRIED, count))
    return {
        "memory": lower(memory / 1024 / count, "KiB/upload"),
        "cpu": lower(took / (rounds * (warm + count)) * 1e6, "us/chunk"),
        "lost": lower(lost, "uploads"),
        "kept": higher(done["kept"] / done["tried"] * 100, "%"),
        "resumed": higher(done["resumed"] / done["tried"] * 100, "%"),
    }


async def _settle(server: Running) -> None:
    await asyncio.sleep(SETTLED)
    await server.quiet()
