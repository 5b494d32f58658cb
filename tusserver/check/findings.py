"""What a check finds (floor 5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Works, but not as an operator may think."""
    ERROR = "error"
    """Uploads fail, or get lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    code: str
    """A stable name, such as `body_limit`, for programs."""
    text: str
    """One sentence: what was found."""
    remedy: str = ""
    """Which setting, of which program, to change; empty when all is well."""


def fine(code: str, text: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, code, text)


def warning(code: str, text: str, remedy: str) -> Finding:
    """Say what may surprise, and what mends it."""
    return Finding(Level.WARNING, code, text, remedy)


def error(code: str, text: str, remedy: str) -> Finding:
    """Say what does not work, and what mends it."""
    return Finding(Level.ERROR, code, text, remedy)
