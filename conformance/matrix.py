"""docs/conformance.md: what the suite found at several servers, made from conformance/results.

`servers.toml` names the servers, how each was started and which file of `--json` is its result;
`verdicts.toml` holds what a person found who looked at a failure. `python3 -m conformance.matrix`
tells whether the page is what they give; with `--write` it writes the page.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.clauses import LEVELS, Clause, read_clauses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
PAGE = ROOT / "docs" / "conformance.md"
RED = frozenset({"fail", "error"})
BINDING = frozenset({"M", "S", "m/S", "H"})
"""Levels of what is demanded or advised; a failure here is a red cell and needs a verdict."""

_SIGNS = {
    "pass": "✓",
    "fail": "**✗**",
    "error": "**✗**",
    "not announced": "off",
    "not applicable": "n/a",
    "untested": "·",
}
_DIFFERS = "≠"
_HIDDEN = "?"
_NOT_SEEN = "Not seen:"
_PARTS = (
    (
        "The protocol",
        frozenset({"M", "S", "m", "m/S"}),
        "What tus 1.0.0 itself demands (MUST), advises (SHOULD) or allows (MAY).",
    ),
    ("HTTP", frozenset({"H"}), "What HTTP itself says of messages that tus servers see."),
    (
        "What clients need",
        frozenset({"C"}),
        "No specification says so, but clients in use fail without it: browsers above all.",
    ),
    (
        "Policy",
        frozenset({"P"}),
        "Where tus 1.0.0 leaves a choice: what this project chose. Another choice is as right.",
    ),
)
_INTRODUCTION = """\
# Conformance

Made from the files in `conformance/results` by `python3 -m conformance.matrix --write`; a test
compares the two.

The suite in `conformance/` runs against any server of the tus 1.0 protocol, in any language. It
needs Python 3.11 or later and nothing else, neither this project's server nor any package. From a
clone of the repository, with the creation URL of the server:

```sh
python3 -m conformance http://127.0.0.1:1080/files/
```

`python3 -m conformance --help` lists what it takes. The checks follow what the server announces
in `Tus-Extension`. They create uploads and leave some of them behind: run them against a server
that may be thrown away.

Below is what it found at other servers and at this one. A cell is worth what it was looked at:
somebody read the request, the answer and the specification for every red one, and says below
what was found. The versions are those of the day of the run; servers mend things.
"""
_LEGEND = """\
| sign | meaning |
| --- | --- |
| ✓ | every check of the row passed |
| **✗** | a check failed: see below, under the name of the server |
| ? | another failure hides it: see below |
| ≠ | does otherwise than this row says, and violates nothing by it |
| off | the extension is not announced, so nothing was asked of it |
| n/a | the server's own right choice makes the row moot |
| · | no check looked at it from outside in this run |
"""
_SEEN = """
## What was seen

Each failure with the name of its check, and a line for a shell that makes what is needed and
repeats the request. Where several requests race each other one line is not enough: the command of
the suite above, with `--only` and the name of the check behind it, lets them race again.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One check that failed, as the report tells it."""

    check: str
    text: str
    request: str
    """One line for a shell that shows it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, how it was started, and what the suite found."""

    key: str
    name: str
    version: str
    command: str
    """What starts it."""
    run: str
    """The command line of the suite."""
    note: str
    started: datetime
    seconds: float
    outcomes: Mapping[str, str]
    """The outcome of each clause, by id."""
    failures: Mapping[str, Sequence[Failure]]
    """What failed, by id of the clause."""
    verdicts: Mapping[str, str]
    """What a person says of a red cell, by id of the clause."""

    def red(self, clauses: Mapping[str, Clause]) -> list[str]:
        """Give the ids of the clauses that bind and are not kept, in order."""
        return [
            clause_id
            for clause_id, clause in clauses.items()
            if clause.level in BINDING and self.outcomes.get(clause_id) in RED
        ]

    def hides(self, clause_id: str) -> bool:
        """Tell whether a person found that another failure is what was seen."""
        return self.verdicts.get(clause_id, "").startswith(_NOT_SEEN)


def read_servers(folder: Path = RESULTS) -> list[Server]:
    """Read every server of `servers.toml` with its results and verdicts, in its order."""
    rows = _toml(folder / "servers.toml")
    verdicts = _toml(folder / "verdicts.toml")
    return [_server(key, row, verdicts.get(key, {}), folder) for key, row in rows.items()]


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _server(key: str, row: dict[str, str], verdicts: dict[str, str], folder: Path) -> Server:
    found = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
    outcomes, failures = _found(found)
    return Server(
        key=key,
        name=row["name"],
        version=row["version"],
        command=row["command"],
        run=row["run"],
        note=row.get("note", ""),
        started=_moment(found["started"]),
        seconds=found["seconds"],
        outcomes=outcomes,
        failures=failures,
        verdicts=verdicts,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _found(data: dict[str, Any]) -> tuple[dict[str, str], dict[str, list[Failure]]]:
    outcomes: dict[str, str] = {}
    failures: dict[str, list[Failure]] = {}
    for row in data["rows"]:
        outcomes[row["id"]] = row["outcome"]
        failures[row["id"]] = [
            Failure(check=one["check"], text=one["text"], request=one.get("try", ""))
            for one in row["checks"]
            if one["outcome"] in RED
        ]
    return outcomes, failures


# --- the page


def render(servers: Sequence[Server], clauses: Mapping[str, Clause]) -> str:
    """Give docs/conformance.md as it should be."""
    pieces = [
        _INTRODUCTION,
        *_overview(servers),
        *_sums(servers, clauses),
        f"\n## The matrix\n\n{_LEGEND}",
    ]
    for title, levels, text in _PARTS:
        pieces += [f"\n### {title}\n\n{text}\n\n", *_matrix(servers, clauses, levels)]
    pieces += [_SEEN]
    for server in servers:
        pieces += _seen(server, clauses)
    return "".join(pieces)


def _overview(servers: Sequence[Server]) -> Iterator[str]:
    yield "\n## The servers\n\n| server | version | date | time |\n| --- | --- | --- | --- |\n"
    for server in servers:
        yield (
            f"| {server.name} | {server.version} | {server.started:%Y-%m-%d} |"
            f" {server.seconds:.0f} s |\n"
        )
    for server in servers:
        yield f"\n**{server.name}** was started and looked at with\n\n"
        yield f"```\n{server.command}\n{server.run}\n```\n"
        if server.note:
            yield f"\n{server.note}\n"


def _sums(servers: Sequence[Server], clauses: Mapping[str, Clause]) -> Iterator[str]:
    yield "\nRows that were kept, of those that were looked at:\n\n"
    yield _line(["level", *(server.name for server in servers)])
    yield _line(["---"] * (len(servers) + 1))
    for word in dict.fromkeys(LEVELS.values()):
        own = [one.clause_id for one in clauses.values() if one.word == word]
        counts = [
            Counter(server.outcomes.get(one) for one in own if not server.hides(one))
            for server in servers
        ]
        cells = [
            f"{count['pass']} of {count['pass'] + sum(count[red] for red in RED)}"
            for count in counts
        ]
        yield _line([word, *cells])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _matrix(
    servers: Sequence[Server], clauses: Mapping[str, Clause], levels: frozenset[str]
) -> Iterator[str]:
    yield _line(["row", "level", "requirement", *(server.name for server in servers)])
    yield _line(["---"] * (len(servers) + 3))
    for clause in clauses.values():
        if clause.level in levels:
            cells = [_cell(server, clause) for server in servers]
            yield _line([clause.clause_id, clause.word, _plain(clause.text), *cells])


def _cell(server: Server, clause: Clause) -> str:
    outcome = server.outcomes.get(clause.clause_id, "untested")
    if outcome in RED and clause.level not in BINDING:
        return _DIFFERS
    return _HIDDEN if server.hides(clause.clause_id) else _SIGNS.get(outcome, "·")


def _plain(text: str) -> str:
    """Keep text from being read as Markdown in a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _seen(server: Server, clauses: Mapping[str, Clause]) -> Iterator[str]:
    yield f"\n### {server.name}\n"
    red = server.red(clauses)
    if not red:
        yield "\nNothing that a specification demands or advises was missed.\n"
    for clause_id in red:
        clause = clauses[clause_id]
        yield f"\n**{clause_id}** ({clause.word}; {clause.source}): {_plain(clause.text)}\n"
        yield f"\n{server.verdicts.get(clause_id, '(nobody looked yet)')}\n"
        for failure in server.failures[clause_id]:
            yield f"\n`{failure.check}`: {_plain(_first_line(failure.text))}\n"
            if failure.request:
                yield f"\n```sh\n{failure.request}\n```\n"
    others = [
        clause
        for clause in clauses.values()
        if clause.level not in BINDING and server.outcomes.get(clause.clause_id) in RED
    ]
    if others:
        yield "\nDoes otherwise, and violates nothing by it:\n\n"
    for clause in others:
        texts = [_plain(_first_line(one.text)) for one in server.failures[clause.clause_id]]
        yield f"- {clause.clause_id} ({clause.word}): {'; '.join(dict.fromkeys(texts))}\n"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or tell whether it is what the data give."""
    parser = argparse.ArgumentParser(prog="python3 -m conformance.matrix", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    page = render(read_servers(), read_clauses())
    if parser.parse_args(arguments).write:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    return int(PAGE.read_text(encoding="utf-8") != page)


if __name__ == "__main__":
    sys.exit(main())
