"""What is sent to the servers, one module a family of workloads.

A module has either `WORKLOADS`, or `NAME`, `TITLE` and `run`, and perhaps `SERVERS`, `MAIN` and
`NEEDS`; all modules of this folder are found by themselves. See `Workload` for what they mean.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.sample import Sample, Scale
from benchmarks.servers import Running

Run = Callable[[Running, Scale], Awaitable[Sample]]

LEVELS = ("tusserver:process", "tusserver:normal", "tusserver:strict")
OURS = ("tusserver:process", "tusserver:normal")
TUS_PEERS = ("tus-node-server", "tuspyserver", "tusd", "rustus")
"""Peers that speak tus; nginx takes PUT, where a workload can do that, too."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that is sent to one server at a time, the same to each."""

    name: str
    title: str
    """What it is, for the page: a phrase without a full stop."""
    run: Run
    """Sends it once and gives the figures. Files stay; nothing else of the run may."""
    servers: tuple[str, ...] = (*OURS, *TUS_PEERS)
    """Names of servers (see `servers.py`), ours first: they are what others are divided by."""
    main: bool = True
    """Whether it belongs to the run that is made for each release."""
    needs: str = "tus"
    """An ability that a server must have: bytes (all nginx has), tus, concatenation, checksum."""
    fresh: bool = False
    """Whether each round is to have a server that has just been started."""
    most_rounds: int = 1000
    """Rounds that are enough, where they take long and differ little."""


def find() -> dict[str, Workload]:
    """Give all workloads by their names."""
    found: list[Workload] = []
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        if hasattr(module, "WORKLOADS"):
            found += module.WORKLOADS
        else:
            names = ("servers", "main", "needs", "fresh", "most_rounds")
            more = {
                name: getattr(module, name.upper())
                for name in names
                if hasattr(module, name.upper())
            }
            found.append(Workload(module.NAME, module.TITLE, module.run, **more))
    return {one.name: one for one in found}
