"""Measure our server beside its peers.

    python -m benchmarks --prepare
    python -m benchmarks [--only large,small] [--servers tusserver,nginx] [--rounds 3] [--quick]
                         [--tusd PATH] [--rustus PATH] [--write]
    python -m benchmarks --report

Without --only it runs the workloads of the page's main table; --all runs every workload, --list
names them. Peers that are not there are left out. docs/performance.md tells what is measured;
--write puts what was found into it (plots need `pip install --group bench`), --report makes it anew
from what was found before.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import workloads
from benchmarks.machine import describe
from benchmarks.peers import prepare
from benchmarks.plots import plot
from benchmarks.report import FOLDER, headlines, plot_name, write_page
from benchmarks.results import Result, load, save
from benchmarks.rounds import Conditions, Outcome, measure
from benchmarks.sample import Scale
from benchmarks.servers import ROOT, Paths, version
from benchmarks.tables import print_outcome

QUICK = 1 / 64
FILES = 65_536


def main(words: list[str] | None = None) -> int:
    """Read the arguments and do what they say."""
    arguments = own_parser().parse_args(words)
    found = workloads.find()
    if arguments.list:
        for one in found.values():
            print(f"{one.name:20} {'' if one.main else '(--all) '}{one.title}")
        return 0
    if arguments.prepare:
        prepare()
        return 0
    if arguments.report:
        report(arguments.docs, load(arguments.docs / FOLDER))
        return 0
    if arguments.write and arguments.servers:
        print("--write needs all servers: ratios hold within one run", file=sys.stderr)
        return 2
    if unknown := set(arguments.only) - found.keys():
        print(f"no such workload: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    _raise_limit()
    # However it is ended, its servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions(
        directory=arguments.dir,
        paths=Paths(arguments.tusd, arguments.rustus),
        scale=Scale(QUICK if arguments.quick else arguments.scale),
        rounds=1 if arguments.quick else arguments.rounds,
        servers=tuple(arguments.servers),
    )
    for one in found.values():
        if one.name in arguments.only or (not arguments.only and (one.main or arguments.all)):
            print(f"{one.name}: {one.title}", flush=True)
            before = time.monotonic()
            outcome = asyncio.run(measure(one, conditions))
            print_outcome(outcome)
            print(f"  ({time.monotonic() - before:.0f} s)", flush=True)
            if arguments.write and outcome.rounds:
                result = keep(outcome, conditions)
                save(result, arguments.docs / FOLDER)
                report(arguments.docs, {result.workload: result})
    return 0


def keep(outcome: Outcome, conditions: Conditions) -> Result:
    """Put with what was measured how it was measured."""
    kinds = dict.fromkeys(name.partition(":")[0] for name in outcome.rounds)
    return Result(
        workload=outcome.workload,
        title=outcome.title,
        date=datetime.now(UTC).date().isoformat(),
        rounds=max(len(values) for one in outcome.rounds.values() for values in one.values()),
        scale=conditions.scale.factor,
        machine=describe(conditions.directory),
        versions={kind: version(kind, conditions.paths) for kind in kinds},
        metrics=outcome.metrics,
        servers=outcome.rounds,
        missing={name: why.partition("\n")[0] for name, why in outcome.missing.items()},
    )


def report(docs: Path, plotted: dict[str, Result]) -> None:
    """Write the page, and the plots of these workloads; plots of what is gone go."""
    kept = load(docs / FOLDER).values()
    known = {plot_name(one, metric) for one in kept for metric in headlines(one)}
    for path in (docs / FOLDER).glob("*.svg"):
        if path.name not in known:
            path.unlink()
    try:
        for result in plotted.values():
            for metric in headlines(result):
                plot(result, metric, docs / FOLDER, plot_name(result, metric))
    except ModuleNotFoundError as why:
        print(f"plots are left as they were ({why}); pip install --group bench", file=sys.stderr)
    write_page(docs)


def own_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--prepare", action="store_true", help="install the peers that registries have, and end")
    add("--write", action="store_true", help="put what is measured into the page")
    add("--report", action="store_true", help="make the page anew from its data, and end")
    add("--docs", type=Path, default=ROOT / "docs", help="where the page is (docs)")
    add("--list", action="store_true", help="name the workloads, and end")
    add("--only", type=_names, default=[], metavar="NAMES", help="workloads, with commas between")
    add("--all", action="store_true", help="also the workloads that are not in the main table")
    add("--servers", type=_names, default=[], metavar="NAMES", help="only these servers")
    add("--rounds", type=int, default=3, help="runs of each server (3)")
    add("--scale", type=float, default=1.0, help="share of each workload that is run (1.0)")
    add("--quick", action="store_true", help="one round of very little, to see that it works")
    add("--tusd", type=Path, metavar="PATH", help="the program of tusd")
    add("--rustus", type=Path, metavar="PATH", help="the program of rustus")
    add(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where servers write: on the disk that is to be measured",
    )
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _raise_limit() -> None:
    """Let this process and its servers have as many connections as some workloads need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    sys.exit(main())
