"""The peers that registries have: `prepare` installs them where git does not see them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.servers import BENCH

HERE = Path(__file__).parent
NODE = ("@tus/server", "@tus/file-store")
PYTHON = ("tuspyserver", "fastapi", "uvicorn[standard]")


def prepare() -> None:
    """Install the newest versions; what is there is brought up to date."""
    _prepare_node(BENCH / "node")
    _prepare_python(BENCH / "python")


def _prepare_node(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        print("@tus/server is left out: there is no npm; install Node.js")
        return
    options = ["--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts"]
    _run([npm, "install", "--prefix", str(folder), *options, *(f"{name}@latest" for name in NODE)])
    shutil.copy(HERE / "node_server.mjs", folder / "server.mjs")


def _prepare_python(folder: Path) -> None:
    if not (folder / "bin" / "pip").exists():
        _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(folder / "bin" / "pip"), "install", "--quiet", "--upgrade", *PYTHON])


def _run(command: list[str]) -> None:
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True)  # noqa: S603 - installers of the machine
