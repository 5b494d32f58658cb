"""The packages as a release would publish them, and an environment they are installed in."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCES = ("tusserver", "docs", "README.md", "LICENSE", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Packages:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Packages:
    """Build the source distribution, and the wheel from it, as pip does on a stranger's machine."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    built = folder / "built"
    _run(sys.executable, "-m", "build", "--outdir", str(built), str(source))
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    return Packages(sdist=sdist, wheel=wheel)


@dataclass(frozen=True, slots=True)
class Installed:
    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)


@pytest.fixture(scope="session")
def installed(packages) -> Iterator[Installed]:
    """Install the wheel, and nothing else, into a new environment that any user can run."""
    folder = Path(tempfile.mkdtemp(prefix="tus-installed-"))
    folder.chmod(0o755)
    try:
        _run(public_python(), "-m", "venv", "--without-pip", str(folder))
        _run(*pip(folder), "install", "--quiet", str(packages.wheel))
        yield Installed(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pip(folder: Path) -> list[str]:
    """Give the command of a pip that works on the environment in `folder`."""
    python = str(folder / "bin" / "python")
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]


def public_python() -> str:
    """Find a Python that other users may run: the one of these tests may lie in somebody's home."""
    own = Path(sys.base_prefix).resolve()
    if all(folder.stat().st_mode & stat.S_IXOTH for folder in (own, *own.parents)):
        return sys.executable
    system = "/usr/bin/python3"
    version = subprocess.run(
        [system, "-c", "import sys; print(sys.version_info >= (3, 11))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if version.stdout.strip() != "True":
        pytest.skip(f"{own} is private, {system} too old; remedy: apt-get install python3")
    return system


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
