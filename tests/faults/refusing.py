"""The server on a disk that refuses one sync: `python -m tests.faults.refusing`.

The sync of data number REFUSES_AT fails, and what was written since the one before is gone, as
kernels drop pages that they could not write: zeros stand there from then on.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import defaultdict
from pathlib import Path
from threading import Lock


class Disk:
    """Knows what was written to each file since it was synced."""

    def __init__(self, refuses_at: int) -> None:
        self._left = refuses_at
        self._written: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._lock = Lock()
        self._pwrite, self._fdatasync = os.pwrite, os.fdatasync

    def pwrite(self, descriptor, data, offset):
        count = self._pwrite(descriptor, data, offset)
        if (path := data_path(descriptor)) is not None:
            with self._lock:
                self._written[path].append((offset, count))
        return count

    def fdatasync(self, descriptor):
        path = data_path(descriptor)
        if path is None:
            return self._fdatasync(descriptor)
        with self._lock:
            written = self._written.pop(path, [])
            self._left -= 1
        if self._left != 0:
            return self._fdatasync(descriptor)
        with open(path, "r+b", buffering=0) as file:  # noqa: PTH123 - not the server's own way
            for offset, count in written:
                self._pwrite(file.fileno(), bytes(count), offset)
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def data_path(descriptor: int) -> str | None:
    """Give the path of a file that holds an upload's data; None for all others."""
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    return str(path) if len(path.name) == 32 and not path.suffix else None


def main() -> int:
    """Run the server."""
    disk = Disk(int(os.environ["REFUSES_AT"]))
    os.pwrite, os.fdatasync = disk.pwrite, disk.fdatasync
    from tusserver.cli import main as serve  # noqa: PLC0415 - after os is wrapped

    return serve()


if __name__ == "__main__":
    sys.exit(main())
