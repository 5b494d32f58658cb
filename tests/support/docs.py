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
    is_secret,
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

A flag wins over an environment variable, this over a file, and this over the default. Durations
are written as `500ms`, `30s`, `90m`, `24h` or `7d`, sizes as `10GiB`, `500MB` or in bytes; `never`
and `none` take a limit away. Lists have commas between their entries. What is on or off is `--name`
or `--no-name` as a flag, `true` or `false` as a variable. An empty variable is an empty value.

The **file** is TOML, and is read only if `--config` or `TUSSERVER_CONFIG` names it. Its keys are
the names of the flags, with hyphens or underscores, on one level; values are written as in a flag,
numbers and lists also as TOML has them:

```toml
upload-dir = "/srv/uploads"
port = 1080
max-size = "10GiB"
cors-origins = ["https://example.org", "https://*.example.org"]
download = false
```

**Secrets** need not stand in a variable or on a command line, where other users of the machine
can see them: for each there is a flag, a variable and a key of the same name with `file` at its
end (`--state-file`, `TUSSERVER_STATE_FILE`, `state-file`), which names a file that holds the value.
A newline at its end does not count. Both in one place is an error; otherwise the order is the same:
a file that a flag names wins over the value of a variable. Relative paths start at the working
directory of the program. A warning is logged if every user of the machine can read such a file.

A wrong setting ends the program with exit status 2 and one line on stderr, such as
`tusserver: --max-size=10GX: not a size: write it as 10GiB or 500MB`; so does a key of the file
that means nothing. A `TUSSERVER_*` variable that means nothing is logged as a warning.
`tusserver settings` prints what holds and where each value came from, with secrets hidden;
[operating a store](admin.md) tells more of that and other commands.

In an embedding application the same names are arguments: `Settings(max_size="10GiB")`, which reads
neither flags nor environment. How the program listens, what its processes and connections may do
(all of the first table but `public_url`, `trusted_proxies` and `body_timeout`), its upload page and
`log_level` are its own and mean nothing there; only `base_path` counts in a `public_url` that has
no path.
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
        f"{_INTRODUCTION}{''.join(sections)}\n## Other variables\n\n"
        f"| variable | meaning |\n| --- | --- |\n{''.join(others)}"
    )


def _row(name: str, field: FieldInfo) -> str:
    metavar = metavar_of(field)
    flag = f"`{flag_of(name)}`" if metavar else f"`{flag_of(name)}` `--no-{name}`"
    if not metavar:
        flag = flag.replace("_", "-")
    if is_secret(field):
        flag += f" `{flag_of(name)}-file`"
    text = (field.description or "").replace("*", "\\*")
    value = metavar.lower() or "on or off"
    variable = f"`{variable_of(name)}`"
    if is_secret(field):
        variable += f" `{variable_of(name)}_FILE`"
    cells = f"{flag} {variable}", value, f"`{default_of(field)}`", text
    return f"| {' | '.join(cells)} |\n"


def error_types() -> list[type[TusError]]:
    """Give every error of the tree but its root."""
    found: list[type[TusError]] = []
    waiting = [TusError]
    while waiting:
        children = waiting.pop().__subclasses__()
        # Tests make some of their own.
        found += [child for child in children if child.__module__.startswith("tusserver")]
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
