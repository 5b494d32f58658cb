"""Going on while the server still holds a connection that is dead and does not know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.clients import drive
from benchmarks.sample import MIB, Sample, Scale, lower, percentile
from benchmarks.workloads import OURS, TUS_PEERS, Workload

if TYPE_CHECKING:
    from benchmarks.servers import Running

SERVERS = (*OURS, "tusserver:process:2", *TUS_PEERS)
COUNT = 8
SIZE = 2 * MIB
NEVER = 10.0
"""What counts for an upload that did not go on within this time, in seconds."""


async def _silent(server: Running, scale: Scale) -> Sample:
    return await _run(server, scale, 1.0)


async def _at_once(server: Running, scale: Scale) -> Sample:
    return await _run(server, scale, 0.0)


async def _run(server: Running, scale: Scale, silent: float) -> Sample:
    order = {"place": server.place, "path": server.path, "size": SIZE, "silent": silent}
    order["patience"] = NEVER
    done = await drive("halfopen", order | {"count": scale.count(COUNT)})
    took = done["took"] + [NEVER] * done["given_up"]
    return {
        "p50": lower(percentile(took, 0.5), "s"),
        "slowest": lower(max(took), "s"),
        "refused": lower(done["refused"] / len(took), "refusals/upload"),
    }


WORKLOADS = [
    Workload(
        "half-open",
        "from HEAD to an accepted PATCH while the old connection hangs open, silent for a second",
        _silent,
        SERVERS,
        main=False,
    ),
    Workload(
        "half-open-new",
        "the same, the old connection having sent its last byte just before",
        _at_once,
        SERVERS,
        main=False,
    ),
]
