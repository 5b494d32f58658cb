"""How commands print (floor 6): columns for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_KIB = 1024
_SPANS = (("d", 86_400), ("h", 3600), ("m", 60))


def declare_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    text = "print JSON instead of text (see docs/admin.md)"
    parser.add_argument("--json", action="store_true", default=False, help=text)


@contextmanager
def output_may_end() -> Iterator[None]:
    """Let whoever reads the output stop reading (`| head`): that is no failure."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: Any) -> None:
    """Print a value as one line of JSON in ASCII."""
    print(json.dumps(value))


def counted(number: int, one: str, several: str = "") -> str:
    """Give a number with its noun, `1 file`, `2 files`; `several` where an s does not make it."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def columns(
    rows: Iterable[Sequence[str]], *, head: Sequence[str], least: Sequence[int] = ()
) -> list[str]:
    """Align cells in columns beneath `head`; nothing in a cell can break the table.

    `least`: widths of the first columns at least.
    """
    table = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths = [max(pair) for pair in zip_longest(widths, least, fillvalue=0)]
    lines = []
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


def pairs(fields: Iterable[tuple[str, str]]) -> list[str]:
    """Align names and values, one pair a line."""
    known = [(name, printable(value)) for name, value in fields]
    width = max((len(name) for name, _ in known), default=0)
    return [f"{name:{width}}  {value}".rstrip() for name, value in known]


def printable(text: str) -> str:
    """Give text without what could steer a terminal or break a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size_text(size: int) -> str:
    """Write bytes for people: 1.5 GiB."""
    number, unit = float(size), 0
    while number >= _KIB and unit < len(_UNITS) - 1:
        number, unit = number / _KIB, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{size} B"


def span_text(seconds: float) -> str:
    """Write a time span for people, in its two largest units: 2d 3h."""
    left, found = int(abs(seconds)), []
    for name, unit in _SPANS:
        if left >= unit:
            found.append(f"{left // unit}{name}")
            left %= unit
    if not found:
        found.append(f"{left}s")
    return " ".join(found[:2])
