"""The results as data, for programs and for the page."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from conformance.report import totals
from conformance.reproduce import one_line, show_response, show_sent

if TYPE_CHECKING:
    from conformance.runner import Result, Row, Run

FORMAT = 1


def as_data(run: Run) -> dict[str, Any]:
    """Give a run as plain data: the sums, and each row with what its checks found."""
    started = datetime.fromtimestamp(run.started, UTC)
    return {
        "format": FORMAT,
        "url": run.url,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 1),
        "extensions": list(run.extensions),
        "violations": [row.clause_id for row in run.violations],
        "totals": {word: dict(counts) for word, counts in totals(run).items()},
        "rows": [_row(row) for row in run.rows],
    }


def as_json(run: Run) -> str:
    """Give a run as JSON text."""
    return json.dumps(as_data(run), indent=1, ensure_ascii=False) + "\n"


def _row(row: Row) -> dict[str, Any]:
    return {
        "id": row.clause_id,
        "level": row.clause.level,
        "word": row.clause.word,
        "outcome": row.outcome,
        "says": row.clause.text,
        "source": row.clause.source,
        "checks": [_result(result) for result in row.results],
    }


def _result(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = {
        "check": result.check,
        "about": result.about,
        "outcome": result.outcome,
        "text": result.text,
        "seconds": round(result.seconds, 2),
    }
    exchange = result.culprit
    if exchange is not None:
        data["sent"] = show_sent(exchange)
        data["came_back"] = show_response(exchange)
        data["try"] = one_line(result.exchanges, exchange)
    return data
