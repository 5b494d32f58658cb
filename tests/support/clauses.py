"""Which test proves which row of the requirement table.

`conformance/clauses.toml` lists the rows; tests name them with
`@pytest.mark.clause("CORE-PATCH-06")`. The markers are read from the sources, nothing is
imported. `python -m tests.support.clauses` writes docs/requirements.md.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "requirements.md"
LEVELS = {
    "M": "MUST",
    "S": "SHOULD",
    "m": "MAY",
    "m/S": "MAY, SHOULD",
    "H": "HTTP",
    "C": "clients",
    "P": "policy",
}

_INTRODUCTION = """\
# Requirements and the tests that prove them

Made by `python -m tests.support.clauses` from `conformance/clauses.toml` and the
`clause` markers of the tests; do not edit. Levels: MUST, SHOULD and MAY are the
specification's own (tus 1.0.0), HTTP is RFC 9110 or 9112, clients is what programs in use
rely on, policy is what we decided where nothing else does.

| Row | Level | Requirement | Tests |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One row of the table."""

    clause_id: str
    level: str
    section: str
    text: str
    decided: str = ""

    @property
    def is_binding(self) -> bool:
        """Tell whether the specification itself demands or advises it."""
        return "M" in self.level or "S" in self.level


@dataclass(frozen=True, slots=True)
class Mark:
    """One id in one marker."""

    clause_id: str
    path: str
    test: str


def clauses() -> dict[str, Clause]:
    """Read the rows, in their order."""
    with (ROOT / "conformance" / "clauses.toml").open("rb") as file:
        rows = tomllib.load(file)
    return {name: Clause(clause_id=name, **row) for name, row in rows.items()}


def marks(folder: Path = ROOT / "tests") -> list[Mark]:
    """Find every clause marker under a folder, in the order of files and lines."""
    return [mark for path in sorted(folder.rglob("*.py")) for mark in _marks_of(path)]


def _marks_of(path: Path) -> Iterator[Mark]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    yield from _walk(tree, name, "")


def _walk(node: ast.AST, path: str, test: str) -> Iterator[Mark]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        test = node.name
    if isinstance(node, ast.Call) and _is_clause(node.func):
        for argument in node.args:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise TypeError(f"{path}:{node.lineno}: a clause marker takes literal ids")
            yield Mark(argument.value, path, test)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, path, test)


def _is_clause(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "clause"
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "mark"
    )


def table() -> str:
    """Make the text of docs/requirements.md."""
    tests: dict[str, dict[str, list[str]]] = {}
    for mark in marks():
        names = tests.setdefault(mark.clause_id, {}).setdefault(mark.path, [])
        if mark.test not in names:
            names.append(mark.test)
    lines = [_row(clause, tests.get(clause.clause_id, {})) for clause in clauses().values()]
    return _INTRODUCTION + "".join(lines)


def _row(clause: Clause, tests: dict[str, list[str]]) -> str:
    text = f"{clause.text} {clause.decided}".strip()
    cells = [
        f"[{path.removeprefix('tests/')}](../{path}): " + ", ".join(name or "all" for name in names)
        for path, names in tests.items()
    ]
    return f"| {clause.clause_id} | {LEVELS[clause.level]} | {text} | {'<br>'.join(cells)} |\n"


def main() -> int:
    """Write the table."""
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
