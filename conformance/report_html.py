"""The results as one page without anything outside of it; no script."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from conformance.report import OUTCOMES
from conformance.report_json import as_data
from conformance.runner import ERROR, FAIL, Run

RED = frozenset({FAIL, ERROR})


def as_html(run: Run) -> str:
    """Give a run as a page."""
    data = as_data(run)
    failed = [row for row in data["rows"] if row["outcome"] in RED]
    title = f"tus conformance of {data['url']}"
    count = len(data["violations"])
    verdict = "no MUST violated" if not count else f"{count} MUST not met"
    parts = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="verdict {"bad" if count else "good"}">{verdict}</p>',
        f"<p>{escape(data['started'])}, {data['seconds']} s. Announced: ",
        escape(", ".join(data["extensions"]) or "no extension"),
        "</p></header><main>",
        _totals(data["totals"]),
        _failures(failed),
        _table(data["rows"]),
        "</main>",
    ]
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>\n{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _slug(outcome: str) -> str:
    return outcome.replace(" ", "-")


def _totals(totals: dict[str, dict[str, int]]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in OUTCOMES)
    rows = "".join(
        f'<tr><th scope="row">{escape(word)}</th>'
        + "".join(
            f'<td class="{_slug(one) if counts.get(one) else ""}">{counts.get(one, "")}</td>'
            for one in OUTCOMES
        )
        + "</tr>"
        for word, counts in totals.items()
    )
    return (
        '<section><h2>Sums</h2><div class="wide"><table class="sums"><thead><tr><th scope="col">'
        f"level</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _failures(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<section><h2>Failures</h2><p>None.</p></section>"
    cards = "".join(_failure(row) for row in rows)
    return f"<section><h2>Failures</h2>{cards}</section>"


def _failure(row: dict[str, Any]) -> str:
    checks = "".join(_check(one) for one in row["checks"] if one["outcome"] in RED)
    return (
        f'<article id="{escape(row["id"])}"><h3>{escape(row["id"])} '
        f"<small>{escape(row['word'])}</small></h3>"
        f"<p>{escape(row['source'])}: {escape(row['says'])}</p>{checks}</article>"
    )


def _check(one: dict[str, Any]) -> str:
    parts = [
        f"<h4>{escape(one['check'])}: {escape(one['about'])}</h4>",
        f'<p class="fail">{escape(one["text"])}</p>',
    ]
    if "sent" in one:
        sent, back = "\n".join(one["sent"]), "\n".join(one["came_back"])
        parts += [
            '<div class="pair"><div><h5>Sent</h5>',
            f'<pre tabindex="0">{escape(sent)}</pre></div><div><h5>Came back</h5>',
            f'<pre tabindex="0">{escape(back)}</pre></div></div>',
            f'<h5>Try it</h5><pre tabindex="0">{escape(one["try"])}</pre>',
        ]
    return "".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = "".join(_line(row) for row in rows)
    return (
        '<section><h2>Every requirement</h2><div class="wide"><table><thead><tr>'
        '<th scope="col">id</th><th scope="col">level</th><th scope="col">outcome</th>'
        '<th scope="col">requirement</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div></section>"
    )


def _line(row: dict[str, Any]) -> str:
    name = escape(row["id"])
    label = f'<a href="#{name}">{name}</a>' if row["outcome"] in RED else name
    texts = {one["text"] for one in row["checks"] if one["text"] and one["outcome"] not in RED}
    note = f"<br><small>{escape('; '.join(sorted(texts)))}</small>" if texts else ""
    return (
        f'<tr><td>{label}</td><td>{escape(row["word"])}</td><td class="{_slug(row["outcome"])}">'
        f"{escape(row['outcome'])}</td><td>{escape(row['says'])}<br>"
        f"<small>{escape(row['source'])}</small>{note}</td></tr>"
    )
