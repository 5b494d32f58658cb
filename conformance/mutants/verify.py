"""Run the suite against mutants and tell which check catches which."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.mutants.register import MUTANTS, Mutant
from conformance.runner import FAIL, Result, Run, run
from conformance.target import Settings, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.mutants.server import TinyTus

SHORT = 10.0  # seconds; what the server does after less than that, the suite waits for
MARGIN = 3.5  # seconds that the suite waits longer
TIMEOUT = 2.5  # seconds in which a mutant answers, or it has failed


@dataclass(frozen=True)
class Catch:
    """What the suite found wrong with a mutant, by the names of checks."""

    mutant: Mutant
    by: tuple[str, ...]
    """Those of the clauses that the mutant names: none, and it got away."""
    besides: tuple[str, ...]
    """Those that fail as well."""


@contextlib.contextmanager
def serving(server: TinyTus) -> Iterator[str]:
    """Serve in a thread of this process; give the creation URL."""
    with server.listen() as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}{server.prefix}/"
        finally:
            listening.shutdown()
            thread.join()


def examine(server: TinyTus, only: str = "", *, timeout: float = 10.0) -> Run:
    """Run the suite, or the checks of some clauses, against a server made for it."""
    settings = Settings(
        timeout=timeout,
        expiry_wait=server.lifetime + MARGIN if server.lifetime < SHORT else 0.0,
        stall_wait=server.patience + MARGIN if server.patience < SHORT else 0.0,
    )
    with serving(server) as url:
        return run(Target(url, settings), only=only)


def catch(mutant: Mutant, *, whole: bool) -> Catch:
    """Run the whole suite, or only what the mutant names, and sort out what failed."""
    only = "" if whole else ",".join(mutant.clauses)
    found = examine(mutant.make(), only, timeout=TIMEOUT)
    failed = [result for result in found.results if result.outcome == FAIL]
    by = [result.check for result in failed if _is_named(result, mutant)]
    besides = [result.check for result in failed if not _is_named(result, mutant)]
    return Catch(mutant, tuple(by), tuple(besides))


def _is_named(result: Result, mutant: Mutant) -> bool:
    return not set(result.clauses).isdisjoint(mutant.clauses)


def verify(names: Sequence[str]) -> int:
    """Run the whole suite against mutants, print a table, give the number that got away."""
    escaped = 0
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for caught in pool.map(_catch_whole, names):
            escaped += not caught.by
            print(row(caught), flush=True)
    print(f"{len(names) - escaped} of {len(names)} mutants were caught by a clause of theirs.")
    return min(escaped, 1)


def _catch_whole(name: str) -> Catch:
    return catch(MUTANTS[name], whole=True)


def row(caught: Catch) -> str:
    """Tell in one line what caught a mutant."""
    by = ", ".join(caught.by) or f"NOTHING of {', '.join(caught.mutant.clauses)}"
    more = f" (and {len(caught.besides)} more)" if caught.besides else ""
    return f"{caught.mutant.name:<32} {by}{more}"
