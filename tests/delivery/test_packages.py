"""The wheel and the source distribution hold what they must, and install cleanly."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.delivery.conftest import pip
from tusserver.values import EXTENSIONS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(400)


HOOK = "tusserver/page/hatch_build.py"
"""Run by the build, from the source distribution too; no part of the program."""


def modules() -> set[str]:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tusserver").rglob("*.py")}
    return found - {HOOK}


def test_the_wheel_holds_the_package_and_nothing_else(packages):
    names = {
        name for name in zipfile.ZipFile(packages.wheel).namelist() if ".dist-info/" not in name
    }
    assert modules() | {"tusserver/py.typed"} <= names
    assert {name.split("/")[0] for name in names} == {"tusserver"}


def test_the_source_distribution_brings_docs_and_licence(packages):
    with tarfile.open(packages.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert modules() | {HOOK} <= names
    assert {"README.md", "LICENSE", "pyproject.toml", "docs/architecture.md"} <= names
    assert {"docs/deploy/compose.yaml", "docs/threat-model.md"} <= names


def test_what_is_installed_has_no_conflicts_and_tells_its_version(installed):
    done = subprocess.run(
        [*pip(installed.folder), "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    done = subprocess.run(
        [installed.program("tusserver"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("tusserver 0.")


def test_every_module_can_be_imported_without_what_only_tests_need(installed):
    names = sorted(name.removesuffix(".py").replace("/", ".") for name in modules())
    wanted = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    program = f"import importlib\nfor name in {wanted!r}: importlib.import_module(name)\n"
    subprocess.run(
        [installed.program("python"), "-W", "error", "-c", program],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    )


def test_help_of_the_installed_program_tells_every_extension(installed):
    done = subprocess.run(
        [installed.program("tusserver"), "--help"], capture_output=True, text=True, check=True
    )
    text = " ".join(done.stdout.split())
    assert all(extension in text for extension in EXTENSIONS)
