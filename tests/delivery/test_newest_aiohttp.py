"""What is private in aiohttp is used in one place; the newest release, betas too, still has it.

A fresh installation takes the newest final release, so the whole suite runs with that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEWEST = "aiohttp<4"  # An alpha of version 4 was left behind in 2019.
FILES = [
    "tests/web/test_answers.py",
    "tests/web/test_drawing.py",
    "tests/web/test_receiving.py",
    "tests/web/test_socketbody.py",
]

TRIAL = """
import asyncio, aiohttp
from tusserver.options import Ingest
from tusserver.web.proof import find_way
print(aiohttp.__file__)
print(asyncio.run(find_way(Ingest.SOCKET)).value)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Give an environment in which Python finds the newest aiohttp first."""
    folder = tmp_path_factory.mktemp("newest")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--pre", "--upgrade", "--no-deps", "--target", str(folder), NEWEST]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return os.environ | {"PYTHONPATH": str(folder)}


@pytest.mark.timeout(150)
def test_sockets_can_be_taken_from_the_newest_aiohttp(environment):
    done = subprocess.run(
        [sys.executable, "-c", TRIAL],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    where, way = done.stdout.split()
    assert where.startswith(environment["PYTHONPATH"])
    assert way == "socket", done.stderr


@pytest.mark.timeout(300)
def test_every_way_of_a_body_works_with_the_newest_aiohttp(environment):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", *FILES]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " skipped" not in done.stdout
