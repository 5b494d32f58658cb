"""Running a workload: all servers in turn, round after round.

Machines are not the same from one minute to the next, so servers alternate, each round begins with
another one, and ratios are made within a round. Before it is measured a server is warmed up once.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.machine import write_out
from benchmarks.sample import Better, Sample, Scale
from benchmarks.servers import Paths, Running, Unavailable, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.workloads import Workload

Thing = TypeVar("Thing")

WARMING = Scale(1 / 64)


@dataclass(slots=True)
class Outcome:
    """What the rounds of one workload gave."""

    workload: str
    title: str
    metrics: dict[str, tuple[str, Better]] = field(default_factory=dict)
    """Unit, and which way is better."""
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By server and metric, a value a round."""
    missing: dict[str, str] = field(default_factory=dict)
    """Servers that were not measured, and why."""

    def add(self, server: str, sample: Sample) -> None:
        """Take what one run of a server gave."""
        mine = self.rounds.setdefault(server, {})
        for name, figure in sample.items():
            self.metrics[name] = (figure.unit, figure.better)
            mine.setdefault(name, []).append(figure.value)


@dataclass(frozen=True, slots=True)
class Conditions:
    """How workloads are run."""

    directory: Path
    """Where servers write: a disk, the same for all."""
    paths: Paths
    scale: Scale
    rounds: int
    servers: tuple[str, ...] = ()
    """Only these servers; empty for those that the workload names."""


async def measure(workload: Workload, conditions: Conditions) -> Outcome:
    """Run a workload for all its servers; what they wrote is removed at the end of it."""
    outcome = Outcome(workload.name, workload.title)
    names = _chosen(workload, conditions)
    with _folder(conditions.directory) as folder:
        if workload.fresh:
            await _with_new_servers(workload, conditions, names, folder, outcome)
        else:
            await _with_lasting_servers(workload, conditions, names, folder, outcome)
    return outcome


def _chosen(workload: Workload, conditions: Conditions) -> list[str]:
    """Give the servers of a workload of which there is one that was asked for.

    `tusserver` asks for all of ours; a name with words that the workload does not have is run, too.
    """
    wanted = conditions.servers
    if not wanted:
        return list(workload.servers)
    kinds = {name.partition(":")[0] for name in workload.servers}
    mine = [one for one in workload.servers if one in wanted or one.partition(":")[0] in wanted]
    more = [one for one in wanted if ":" in one and one.partition(":")[0] in kinds]
    return mine + [one for one in more if one not in mine]


async def _with_lasting_servers(
    workload: Workload, conditions: Conditions, names: list[str], folder: Path, outcome: Outcome
) -> None:
    running: list[Running] = []
    try:
        for name in names:
            server = _begin(workload, conditions, name, folder / _plain(name), outcome)
            if server is not None:
                running.append(server)
                try:
                    await workload.run(server, WARMING)
                except Exception as why:  # noqa: BLE001 - see below
                    _blame(server, outcome, why)
        for number in range(_rounds(workload, conditions)):
            for server in _turned(running, number):
                await _once(workload, conditions, server, outcome)
    finally:
        for server in running:
            _tell_warnings(server)
            server.stop()


async def _with_new_servers(
    workload: Workload, conditions: Conditions, names: list[str], folder: Path, outcome: Outcome
) -> None:
    for number in range(_rounds(workload, conditions)):
        for name in _turned(names, number):
            place = folder / f"{_plain(name)}-{number}"
            server = _begin(workload, conditions, name, place, outcome)
            if server is None:
                continue
            try:
                await _once(workload, conditions, server, outcome)
            finally:
                _tell_warnings(server)
                server.stop()


def _rounds(workload: Workload, conditions: Conditions) -> int:
    return min(workload.most_rounds, conditions.rounds)


def _begin(
    workload: Workload, conditions: Conditions, name: str, folder: Path, outcome: Outcome
) -> Running | None:
    try:
        server = start(name, folder, conditions.paths)
    except Unavailable as why:
        outcome.missing[name] = str(why)
        print(f"  {name}: left out: {why}", flush=True)
        return None
    if workload.needs in server.abilities:
        return server
    server.stop()
    outcome.missing[name] = f"it has no {workload.needs}"
    return None


async def _once(
    workload: Workload, conditions: Conditions, server: Running, outcome: Outcome
) -> None:
    if server.name in outcome.missing:
        return
    try:
        sample = await workload.run(server, conditions.scale)
    except Exception as why:  # noqa: BLE001 - one server's failure is not that of the run
        _blame(server, outcome, why)
        return
    server.release()
    write_out(server.directory)
    outcome.add(server.name, sample)
    figures = ", ".join(f"{name} {one.value:.4g} {one.unit}" for name, one in sample.items())
    print(f"  {server.name}: {figures}", flush=True)


def _tell_warnings(server: Running) -> None:
    """Print what a server has warned of: it may have run otherwise than it was meant to."""
    for line in server.log.read_text(errors="replace").splitlines():
        if " WARNING " in line:
            print(f"  {server.name} warned: {line}", flush=True)


def _blame(server: Running, outcome: Outcome, why: Exception) -> None:
    """Leave a server out that cannot do a workload, with all its rounds, and tell why."""
    outcome.rounds.pop(server.name, None)
    if isinstance(why, Unavailable):
        outcome.missing[server.name] = str(why)
        print(f"  {server.name}: left out: {why}", flush=True)
        return
    traceback.print_exception(why)
    print(server.log.read_text(errors="replace")[-2000:], file=sys.stderr, flush=True)
    outcome.missing[server.name] = f"failed: {why}"


def _turned(things: list[Thing], number: int) -> list[Thing]:
    """Begin with another one in each round."""
    cut = number % len(things) if things else 0
    return things[cut:] + things[:cut]


def _plain(name: str) -> str:
    return name.replace(":", "-")


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tus-bench-", dir=parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
