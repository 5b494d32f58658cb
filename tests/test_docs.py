"""What the documentation says is what the code does."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import own_parser as benchmarks_parser
from tests.support import longform
from tests.support.docs import ROOT, SETTINGS, error_types, render_settings, table_rows
from tusserver.cli import COMMANDS
from tusserver.commands.command import ClientCommand
from tusserver.config import Settings, flag_of, flag_parser, known_variables, own_parser
from tusserver.protocol.tus1 import STATUS
from tusserver.values import EXTENSIONS

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

NO_STATUS = {"config_invalid"}
"""Errors that no client sees."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_page_of_settings_is_the_one_that_the_code_makes():
    assert SETTINGS.read_text(encoding="utf-8") == render_settings(), (
        "run python -m tests.support.docs --write"
    )


def test_every_error_is_explained_and_nothing_else():
    codes = {error.code for error in error_types()}
    assert set(table_rows(ERRORS)) == codes


def test_no_two_errors_share_a_code():
    codes = [error.code for error in error_types()]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("code", sorted({error.code for error in error_types()} - NO_STATUS))
def test_an_error_is_explained_with_its_status(code):
    told, meaning, remedy = table_rows(ERRORS)[code]
    assert told == ("its own" if code == "rejected" else str(STATUS[code][0]))
    assert meaning
    assert remedy


def test_there_is_a_status_for_every_error_that_a_client_can_see():
    assert set(STATUS) == {error.code for error in error_types()} - NO_STATUS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_flag_and_variable_that_is_mentioned_exists(page):
    text = page.read_text(encoding="utf-8")
    if page.name == "conformance.md":  # its command lines are those of other servers
        text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    known = {"--help", "--version", "--write", "--long", "--share", "--seed"}
    for command in COMMANDS.values():
        parser = own_parser() if isinstance(command, ClientCommand) else flag_parser()
        command.declare(parser)
        known |= set(parser._option_string_actions)
    # Flags of other programs, in their own command lines.
    known |= {"--quiet", "--data-binary", "--name", "--no-name"}
    known |= {
        "--verify",
        "--list",
        "--tus-url",
        "--insecure",
        "--only",
        "--profile",
        "--json",
        "--html",
        "--group",
    }
    known |= set(benchmarks_parser()._option_string_actions)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known
    assert set(re.findall(r"\bTUSSERVER_[A-Z_]+", text)) <= set(known_variables())


def test_the_figures_of_the_fault_tests_are_those_of_their_long_form():
    page = longform.PAGE.read_text(encoding="utf-8")
    assert longform.render(page, longform.load()) == page


def test_every_row_of_the_durability_contract_names_its_test():
    assert list(longform.unnamed(longform.PAGE.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_is_named_exists(page):
    named = re.findall(r"`(?:tests/)?(\w+/test_\w+\.py)::(test_\w+)", page.read_text("utf-8"))
    for file, test in named:
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in ast.walk(tree) if hasattr(node, "name")}, file


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_inside_the_tree_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_every_piece_of_python_is_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


def test_the_readme_opens_with_one_line_that_runs_and_one_that_tests():
    run, test = blocks(ROOT / "README.md", "sh")[:2]
    assert run.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert run.endswith("&& .venv/bin/tusserver\n")
    assert run.count("\n") == 1
    assert test == "python3 -m tests\n"


def test_every_flag_of_the_readme_can_be_read():
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    commands = [line.split() for line in lines if line.startswith("tusserver ")]
    assert commands
    for command in commands:
        flags = [word for word in command[1:] if word.startswith("--")]
        known = set(map(flag_of, Settings.model_fields))
        if isinstance(named := COMMANDS.get(command[1]), ClientCommand):
            parser = own_parser()
            named.declare(parser)
            known = set(parser._option_string_actions)
        assert {flag.partition("=")[0] for flag in flags} <= known


def test_fragments_of_the_changelog_have_a_kind():
    kinds = {"feature", "bugfix", "breaking", "security", "doc"}
    for fragment in ROOT.glob("docs/changes/*.md"):
        if fragment.name != "README.md":
            assert fragment.name.split(".")[-2] in kinds, fragment.name
            assert fragment.read_text(encoding="utf-8").startswith("- ")


def test_the_readme_lists_what_the_server_can_do():
    for extension in EXTENSIONS:
        assert extension in README
