"""A small file system on a loop device that can lose its power."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: one number."""
NO_LOG_FLUSH = 2
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}
MIB = 1024 * 1024


class Disk:
    """A mounted image; `cut_power` drops all that is not on it."""

    def __init__(self, folder: Path, kind: str = "ext4", *, size: int = 256 * MIB) -> None:
        self.image = folder / "disk.img"
        self.mount_point = folder / "disk"
        self.mount_point.mkdir()
        with self.image.open("wb") as image:
            image.truncate(size)
        subprocess.run([*MAKE[kind], self.image], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.mount_point], check=True)

    def lose_power(self) -> None:
        """Drop all that is not on the disk; until it is mounted again everything fails."""
        fd = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def cut_power(self) -> None:
        """Drop all that is not on the disk, and bring the file system back."""
        self.lose_power()
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        subprocess.run(["umount", self.mount_point], check=True)


@contextmanager
def made_disk(kind: str = "ext4", *, size: int = 256 * MIB) -> Iterator[Disk]:
    """Make a disk for the block; the test is skipped, with the remedy, where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("cutting the power of a file system needs root; remedy: run as root")
    if shutil.which(MAKE[kind][0], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
        pytest.skip(f"no {MAKE[kind][0]}; remedy: apt-get install {PACKAGES[kind]}")
    folder = Path(tempfile.mkdtemp(prefix="cut-"))
    try:
        made = Disk(folder, kind, size=size)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"no loop device can be mounted here ({error}); remedy: run as root outside")
    try:
        yield made
    finally:
        made.unmount()
        shutil.rmtree(folder, ignore_errors=True)
