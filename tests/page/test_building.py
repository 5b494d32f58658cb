"""How the upload page gets into the package, and what happens where it cannot."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.node import PACKAGES, need_node
from tests.support.server import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "tusserver" / "page"
NOWHERE = "http://127.0.0.1:9/"
"""A registry that nobody reaches."""

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what the package is built from, without a built page."""
    folder = tmp_path_factory.mktemp("source")
    skipped = shutil.ignore_patterns("__pycache__", "built")
    shutil.copytree(ROOT / "tusserver", folder / "tusserver", ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def hatchling(folder: Path, *words: str, **variables: str) -> Path:
    """Build in the environment that is there; give what was built."""
    outcome = folder / "dist"
    shutil.rmtree(outcome, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *words, "--directory", str(outcome)],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = outcome.iterdir()
    return built


def served(folder: Path, log: Path) -> tuple[int, str]:
    """Run the package that is in `folder`, without Node on its path; give what is at /."""
    log.touch()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tusserver", "--port=0", f"--upload-dir={folder}/up"],
            cwd=folder,
            env={"PYTHONPATH": str(folder), "PATH": "", "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        while (found := re.search(r"(http://\S+/)files/\n", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
        parts = urlsplit(found[1])
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        with closing(connection):
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
    finally:
        process.terminate()
        process.wait(10)


def test_without_npm_the_package_is_built_and_says_what_is_missing(source, tmp_path):
    wheel = hatchling(source, "--target", "wheel", npm_config_registry=NOWHERE)
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".ts", ".mjs", ".html"))]
        archive.extractall(installed)
    log = tmp_path / "log"
    status, page = served(installed, log)
    assert status == 503
    assert "The upload page is missing" in page
    warnings = [line for line in log.read_text().splitlines() if "there is no upload page" in line]
    assert len(warnings) == 1
    for text in (page, *warnings):
        assert "npm" in text
        assert "--no-page" in text
    assert "\nupload page at" not in log.read_text()
    assert str(tmp_path) not in page


def test_a_wheel_from_the_source_distribution_needs_neither_node_nor_network(
    built, source, tmp_path
):
    shutil.copytree(PAGE / "built", source / "tusserver" / "page" / "built", dirs_exist_ok=True)
    (source / "tusserver" / "page" / "built" / "missing.txt").unlink(missing_ok=True)
    archive = hatchling(source, "--target", "sdist", npm_config_registry=NOWHERE)
    # Python 3.11.2, which Debian 12 has, knows no filters, and the newest ones want one.
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    [unpacked] = [path for path in tmp_path.iterdir() if path.is_dir()]
    wheel = hatchling(unpacked, "--target", "wheel", npm_config_registry=NOWHERE, PATH="")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as files:
        files.extractall(installed)
    status, page = served(installed, tmp_path / "log")
    assert status == 200
    for path in re.findall(r'(?:src|href|worker)="page/([^"]+)"', page):
        assert (installed / "tusserver" / "page" / "built" / "assets" / path).is_file()


def test_the_page_here_is_the_one_that_the_sources_make(built):
    spec = importlib.util.spec_from_file_location("hatch_build", PAGE / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    assert hook.is_up_to_date(PAGE), "remedy: python3 -m tests"


def test_what_is_bundled_comes_with_its_licence(built):
    [licences] = (PAGE / "built" / "assets").glob("licences-*.txt")
    text = licences.read_text()
    for name in ("tus-js-client 4", "@noble/hashes 2"):
        assert name in text
    assert text.count("Permission is hereby granted") >= 2


def test_the_types_of_the_page_are_right(tmp_path):
    node = need_node()
    shutil.copytree(PAGE / "src", tmp_path / "src")
    shutil.copy(PAGE / "tsconfig.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    done = subprocess.run(
        [node, str(PACKAGES / "typescript" / "bin" / "tsc"), "--project", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
