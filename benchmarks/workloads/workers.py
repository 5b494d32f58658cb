"""Small uploads with one worker process and with two."""

from __future__ import annotations

from benchmarks.workloads import Workload
from benchmarks.workloads.small import run

NAMES = ("process", "process:redis")
SERVERS = tuple(f"tusserver:{name}:{count}" for name in NAMES for count in (1, 2))

WORKLOADS = [
    Workload(
        "workers",
        "small uploads with one and with two worker processes, in local state and in Redis",
        run,
        SERVERS,
        main=False,
    ),
]
