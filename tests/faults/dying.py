"""The server as a program that dies at a step of its own choice: `python -m tests.faults.dying`.

Steps are the calls that leave something behind: on the disk, in the outbox, on a socket. All
processes count them together, and the one that is about to make the step number DIES_AT is killed,
or all of them. Where narrow windows are, no clock has to hit them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import struct
import sys
from functools import wraps

STEPS = [
    "pwrite", "fsync", "fdatasync", "rename", "replace", "link", "unlink", "remove", "rmdir",
    "mkdir", "posix_fallocate", "ftruncate", "copy_file_range", "sendfile",
]  # fmt: skip
SHELF_STEPS = ["put", "confirm", "delivered", "progress", "settle", "doubt"]


class Countdown:
    """Counts the steps of all processes that are forked from this one."""

    def __init__(self, dies_at: int, *, alone: bool) -> None:
        self._dies_at = dies_at
        self._alone = alone
        self._shared = mmap.mmap(-1, 8)

    def step(self) -> None:
        """Count; do not come back from the last one."""
        (count,) = struct.unpack("q", self._shared[:])
        self._shared[:] = struct.pack("q", count + 1)
        if count + 1 == self._dies_at:
            if self._alone:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                os.killpg(0, signal.SIGKILL)

    def wrap(self, call):
        """Give a call that is counted before it is made."""

        @wraps(call)
        def counted(*args, **kwargs):
            self.step()
            return call(*args, **kwargs)

        return counted


def arm(countdown: Countdown) -> None:
    """Count what leaves something behind."""
    for name in STEPS:
        setattr(os, name, countdown.wrap(getattr(os, name)))
    fcntl.flock = countdown.wrap(fcntl.flock)
    for name in ("send", "sendto", "sendmsg"):
        setattr(socket.socket, name, countdown.wrap(getattr(socket.socket, name)))
    from tusserver.hooks.shelf import Shelf  # noqa: PLC0415 - after os is wrapped

    for name in SHELF_STEPS:
        setattr(Shelf, name, countdown.wrap(getattr(Shelf, name)))


def main() -> int:
    """Run the server."""
    dies_at = int(os.environ.get("DIES_AT", "0"))
    if dies_at:
        arm(Countdown(dies_at, alone=os.environ.get("DIES_ALONE") == "1"))
    from tusserver.cli import main as serve  # noqa: PLC0415 - the same

    return serve()


if __name__ == "__main__":
    sys.exit(main())
