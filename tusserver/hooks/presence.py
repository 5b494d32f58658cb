"""Which processes of a store are alive, by the kernel's locks (floor 4).

Each process holds the lock of a file of its own; its death frees the lock at once.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ALIVE = ".alive"
NEW = ".new"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


class Presence:
    """The sign of life of this process. Its methods block, shortly."""

    def __init__(self, directory: Path) -> None:
        """Keep the files in this directory."""
        self._directory = directory
        self.name = ""
        self._descriptor = -1

    def enter(self) -> None:
        """Show that this process is there, and clear up after dead ones. Raises: OSError."""
        self.name = secrets.token_hex(8)
        new = self._directory / (self.name + NEW)
        self._descriptor = os.open(new, _FLAGS, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self._directory / (self.name + ALIVE))  # from now on the lock counts
        for sign in self._directory.glob(f"*{ALIVE}"):
            self.is_dead(sign.stem)

    def leave(self) -> None:
        """Take the sign away. Raises: OSError."""
        if self._descriptor >= 0:
            (self._directory / (self.name + ALIVE)).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def is_dead(self, name: str) -> bool:
        """Tell whether a process that was there has gone; its sign is deleted. Raises: OSError."""
        if name == self.name:
            return False
        sign = self._directory / (name + ALIVE)
        try:
            descriptor = os.open(sign, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            sign.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)
