"""Large bodies: one PATCH of 1 GiB, several at the same time, and uploads in many PATCHes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bulk import send_large
from benchmarks.sample import GIB, MIB, Sample, Scale
from benchmarks.workloads import LEVELS, OURS, TUS_PEERS, Workload

if TYPE_CHECKING:
    from benchmarks.servers import Running

SERVERS = (*OURS, *TUS_PEERS, "nginx")
ALL_LEVELS = (*LEVELS, *TUS_PEERS)


async def _one(server: Running, scale: Scale) -> Sample:
    return await send_large(server, size=scale.size(GIB))


async def _four(server: Running, scale: Scale) -> Sample:
    return await send_large(server, size=scale.size(256 * MIB), uploads=4)


async def _sixteen(server: Running, scale: Scale) -> Sample:
    return await send_large(server, size=scale.size(64 * MIB), uploads=16)


async def _eight_mib(server: Running, scale: Scale) -> Sample:
    return await send_large(server, size=scale.size(256 * MIB), piece=8 * MIB)


async def _one_mib(server: Running, scale: Scale) -> Sample:
    return await send_large(server, size=scale.size(256 * MIB), piece=MIB)


WORKLOADS = [
    Workload(
        "large", "one upload of 1 GiB in one PATCH", _one, (*ALL_LEVELS, "nginx"), needs="bytes"
    ),
    Workload("parallel-4", "4 uploads of 256 MiB at the same time", _four, SERVERS, needs="bytes"),
    Workload(
        "parallel-16", "16 uploads of 64 MiB at the same time", _sixteen, SERVERS, needs="bytes"
    ),
    Workload("pieces-8", "an upload of 256 MiB in PATCHes of 8 MiB", _eight_mib, ALL_LEVELS),
    Workload("pieces-1", "an upload of 256 MiB in PATCHes of 1 MiB", _one_mib),
]
