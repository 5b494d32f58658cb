"""Runs of large bodies: the measuring that several workloads have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.clients import drive, wire
from benchmarks.sample import GIB, MIB, Sample, higher, lower

if TYPE_CHECKING:
    from benchmarks.servers import Running


async def send_large(
    server: Running,
    *,
    size: int,
    uploads: int = 1,
    piece: int | None = None,
    algorithm: str | None = None,
) -> Sample:
    """Fill some uploads at the same time; each in one request, or in such of `piece` bytes."""
    is_put = "put" in server.abilities
    if is_put:
        paths = [f"/{uuid4().hex}" for _ in range(uploads)]
    else:
        paths = [wire.create(server.place, server.path, size) for _ in range(uploads)]
    await server.quiet()
    before = server.cpu()
    done = await drive(
        "bulk",
        {
            "place": server.place,
            "paths": paths,
            "size": size,
            "piece": piece or size,
            "verb": "PUT" if is_put else "PATCH",
            "algorithm": algorithm,
            "warm": str(server.directory.parent),
        },
    )
    await server.quiet()
    took = server.cpu() - before
    total = size * uploads
    return {
        "cpu": lower(took / (total / GIB), "s/GiB"),
        "speed": higher(total / MIB / done["seconds"], "MiB/s"),
        "peak": lower(server.peak() / MIB, "MiB"),
    }
