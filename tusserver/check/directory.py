"""The upload directory (floor 5): may it be used, is there room, what does it lie on."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.check.findings import Finding, error, fine, warning
from tusserver.errors import ConfigError
from tusserver.storage.files import allocate
from tusserver.storage.identity import read_identity
from tusserver.storage.layout import Places
from tusserver.storage.mounts import file_system, is_network
from tusserver.upload import Durability
from tusserver.values import LOCAL, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.config import Settings

SCARCE = 1024**3
"""Bytes above the reserve under which an operator should know."""
FEW_FILES = 10_000
_PASSING = {
    "tmpfs": "vanishes when the machine restarts",
    "ramfs": "vanishes when the machine restarts",
    "overlay": "belongs to the container and vanishes with it",
    "aufs": "belongs to the container and vanishes with it",
}
_FICLONE = 0x40049409  # linux/fs.h
_USABLE = os.R_OK | os.W_OK | os.X_OK


def nearest(path: Path) -> Path:
    """Give the directory itself, or the nearest one above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_directory(settings: Settings) -> Iterator[Finding]:
    """Look whether the directory can be used, by whom, and for which state it was made."""
    root = Path(settings.upload_dir).absolute()
    there = nearest(root)
    remedy = f"make {root} writable for the user of the server, or choose another --upload-dir"
    if not there.is_dir():
        yield error("upload_dir", f"{there} is not a directory.", remedy)
    elif not os.access(there, _USABLE):
        yield error("upload_dir", f"{there} cannot be written by this user.", remedy)
    elif there != root:
        yield fine("upload_dir", f"{root} is not there yet; it will be made.")
    else:
        yield from _of_whom(root)
        yield from _of_which_state(root, settings)


def _of_whom(root: Path) -> Iterator[Finding]:
    found = root.stat()
    mode = stat.S_IMODE(found.st_mode)
    if os.geteuid() == 0 and found.st_uid != 0:
        yield warning(
            "user",
            f"{root} belongs to user {found.st_uid}, and root can write everywhere: this check "
            "proves little.",
            "run the check as the user of the server",
        )
    if mode & stat.S_IWOTH:
        yield error(
            "upload_dir_mode",
            f"Every user of this machine can write to {root} (mode {mode:04o}).",
            f"chmod o-rwx {root}",
        )
    elif mode & (stat.S_IROTH | stat.S_IXOTH):
        yield warning(
            "upload_dir_mode",
            f"Every user of this machine can look into {root} (mode {mode:04o}).",
            f"chmod o-rwx {root}",
        )
    else:
        yield fine("upload_dir", f"{root} can be written.")


def _of_which_state(root: Path, settings: Settings) -> Iterator[Finding]:
    kind = "local" if settings.state == LOCAL else "redis"
    try:
        identity = read_identity(Places(root))
    except ConfigError as failure:
        yield error("store", f"{failure.reason}.", "restore .tusserver/store.json")
    except OSError as failure:
        yield error(
            "store",
            f"{failure.filename} cannot be read: {failure.strerror}.",
            "run the check as the user of the server",
        )
    else:
        if identity is not None and identity.state != kind:
            yield error(
                "store",
                f"{root} was made with state {identity.state}, not {kind}.",
                "correct --state, or run tusserver adopt",
            )


def check_space(settings: Settings) -> Iterator[Finding]:
    """Compare what is free with what is kept free."""
    place = nearest(settings.upload_dir)
    try:
        found = os.statvfs(place)
    except OSError as failure:
        yield error(
            "space", f"{place}: free space is unknown: {failure.strerror}.", "mend the disk"
        )
        return
    free = found.f_bavail * found.f_frsize
    reserve = settings.reserve
    shown = f"{_rounded(free)} are free at {place}, {format_size(reserve)} of them are kept free"
    if free <= reserve:
        yield error(
            "space", f"{shown}: no upload can be made.", "free some space, or lower --reserve"
        )
    elif free - reserve < SCARCE:
        yield warning("space", f"{shown}.", "free some space, or lower --reserve")
    else:
        yield fine("space", f"{shown}.")
    if found.f_files and found.f_favail < FEW_FILES:
        yield warning(
            "files",
            f"Only {found.f_favail} more files can be made at {place}; an upload takes two.",
            "use a file system with more inodes (mkfs), or delete small files",
        )


def _rounded(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"


def check_file_system(settings: Settings) -> Iterator[Finding]:
    """Look what the file system promises and what it can do."""
    place = nearest(settings.upload_dir)
    kind = file_system(place)
    durability = Durability(settings.durability)
    if kind in _PASSING:
        yield warning(
            "file_system",
            f"{place} lies on {kind}: what is there {_PASSING[kind]}.",
            "use --upload-dir on a disk; in a container, on a volume",
        )
    elif is_network(kind):
        yield warning(
            "file_system",
            f"{place} lies on {kind}, a network file system: --durability {durability.value} "
            f"{'works as strict' if durability is Durability.NORMAL else 'is kept'} there, which "
            "is slow, and only servers on one machine may share it.",
            "use --upload-dir on a disk of this machine",
        )
    else:
        yield fine("file_system", f"{place} lies on {kind}.")
    if durability is Durability.PROCESS:
        yield warning(
            "durability",
            "A power cut may lose uploads that were answered as complete.",
            "--durability normal",
        )
    yield from _abilities(place, kind)


def _abilities(place: Path, kind: str) -> Iterator[Finding]:
    """Try on files without a name."""
    try:
        with tempfile.TemporaryFile(dir=place) as one, tempfile.TemporaryFile(dir=place) as other:
            can_allocate = allocate(one.fileno(), 0, 4096)
            reflink = _can_clone(one.fileno(), other.fileno())
            can_copy = reflink or _can_copy(one.fileno(), other.fileno())
    except OSError as failure:
        yield error(
            "file_system_write",
            f"{place}: no file can be written: {failure.strerror}.",
            "free some space, mend the disk, or choose another --upload-dir",
        )
        return
    if not can_allocate:
        yield warning(
            "fallocate",
            f"{kind} cannot reserve space: a full disk is noticed in the middle of an upload.",
            "use ext4, xfs or btrfs for --upload-dir",
        )
    if not can_copy:
        yield warning(
            "copy_file_range",
            f"{kind} cannot copy inside the kernel: parallel uploads are joined slowly.",
            "use ext4, xfs or btrfs for --upload-dir",
        )
    elif can_allocate:
        how = "joins files without copying" if reflink else "copies inside the kernel"
        yield fine("abilities", f"{kind} reserves space and {how}.")


def _can_clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _can_copy(source: int, target: int) -> bool:
    try:
        os.copy_file_range(source, target, 4096)
    except OSError:
        return False
    return True
