"""Disks that can be filled, made read-only, and that fail in places: real ones, which need root."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
FIEMAP = 0xC020660B
FIEMAP_SYNC = 1
KEEP_SIZE_AND_PUNCH_HOLE = 3
MOST_EXTENTS = 512
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def need(*programs: str) -> None:
    """Skip the test, with the remedy, where disks cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a disk of its own needs root; remedy: run as root")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}; remedy: apt-get install e2fsprogs mount")


def mount(*words: str | Path) -> None:
    """Mount something, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here ({done.stderr.strip()}); remedy: CAP_SYS_ADMIN")


class SmallDisk:
    """A tmpfs of a size: it can be full, and have room again."""

    def __init__(self, size: int) -> None:
        need("mount")
        self.place = Path(tempfile.mkdtemp(prefix="tus-"))
        self._filler = self.place / "filler"
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.place], check=True)
        self.place.rmdir()

    def fill(self, *, leave: int = 0) -> None:
        """Write into a file of somebody else until at most `leave` bytes are free."""
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while (free := self.free()) > leave:
                filler.write(bytes(min(free - leave, MIB)))

    def make_room(self) -> None:
        """Remove what filled it."""
        self._filler.unlink(missing_ok=True)

    def free(self) -> int:
        """Give the bytes that are free."""
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_frsize


class ImageDisk:
    """A file system in a file `image`, which must be there, mounted at `place`."""

    def __init__(self, image: Path, kind: str, *, made: str = "", options: str = "") -> None:
        need("mount", "losetup", f"mkfs.{kind}")
        self.image = image
        self._options = ",".join(filter(None, ("loop", options)))
        subprocess.run([f"mkfs.{kind}", "-qF", "-b4096", *made.split(), image], check=True)
        # What mkfs left out has blocks of its own from here on.
        image.write_bytes(image.read_bytes())
        self.place = Path(tempfile.mkdtemp(prefix="tus-"))
        self.mount()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.mend()
        subprocess.run(["umount", "--lazy", self.place], check=False)
        self.place.rmdir()
        assert eventually(lambda: not self._is_looped(), within=10.0)

    def _is_looped(self) -> bool:
        found = subprocess.run(["losetup", "-j", self.image], capture_output=True, check=True)
        return bool(found.stdout)

    def mend(self) -> None:
        """Let everything be written again."""

    def mount(self) -> None:
        """Mount it."""
        mount("-o", self._options, self.image, self.place)

    def sync(self) -> None:
        """Have it write everything, and nobody else."""
        place = os.open(self.place, os.O_RDONLY)
        try:
            if _libc.syncfs(place):
                raise OSError(ctypes.get_errno(), "it cannot be synced")
        finally:
            os.close(place)

    def repair(self) -> None:
        """Do what its owner does after an error: unmount it, check it, mount it."""
        subprocess.run(["umount", self.place], check=True)
        subprocess.run(["e2fsck", "-fy", self.image], check=False, capture_output=True)
        self.mount()

    def find_error(self) -> None:
        """Have the kernel find an error in the file system."""
        found = subprocess.run(["losetup", "-j", self.image], capture_output=True, check=True)
        device = Path(found.stdout.decode().partition(":")[0]).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1", encoding="ascii")


class ThinDisk(ImageDisk):
    """An ext4 volume that was promised more than there is: some blocks cannot be written.

    The file lies in a tmpfs. To break a block, its page there is given back and the rest of the
    tmpfs filled. The kernel takes what is written to such blocks, and tells of it at the fdatasync
    (ENOSPC), as with the volumes of LVM, of clouds and of some file servers.
    """

    def __init__(self, *, size: int = 48 * MIB) -> None:
        self._behind = SmallDisk(size + 2 * MIB)
        image = self._behind.place / "image"
        image.write_bytes(bytes(size))
        super().__init__(image, "ext4", made="-E lazy_itable_init=0,lazy_journal_init=0,nodiscard")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._behind.__exit__()

    def break_blocks(self, path: Path, start: int = 0) -> None:
        """Let the blocks of a file from a place on fail when they are written."""
        with self.image.open("r+b") as image:
            for logical, physical, length in extents(path):
                first = max(start, logical)
                if first < logical + length:
                    at = physical + first - logical
                    count = logical + length - first
                    if _fallocate(image.fileno(), KEEP_SIZE_AND_PUNCH_HOLE, at, count):
                        raise OSError(ctypes.get_errno(), "no hole can be made")
        self._behind.fill()

    def mend(self) -> None:
        """Let all blocks be written again."""
        self._behind.make_room()


class FailingDisk(ImageDisk):
    """A disk that refuses every write for a while: EIO, which the kernel tells at the fdatasync.

    There is no journal, or the file system would end with the first refusal.
    """

    def __init__(self, *, size: int = 64 * MIB) -> None:
        need("chattr")
        self._folder = Path(tempfile.mkdtemp(prefix="tus-"))
        image = self._folder / "image"
        image.write_bytes(bytes(size))
        super().__init__(image, "ext4", made="-O ^has_journal", options="errors=continue")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        shutil.rmtree(self._folder)

    def break_(self) -> None:
        """Refuse all writes from here on: even root may not write to an immutable file."""
        done = subprocess.run(["chattr", "+i", self.image], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("the folder of temporary files knows no chattr; remedy: TMPDIR on ext4")

    def mend(self) -> None:
        """Take writes again."""
        subprocess.run(["chattr", "-i", self.image], check=False, capture_output=True)


def extents(path: Path) -> Iterator[tuple[int, int, int]]:
    """Tell where the blocks of a file are: place in the file, place on the disk, length."""
    with path.open("rb") as file:
        head = struct.pack("=QQLLLL", 0, 2**63, FIEMAP_SYNC, 0, MOST_EXTENTS, 0)
        buffer = bytearray(head + bytes(56 * MOST_EXTENTS))
        fcntl.ioctl(file, FIEMAP, buffer)
    count = struct.unpack_from("=L", buffer, 20)[0]
    for number in range(count):
        yield struct.unpack_from("=QQQ", buffer, 32 + 56 * number)
