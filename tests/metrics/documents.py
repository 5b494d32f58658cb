"""The table of docs/metrics.md: `python -m tests.metrics.documents --write`."""

from __future__ import annotations

import sys
from pathlib import Path

from tusserver.metrics.catalogue import LINES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
HEAD = "| metric | labels | kind | meaning |\n| --- | --- | --- | --- |\n"


def table() -> str:
    """Write the table."""
    rows = []
    for line in LINES:
        labels = ", ".join(f"`{label}`" for label in line.labels)
        rows.append(f"| `{line.name}` | {labels} | {line.kind} | {line.text} |\n")
    return HEAD + "".join(rows) + "\n"


def with_table(page: str) -> str:
    """Give the page with its table made anew."""
    before, _, rest = page.partition(HEAD)
    return f"{before}{table()}{rest.partition(chr(10) * 2)[2]}"


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
