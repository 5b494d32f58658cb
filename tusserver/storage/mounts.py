"""On what kind of file system a directory lies (floor 4; proc(5), "mountinfo")."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")
MOUNTED = Path("/sys/fs")
UNKNOWN = "unknown"

_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs", "virtiofs"),
    }
)
_NUMBERED = ("ext4", "xfs", "f2fs")
_DEVICE, _POINT = 2, 4
"""Fields of a line: major:minor of the device, and the mount point."""
_OCTAL = re.compile(r"\\([0-7]{3})")


def file_system(directory: Path) -> str:
    """Name the type of the file system of a directory; `unknown` if it cannot be found out."""
    try:
        table = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        device = directory.stat().st_dev
    except OSError:
        return UNKNOWN
    return parse_mounts(
        table,
        device=f"{os.major(device)}:{os.minor(device)}",
        path=PurePosixPath(os.path.realpath(directory)),
    )


def life_of_mount(device: int) -> str:
    """Tell this mount of a device from those before and after it; empty where that cannot be had.

    The same in all processes and containers. A disk file system that was unmounted, or that ended
    with an error and was mounted again, has lost what it had not written, as in a power cut.
    """
    block = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for kind in _NUMBERED:
        try:
            # The kernel makes this directory at the mount and numbers it anew.
            found = (MOUNTED / kind / Path(block).name).stat()
        except OSError:
            continue
        return f"{found.st_ino & 0xFFFFFFFF:x}"
    return ""


def parse_mounts(table: str, *, device: str, path: PurePosixPath) -> str:
    """Find the type of the file system that holds `path` in the text of mountinfo.

    The device decides; on file systems with several devices (btrfs) the longest mount point.
    """
    best, longest = UNKNOWN, -1
    for line in table.splitlines():
        mount, _, source = line.partition(" - ")
        fields, kinds = mount.split(" "), source.split(" ")
        if len(fields) <= _POINT or not kinds[0]:
            continue
        if fields[_DEVICE] == device:
            return kinds[0]
        point = PurePosixPath(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[_POINT]))
        # Later mounts hide earlier ones at the same place.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            best, longest = kinds[0], len(point.parts)
    return best


def is_network(kind: str) -> bool:
    """Tell whether a file system keeps its bytes elsewhere: page cache proves little there."""
    return kind in _NETWORK or kind == "fuse" or kind.startswith("fuse.")
