"""PATCHes with a checksum: what sha1 and sha256 add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bulk import send_large
from benchmarks.sample import MIB, Sample, Scale, lower
from benchmarks.workloads import OURS, Workload

if TYPE_CHECKING:
    from benchmarks.servers import Running

SIZE = 256 * MIB
PIECE = 8 * MIB


async def run(server: Running, scale: Scale) -> Sample:
    """Send the same without a checksum and with each: the difference is what hashing costs."""
    size = scale.size(SIZE)
    sample: Sample = {}
    for algorithm in ("sha1", "sha256", None):
        found = await send_large(server, size=size, piece=PIECE, algorithm=algorithm)
        name = algorithm or "none"
        sample |= {f"{name} cpu": found["cpu"], f"{name} speed": found["speed"]}
    for algorithm in ("sha1", "sha256"):
        more = sample[f"{algorithm} cpu"].value - sample["none cpu"].value
        sample[f"{algorithm} more"] = lower(more, "s/GiB")
    return sample


WORKLOADS = [
    Workload(
        "checksums",
        "an upload of 256 MiB in PATCHes of 8 MiB, without a checksum and with each",
        run,
        (*OURS, "rustus"),
        needs="checksum",
    ),
]
