"""docs/conformance.md is made from the results of runs, and a person looked at every red cell."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conformance import matrix
from conformance.clauses import read_clauses

ROOT = Path(__file__).resolve().parents[2]
CLAUSES = read_clauses()
SERVERS = matrix.read_servers()
EACH = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.key)


def test_page_is_what_the_results_give() -> None:
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.render(SERVERS, CLAUSES), (
        "run `python3 -m conformance.matrix --write`"
    )


def test_three_servers_of_others_and_ours_were_looked_at() -> None:
    ours = [server for server in SERVERS if server.name.startswith("tusserver")]

    assert len(ours) == 2, "with its state on disk, and in Redis"
    assert len(SERVERS) - len(ours) >= 3


@EACH
def test_results_name_version_date_and_command(server: matrix.Server) -> None:
    assert re.search(r"\d+\.\d+", server.version)
    assert datetime(2026, 1, 1, tzinfo=UTC) < server.started < datetime.now(UTC)
    assert server.command
    assert server.run.startswith("python3 -m conformance http://127.0.0.1:")


@EACH
def test_results_hold_every_row_and_no_fault_of_the_suite(server: matrix.Server) -> None:
    assert set(server.outcomes) == set(CLAUSES)
    assert "error" not in server.outcomes.values()


@EACH
def test_every_red_cell_has_a_verdict_and_a_request(server: matrix.Server) -> None:
    red = server.red(CLAUSES)

    assert set(server.verdicts) == set(red), "a verdict for each red cell, and for no other"
    for clause_id in red:
        assert len(server.verdicts[clause_id]) > 20
        assert all(failure.request for failure in server.failures[clause_id])


@EACH
def test_nothing_tells_of_the_machine_that_ran_it(server: matrix.Server) -> None:
    text = (matrix.RESULTS / f"{server.key}.json").read_text(encoding="utf-8")

    assert not re.search(r"/(tmp|root|home|work)/", f"{text} {server.command} {server.note}")


def test_our_server_has_no_red_cell() -> None:
    for server in SERVERS:
        if server.name.startswith("tusserver"):
            assert server.red(CLAUSES) == []


def test_other_ways_are_no_violations() -> None:
    policy = {one for one, clause in CLAUSES.items() if clause.level in {"P", "C"}}

    assert all(policy.isdisjoint(server.red(CLAUSES)) for server in SERVERS)


def test_results_of_every_file_are_shown() -> None:
    files = {path.stem for path in matrix.RESULTS.glob("*.json")}

    assert files == {server.key for server in SERVERS}
