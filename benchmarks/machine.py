"""What a run was made on and with: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def describe(directory: Path) -> dict[str, str]:
    """Describe the machine, the disk that is written to, and what ours is run by."""
    return {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{_memory() / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
        "Python": _python(),
        "aiohttp": version("aiohttp"),
        "redis-py": version("redis"),
        "Redis": _said("redis-server", "--version", r"v=(\S+)"),
        "Node": _said("node", "--version", r"v(\S+)"),
    }


def write_out(directory: Path) -> None:
    """Wait until the file system of a directory has written all it had; leave others alone."""
    command = ["sync", "--file-system", str(directory)]
    subprocess.run(command, check=True)  # noqa: S603 - a program of the machine


def _python() -> str:
    """Give the version of Python, and whose build it is.

    Distributions build it with the profile of a run; one without takes about a quarter more time
    for whatever is written in Python.
    """
    whose = "the system's" if Path(sys.base_prefix) == Path("/usr") else "not the system's"
    return f"{platform.python_version()}, {whose}"


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _file_system(directory: Path) -> str:
    """Give the kind of the file system that holds a directory: the longest mount above it.

    An ext4 without a journal is another thing: there new files are slow after many were deleted.
    """
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, place, kind, *_ = line.split()
        if directory.resolve().is_relative_to(place) and len(place) >= len(best[0]):
            journal = any(Path("/proc/fs/jbd2").glob(f"{Path(device).name}-*"))
            best = (place, kind if journal or kind != "ext4" else "ext4 without a journal")
    return best[1]


def _said(program: str, argument: str, pattern: str) -> str:
    if (path := shutil.which(program)) is None:
        return "not there"
    done = subprocess.run(  # noqa: S603 - programs of the machine
        [path, argument], capture_output=True, text=True, check=False
    )
    found = re.search(pattern, done.stdout)
    return found[1] if found else "unknown"
