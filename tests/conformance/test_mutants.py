"""The suite is right about a correct server, and notices every defect of the broken ones."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.clauses import read_clauses
from conformance.mutants import MUTANTS, TinyTus
from conformance.mutants.verify import Catch, catch, examine
from conformance.runner import ERROR, FAIL, PASS, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def _complaints(found: Run) -> list[str]:
    return [
        f"{result.check} ({', '.join(result.clauses)}): {result.text}"
        for result in found.results
        if result.outcome in {FAIL, ERROR}
    ]


@pytest.mark.timeout(90)
def test_the_correct_tiny_server_passes_the_whole_suite() -> None:
    found = examine(TinyTus())
    assert _complaints(found) == []
    assert len(found.results) > 100


@pytest.mark.timeout(60)
def test_the_correct_tiny_server_keeps_its_times() -> None:
    found = examine(TinyTus(lifetime=2.0, patience=1.5), "EXP,CORE-PATCH-18")
    assert _complaints(found) == []
    assert found.outcome("EXP-06") == found.outcome("CORE-PATCH-18") == PASS


def test_the_correct_tiny_server_keeps_its_limit() -> None:
    found = examine(TinyTus(max_size=2**20), "CRE-10,CAT-15,DEF-08,DEF-09")
    assert _complaints(found) == []
    assert found.outcome("DEF-09") == found.outcome("CAT-15") == PASS


@pytest.fixture(scope="module")
def catches(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Catch]]]:
    """Look at the mutants that are asked for, several at once: most of the time is waiting."""
    tests = [one for one in request.session.items if one.name.startswith("test_a_broken_server")]
    names = [one.callspec.params["name"] for one in tests]
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield {name: pool.submit(catch, MUTANTS[name], whole=False) for name in names}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_server_is_caught(name: str, catches: dict[str, Future[Catch]]) -> None:
    mutant, caught = MUTANTS[name], catches[name].result()
    assert caught.by, (
        f"no check of {', '.join(mutant.clauses)} fails on {name}: {mutant.defect}"
        f" What fails besides: {', '.join(caught.besides) or 'nothing'}."
    )


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_says_what_is_wrong_with_it_and_which_clauses_see_it(name: str) -> None:
    mutant = MUTANTS[name]
    assert mutant.defect.endswith(".")
    assert mutant.clauses
    assert set(mutant.clauses) <= set(read_clauses())


def test_the_command_lists_the_mutants_and_refuses_unknown_names() -> None:
    command = [sys.executable, "-m", "conformance.mutants"]
    listed = subprocess.run(
        [*command, "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(MUTANTS)
    refused = subprocess.run(
        [*command, "no-such-mutant"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "no-such-mutant" in refused.stdout


@pytest.mark.timeout(60)
def test_verifying_prints_which_check_caught_which_mutant() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "conformance.mutants", "head-may-be-cached", "--verify"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("head-may-be-cached ")
    assert "head." in done.stdout
    assert "1 of 1 mutants" in done.stdout


def test_a_mutant_can_be_started_by_its_name() -> None:
    command = [sys.executable, "-m", "conformance.mutants", "head-may-be-cached", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert line.startswith("http://127.0.0.1:")
    assert line.strip().endswith("instead of no-store.")
