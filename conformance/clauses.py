"""The rows of the requirement table, and the profiles that they form."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

LEVELS = {
    "M": "MUST",
    "S": "SHOULD",
    "m": "MAY",
    "m/S": "SHOULD",
    "H": "HTTP",
    "C": "clients",
    "P": "policy",
}
PROFILES = {
    "tus1": frozenset({"M", "S", "m", "m/S"}),
    "http": frozenset({"H"}),
    "clients": frozenset({"C"}),
    "policy": frozenset({"P"}),
}
"""What each profile holds; `all` holds them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One row of the table."""

    clause_id: str
    level: str
    section: str
    text: str
    decided: str = ""

    @property
    def word(self) -> str:
        """Give the level in words."""
        return LEVELS[self.level]

    @property
    def source(self) -> str:
        """Say where the specification speaks of it."""
        if self.level == "P":
            return f"policy of this suite ({self.section})"
        own = self.section.startswith(("Core Protocol", "Protocol Extensions"))
        return f"tus 1.0.0, {self.section}" if own else self.section


def read_clauses() -> dict[str, Clause]:
    """Read the rows, in their order."""
    text = Path(__file__).with_name("clauses.toml").read_text(encoding="utf-8")
    return {
        clause_id: Clause(clause_id=clause_id, **row)
        for clause_id, row in tomllib.loads(text).items()
    }


def choose(clauses: dict[str, Clause], only: str, profile: str) -> dict[str, Clause]:
    """Give the rows whose id begins with one of `only` (comma list; empty: all) in a profile."""
    begins = tuple(item.strip().upper() for item in only.split(",") if item.strip())
    levels = PROFILES.get(profile)
    return {
        clause_id: clause
        for clause_id, clause in clauses.items()
        if (not begins or clause_id.startswith(begins))
        and (levels is None or clause.level in levels)
    }
