"""The plain report: a line for each check while they run, a table, and every failure."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from conformance.clauses import LEVELS
from conformance.reproduce import one_line, show_response, show_sent
from conformance.runner import (
    ERROR,
    FAIL,
    NOT_ANNOUNCED,
    NOT_APPLICABLE,
    NOT_LOOKED_AT,
    PASS,
    UNTESTED,
)

if TYPE_CHECKING:
    from conformance.runner import Result, Row, Run

OUTCOMES = (PASS, FAIL, ERROR, NOT_ANNOUNCED, NOT_APPLICABLE, UNTESTED)
_COLOURS = {PASS: "32", FAIL: "31;1", ERROR: "35;1"}


class Console:
    """Writes a run for a person."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Write to `out` (standard output if None), in colours where that is a terminal."""
        self._out = out or sys.stdout
        self._in_colour = self._out.isatty()

    def _paint(self, text: str, outcome: str) -> str:
        colour = _COLOURS.get(outcome, "2")
        return f"\x1b[{colour}m{text}\x1b[0m" if self._in_colour else text

    def progress(self, result: Result) -> None:
        """Write one line for one check."""
        text = "" if result.outcome == PASS else f": {result.text.splitlines()[-1][:200]}"
        outcome = self._paint(f"{result.outcome:<14}", result.outcome)
        print(f"{outcome} {result.check}{text}", file=self._out, flush=True)

    def finish(self, run: Run) -> None:
        """Write the table, the failures and the sum."""
        self._table(run)
        for row in run.rows:
            if row.outcome in {FAIL, ERROR}:
                self._failures(row)
        self._sum(run)

    def _table(self, run: Run) -> None:
        width = max((len(row.clause_id) for row in run.rows), default=0)
        print(file=self._out)
        for row in run.rows:
            outcome = self._paint(f"{row.outcome:<14}", row.outcome)
            print(
                f"{row.clause_id:<{width}}  {row.clause.word:<7}  {outcome}  {row.clause.text}",
                file=self._out,
            )

    def _failures(self, row: Row) -> None:
        clause = row.clause
        for result in row.results:
            if result.outcome not in {FAIL, ERROR} or result.text.startswith(NOT_LOOKED_AT):
                continue
            title = f"{clause.clause_id} ({clause.word}) {result.check}: {result.about}"
            lines = [
                "",
                self._paint(title, result.outcome),
                f"  {result.text}",
                f"  says: {clause.source}: {clause.text}",
                *failure_lines(result),
            ]
            print("\n".join(lines), file=self._out)

    def _sum(self, run: Run) -> None:
        print(file=self._out)
        for word, counts in totals(run).items():
            found = ", ".join(f"{counts[one]} {one}" for one in OUTCOMES if counts[one])
            print(f"{word:<8} {found}", file=self._out)
        checks = f"{len(run.results)} checks in {run.seconds:.1f} s"
        verdict = f"{len(run.violations)} MUST not met" if run.violations else "no MUST violated"
        print(f"{checks}: {verdict}", file=self._out)


def failure_lines(result: Result) -> list[str]:
    """Write what was sent, what came back and how to see it again."""
    exchange = result.culprit
    if exchange is None:
        return []
    return [
        "  sent:",
        *(f"    > {line}" for line in show_sent(exchange)),
        "  came back:",
        *(f"    < {line}" for line in show_response(exchange)),
        f"  try: {one_line(result.exchanges, exchange)}",
    ]


def totals(run: Run) -> dict[str, Counter[str]]:
    """Count the outcomes of the rows for each level."""
    counts: dict[str, Counter[str]] = {word: Counter() for word in dict.fromkeys(LEVELS.values())}
    for row in run.rows:
        counts[row.clause.word][row.outcome] += 1
    return {word: count for word, count in counts.items() if count}
