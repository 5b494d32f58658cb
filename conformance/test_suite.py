"""The suite as pytest runs it; see conftest.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.clauses import read_clauses
from conformance.report import failure_lines
from conformance.runner import ERROR, FAIL, PASS, run_check

if TYPE_CHECKING:
    from conformance.check import Check
    from conformance.target import Target


def test_clause(tus_check: Check, tus_target: Target) -> None:
    """Run one check; what is not announced or not applicable is skipped."""
    result = run_check(tus_check, tus_target)
    if result.outcome in {FAIL, ERROR}:
        clauses = read_clauses()
        says = [
            f"  {name} ({clauses[name].word}) {clauses[name].source}: {clauses[name].text}"
            for name in result.clauses
        ]
        lines = [f"{result.about} {result.text}", *says, *failure_lines(result)]
        pytest.fail("\n".join(lines), pytrace=False)
    if result.outcome != PASS:
        pytest.skip(f"{result.outcome}: {result.text}")
