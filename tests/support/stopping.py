"""Disks that stop answering, and go on: a file system on a file, on a file system of its own.

Frozen is the file system with the uploads, as for a snapshot: whoever writes there waits. Stopped
is the one below it: then it is the disk that does not answer, and what memory takes goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

MIB = 1024 * 1024


class StoppingDisk:
    """An ext4 file system on a loop device, whose file lies on another one."""

    def __init__(self, *, size: int = 512 * MIB) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stop-"))
        self._below = self._folder / "below"
        self.mount_point = self._folder / "disk"
        self._held: list[Path] = []
        self._mounted: list[Path] = []
        try:
            self._mount(self._folder / "below.img", self._below, size + size // 4)
            self._mount(self._below / "disk.img", self.mount_point, size)
        except BaseException:
            self.close()
            raise

    def _mount(self, image: Path, where: Path, size: int) -> None:
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        where.mkdir()
        subprocess.run(["mount", "-o", "loop", image, where], check=True)
        self._mounted.append(where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def freeze(self) -> None:
        """Let no write to a file return."""
        self._hold(self.mount_point)

    def stop(self) -> None:
        """Let nothing reach the disk."""
        # What waits is on it then, and the file system below is not asked for room.
        subprocess.run(["sync", "-f", self.mount_point], check=True)
        self._hold(self._below)

    def _hold(self, where: Path) -> None:
        subprocess.run(["fsfreeze", "--freeze", where], check=True)
        self._held.append(where)

    def go_on(self) -> None:
        """Let all go on. Does nothing the second time."""
        while self._held:
            subprocess.run(["fsfreeze", "--unfreeze", self._held.pop()], check=True)

    def close(self) -> None:
        """Take it away, whatever state it is in."""
        with suppress(subprocess.CalledProcessError):
            self.go_on()
        for where in reversed(self._mounted):
            subprocess.run(["umount", where], check=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def make_stopping_disk() -> StoppingDisk:
    """Make one, or skip the test where that cannot be done."""
    if os.geteuid() != 0:
        pytest.skip("freezing a file system needs root; remedy: run as root")
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("fsfreeze", "util-linux")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}; remedy: apt-get install {package}")
    try:
        return StoppingDisk()
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"no loop device can be mounted here ({error}); remedy: run as root outside")
