"""Pages of docs/ that are made from the code: `python -m tests.support.docs --write`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.config import (
    GROUPS,
    OTHER_VARIABLES,
    Settings,
    default_of,
    flag_of,
    metavar_of,
    variable_of,
)
from tusserver.errors import TusError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "docs" / "settings.md"

_INTRODUCTION = """\
# Settings

Made from the code by `python -m tests.support.docs --write`; a test compares the two.

A flag wins over an environment variable, and this over the default. Durations are written as
`500ms`, `30s`, `90m`, `24h` or `7d`, sizes as `10GiB`, `500MB` or in bytes; `never` and `none` take
a limit away. Lists have commas between their entries. What is on or off is `--name` or
`--no-name` as a flag, `true` or `false` as a variable. An empty variable is an empty value.

A wrong setting ends the program with exit status 2 and one line on stderr, such as
`tusserver: --max-size=10GX: not a size: write it as 10GiB or 500MB`. A `TUSSERVER_*` variable that
means nothing is logged as a warning. Command lines can be seen by other users of the machine: give
the password of a Redis in `TUSSERVER_STATE`.

In an embedding application the same names are arguments: `Settings(max_size="10GiB")`, which reads
neither flags nor environment. `host`, `port`, `base_path`, `shutdown_timeout` and `log_level` are
the program's own and mean nothing there, but for `base_path` in a `public_url` without a path.
"""

_HEAD = """\
| flag and variable | value | default | meaning |
| --- | --- | --- | --- |
"""


def render_settings() -> str:
    """Give docs/settings.md as it should be."""
    sections = []
    for group in GROUPS:
        rows = "".join(_row(name, Settings.model_fields[name]) for name in group.model_fields)
        sections.append(f"\n## {(group.__doc__ or '').rstrip('.')}\n\n{_HEAD}{rows}")
    others = [f"| `{name}` | {text} |\n" for name, text in OTHER_VARIABLES.items()]
    return (
        f"{_INTRODUCTION}{''.join(sections)}\n## Read from the environment only\n\n"
        f"| variable | meaning |\n| --- | --- |\n{''.join(others)}"
    )


def _row(name: str, field: FieldInfo) -> str:
    metavar = metavar_of(field)
    flag = f"`{flag_of(name)}`" if metavar else f"`{flag_of(name)}` `--no-{name}`"
    if not metavar:
        flag = flag.replace("_", "-")
    text = (field.description or "").replace("*", "\\*")
    value = metavar.lower() or "on or off"
    cells = f"{flag} `{variable_of(name)}`", value, f"`{default_of(field)}`", text
    return f"| {' | '.join(cells)} |\n"


def error_types() -> list[type[TusError]]:
    """Give every error of the tree but its root."""
    found: list[type[TusError]] = []
    waiting = [TusError]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += children
        waiting += children
    return found


def table_rows(page: str) -> dict[str, list[str]]:
    """Read the tables of a page whose first cells are codes: the other cells by code."""
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", page, flags=re.MULTILINE)
    return {code: [cell.strip() for cell in cells.split(" | ")] for code, cells in rows}


def main() -> int:
    """Write the pages, or tell whether they are as the code makes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        SETTINGS.write_text(render_settings(), encoding="utf-8")
        return 0
    return int(SETTINGS.read_text(encoding="utf-8") != render_settings())


if __name__ == "__main__":
    sys.exit(main())
