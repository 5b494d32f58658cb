"""Each line of docs/threat-model.md names the tests that cover it, and each such test its line."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.docs import ROOT

PAGE = ROOT / "docs" / "threat-model.md"
FOLDER = ROOT / "tests" / "security"
NAMED = re.compile(r"`(\w+/test_\w+\.py)(?:::(test_\w+))?`")


def lines_of(page):
    """Give the lines of the table by surface: the names of tests in the last cell of each."""
    rows = re.findall(r"^\| (?!surface|---)(.+?) \|(.*)\|$", page, flags=re.MULTILINE)
    return {surface: NAMED.findall(rest.rpartition(" | ")[2]) for surface, rest in rows}


def slug(surface):
    """Make the beginning of a test's name of a surface: `GET` is `get`."""
    return "_".join(re.findall(r"[a-z0-9]+", surface.lower().replace("'", "")))


def named_here():
    """Name the tests of this folder that stand for a line, with their files."""
    found = {}
    for path in FOLDER.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_") and "__" in node.name:
                found[node.name] = f"security/{path.name}"
    return found


LINES = lines_of(PAGE.read_text(encoding="utf-8"))


def test_the_table_was_found():
    assert len(LINES) >= 30
    assert len({slug(surface) for surface in LINES}) == len(LINES)


@pytest.mark.parametrize("surface", LINES, ids=slug)
def test_a_line_of_the_threat_model_names_tests_that_are_named_after_it(surface):
    there = named_here()
    own = [(file, test) for file, test in LINES[surface] if test]
    assert own, "it names no test"
    for file, test in own:
        assert test.startswith(f"test_{slug(surface)}__")
        assert there.get(test) == file
    for file, _ in LINES[surface]:
        assert (ROOT / "tests" / file).exists(), file


@pytest.mark.parametrize("test", named_here())
def test_a_test_that_is_named_after_a_line_is_named_by_it(test):
    [surface] = [line for line in LINES if slug(line) == test.removeprefix("test_").split("__")[0]]
    assert test in {name for _, name in LINES[surface]}


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("| GET | x | y | `security/test_answers.py::test_get__x` |\n", ["test_get__x"]),
        ("| GET | x | y | see elsewhere |\n", []),
        ("| GET | `auth/test_a.py::test_b` | y |  |\n", []),
    ],
    ids=["named", "no test", "in another cell"],
)
def test_only_the_last_cell_of_a_line_counts(page, names):
    assert [test for _, test in lines_of(page)["GET"]] == names
