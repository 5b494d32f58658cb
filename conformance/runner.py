"""Running the checks: several at once, each with a record of its own."""

from __future__ import annotations

import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import conformance.checks  # noqa: F401 - registers the checks
from conformance.check import CHECKS, Check, NotApplicable, Unable, Violation
from conformance.clauses import Clause, choose, read_clauses
from conformance.pulse import Pulse
from conformance.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.target import Target
    from conformance.wire import Exchange

PASS = "pass"  # noqa: S105 - an outcome
FAIL = "fail"
NOT_ANNOUNCED = "not announced"
NOT_APPLICABLE = "not applicable"
ERROR = "error"
UNTESTED = "untested"

NOT_LOOKED_AT = "not looked at, the server answers no more"
"""How the text of an error begins that is only the end of the server."""

_WORST_FIRST = (ERROR, FAIL, PASS, NOT_APPLICABLE, NOT_ANNOUNCED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one check found."""

    check: str
    about: str
    """One sentence: what is checked."""
    clauses: tuple[str, ...]
    outcome: str
    text: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    culprit: Exchange | None = None
    """The exchange that shows the failure."""
    seconds: float = 0.0
    is_silence: bool = False
    """Whether it failed because no answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clause, with what its checks found."""

    clause: Clause
    outcome: str
    results: list[Result]

    @property
    def clause_id(self) -> str:
        """Give the id of the clause."""
        return self.clause.clause_id

    @property
    def is_violation(self) -> bool:
        """Tell whether a demand of the specification itself is not met."""
        return self.clause.level == "M" and any(one.outcome == FAIL for one in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run over a server: rows in the order of the table."""

    url: str
    rows: list[Row]
    results: list[Result]
    started: float
    """Seconds since the epoch."""
    seconds: float
    extensions: tuple[str, ...] = ()
    gone: str = ""
    """Why the server answered no more before the end; empty if it did."""

    def outcome(self, clause_id: str) -> str:
        """Give the outcome of a clause."""
        return next(row.outcome for row in self.rows if row.clause_id == clause_id)

    @property
    def violations(self) -> list[Row]:
        """Give the rows whose MUST failed."""
        return [row for row in self.rows if row.is_violation]


def chosen_checks(only: str = "", profile: str = "all") -> list[Check]:
    """Give the checks with a clause among those asked for, or with such a name."""
    rows = choose(read_clauses(), only, profile)
    names = {item.strip() for item in only.split(",")}
    return [
        one for one in CHECKS if names & {one.name} or any(clause in rows for clause in one.clauses)
    ]


def run(
    target: Target,
    *,
    only: str = "",
    profile: str = "all",
    on_result: Callable[[Result], None] | None = None,
) -> Run:
    """Run the checks; `only` is a comma list of beginnings of clause ids (or names of checks).

    `on_result` is called for each result as it comes, never twice at the same time.
    """
    started = time.time()
    wanted = chosen_checks(only, profile)
    beside = [one for one in wanted if not one.is_alone]
    pulse = Pulse(target)
    results: list[Result] = []

    def note(result: Result) -> None:
        results.append(result)
        if on_result is not None:
            on_result(result)

    with ThreadPoolExecutor(max_workers=target.settings.jobs) as pool:
        for result in pool.map(lambda one: _look(one, target, pulse), beside):
            note(result)
    for one in wanted:
        if one.is_alone:
            note(_look(one, target, pulse))
    return Run(
        url=target.url,
        rows=_rows(results, only, profile),
        results=results,
        started=started,
        seconds=time.time() - started,
        extensions=tuple(sorted(target.announced.extensions)),
        gone=pulse.gone(),
    )


def _look(one: Check, target: Target, pulse: Pulse) -> Result:
    """Run a check unless the server is gone: who ended it is to blame, not who came after."""
    if pulse.gone():
        return _result(one, ERROR, f"{NOT_LOOKED_AT}: {pulse.gone()}")
    result = run_check(one, target)
    if result.is_silence and not pulse.feel() and pulse.gone():
        return replace(result, outcome=ERROR, text=f"{NOT_LOOKED_AT}: {pulse.gone()}")
    return result


def run_check(one: Check, target: Target) -> Result:
    """Run one check."""
    missing = [extension for extension in one.needs if not target.has(extension)]
    if missing:
        text = f"{', '.join(missing)} not in Tus-Extension"
        return _result(one, NOT_ANNOUNCED, text)
    own = target.fork()
    begun = time.monotonic()
    outcome, text, response, is_silence = PASS, "", None, False
    try:
        one.function(own)
    except NotApplicable as moot:
        outcome, text = NOT_APPLICABLE, str(moot)
    except Unable as unable:
        outcome, text = ERROR, str(unable)
    except Violation as violation:
        outcome, text, response = FAIL, violation.text, violation.response
    except (WireError, OSError) as error:
        outcome, text = FAIL, f"expected a response: {error}"
        is_silence = True
    except Exception:  # noqa: BLE001 - a fault of the suite must not end the run
        outcome, text = ERROR, traceback.format_exc(limit=-3)
    own.tidy()
    _hide(own)
    culprit = _culprit(own.exchanges, response) if outcome in {FAIL, ERROR} else None
    exchanges = own.exchanges if culprit is not None else []
    result = _result(one, outcome, text, exchanges=exchanges, culprit=culprit)
    return replace(result, seconds=time.monotonic() - begun, is_silence=is_silence)


def _result(
    one: Check,
    outcome: str,
    text: str,
    *,
    exchanges: list[Exchange] | None = None,
    culprit: Exchange | None = None,
) -> Result:
    return Result(
        check=one.name,
        about=one.text,
        clauses=one.clauses,
        outcome=outcome,
        text=text,
        exchanges=exchanges or [],
        culprit=culprit,
    )


def _hide(target: Target) -> None:
    """Take the values of the run's own fields, credentials mostly, out of the record."""
    for exchange in target.exchanges:
        for value in filter(None, target.settings.headers.values()):
            exchange.sent = exchange.sent.replace(value.encode("utf-8"), b"(hidden)")


def _culprit(exchanges: list[Exchange], response: object) -> Exchange | None:
    for exchange in exchanges:
        known = exchange.response
        if known is not None and response is not None and known.fields is response.fields:  # type: ignore[attr-defined]
            return exchange
    faults = [exchange for exchange in exchanges if exchange.fault]
    return faults[-1] if faults else exchanges[-1] if exchanges else None


def _rows(results: list[Result], only: str, profile: str) -> list[Row]:
    clauses = read_clauses()
    rows = choose(clauses, only, profile)
    by_name = {item.strip() for item in only.split(",")}
    for result in results:
        if result.check in by_name:
            rows |= {clause_id: clauses[clause_id] for clause_id in result.clauses}
    return [_row(clause, results) for clause in clauses.values() if clause.clause_id in rows]


def _row(clause: Clause, results: list[Result]) -> Row:
    own = [result for result in results if clause.clause_id in result.clauses]
    outcomes = {result.outcome for result in own}
    worst = next((outcome for outcome in _WORST_FIRST if outcome in outcomes), UNTESTED)
    return Row(clause=clause, outcome=worst, results=own)
