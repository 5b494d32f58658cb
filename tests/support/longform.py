"""The long form of the fault tests, and what it leaves: `python3 -m tests --long`.

A test asks for the fixture `amount` how much of it is to be done, for `dice` what chance is to be
drawn from, and writes what it counted into `figures`. The long form keeps these in
docs/durability/results.json, a row a test, and makes the table of docs/durability.md of it.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "durability.md"
RESULTS = ROOT / "docs" / "durability" / "results.json"
BEGIN = "<!-- made from durability/results.json by the long form -->\n"
END = "<!-- end of what is made -->\n"
FIGURES = "figures"
LONGEST = 4 * 3600
"""Seconds that one test may take in the long form."""
FIRST = ("test_soak.py", "test_crowd.py", "test_machine.py", "test_power.py", "test_rubbish.py")
"""What takes longest: others run beside it, and nothing of them is left when they are through."""


def add_options(parser: pytest.Parser) -> None:
    """Declare what the long form needs."""
    group = parser.getgroup("faults")
    group.addoption("--long", action="store_true", help="the long form of the fault tests")
    group.addoption("--share", type=float, default=1.0, help="how much of it, such as 0.1")
    group.addoption("--seed", default="", help="draw the same chances as the run that said so")


class LongForm:
    """Sees what the tests of the long form counted, and writes it down at the end."""

    def __init__(self, config: pytest.Config) -> None:
        """Take the options."""
        self.is_long = bool(config.getoption("--long"))
        self.share = float(config.getoption("--share"))
        self._rows: dict[str, dict[str, Any]] = {}
        # Part of a run, or a worker of one, keeps no results.
        self._keeps = self.is_long and self.share >= 1 and not hasattr(config, "workerinput")

    def amount(self, short: int, long: int) -> int:
        """Give how much is to be done: of tests, `short`; of their long form, `long`."""
        return max(short, round(long * self.share)) if self.is_long else short

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give what is long its time."""
        for item in items:
            if self.is_long and "amount" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(LONGEST), append=False)
        if self.is_long:
            places = {name: place for place, name in enumerate(FIRST)}
            items.sort(key=lambda item: places.get(item.path.name, len(FIRST)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test says of itself."""
        figures = dict(report.user_properties).get(FIGURES)
        if figures is not None and report.when == "call" and not report.skipped:
            self._rows[report.nodeid] = {
                "date": dt.datetime.now(dt.UTC).date().isoformat(),
                "passed": report.passed,
                "seconds": round(report.duration),
                "figures": figures,
            }

    def pytest_sessionfinish(self) -> None:
        """Write the rows of the tests that ran; the others stay."""
        if self._keeps and self._rows:
            rows = load() | self._rows
            text = json.dumps(dict(sorted(rows.items())), indent=1) + "\n"
            RESULTS.write_text(text, encoding="utf-8")
            PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


def load() -> dict[str, dict[str, Any]]:
    """Give the rows of the last long forms, by test."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def render(page: str, rows: dict[str, dict[str, Any]]) -> str:
    """Give the page with the table of these rows."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    head = "\n| test | outcome | what it counted | took | on |\n| --- | --- | --- | --- | --- |\n"
    lines = "".join(_line(name, row) for name, row in sorted(rows.items()))
    table = head + lines if rows else "\nThere are none yet.\n"
    return f"{before}{BEGIN}{table}\n{END}{after}"


def _line(name: str, row: dict[str, Any]) -> str:
    counted = ", ".join(f"{what} {value}" for what, value in row["figures"].items())
    outcome = "passed" if row["passed"] else "**failed**"
    short = name.removeprefix("tests/faults/").replace("|", "/")
    return f"| `{short}` | {outcome} | {counted} | {row['seconds']} s | {row['date']} |\n"


def unnamed(page: str) -> Iterable[str]:
    """Name the rows of the tables of faults that name no test."""
    promises = page.partition(BEGIN)[0]
    for line in promises.splitlines():
        if line.startswith("| ") and not line.startswith(("| fault", "| ---")):
            last = line.rstrip(" |").rpartition("|")[2]
            if "::test_" not in last:
                yield line


# --- fixtures, which tests/faults/conftest.py shows to its tests ---------------------------


def long_form(request: pytest.FixtureRequest) -> LongForm:
    """Give the plugin."""
    found = request.config.pluginmanager.get_plugin("longform")
    assert isinstance(found, LongForm)
    return found


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`amount(short, long)`: how much of something this run is to do."""
    return long_form(request).amount


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """What all chance of a test comes from; a test that fails tells it."""
    given = request.config.getoption("--seed") or secrets.token_hex(4)
    request.node.add_report_section("setup", "seed", f"the same chances again: --seed {given}")
    return given


@pytest.fixture
def dice(seed: str) -> random.Random:
    """Chance, the same for the same seed."""
    return random.Random(seed)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> dict[str, int | float | str]:
    """What a test counts, for the results of the long form: `figures["kills"] = 500`."""
    found: dict[str, int | float | str] = {}
    request.node.user_properties.append((FIGURES, found))
    return found
