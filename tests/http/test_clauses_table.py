from __future__ import annotations

from tests.support import clauses


def test_every_binding_row_has_a_test() -> None:
    proven = {mark.clause_id for mark in clauses.marks()}
    missing = [
        name for name, row in clauses.clauses().items() if row.is_binding and name not in proven
    ]
    assert missing == []


def test_every_marker_names_a_row() -> None:
    rows = clauses.clauses()
    assert [mark for mark in clauses.marks() if mark.clause_id not in rows] == []


def test_every_level_is_known() -> None:
    assert {row.level for row in clauses.clauses().values()} <= set(clauses.LEVELS)


def test_the_table_is_current() -> None:
    written = clauses.TABLE.read_text(encoding="utf-8")
    assert written == clauses.table(), "run: python -m tests.support.clauses"
