"""Which processes of a store are alive: each holds the lock of a file (floor 4; flock(2)).

The kernel frees the lock when its holder dies, whatever it died of. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path


def take_lock(path: Path, *, wait: bool = False) -> int | None:
    """Open, or make, and lock a file; None if somebody else has it. Raises: OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Between open and lock it may have been deleted as that of somebody dead.
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


class Workers:
    """The sign of life of this process, and those of the others."""

    def __init__(self, folder: Path) -> None:
        """Keep the signs in a folder."""
        self._folder = folder
        self._descriptor: int | None = None
        self.name = secrets.token_hex(8)
        """The name of this process."""

    def appear(self) -> None:
        """Make the sign of this process, and delete those of the dead. Raises: OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while (descriptor := take_lock(self._folder / self.name)) is None:
            time.sleep(0.001)  # Somebody looks whether it is dead.
        self._descriptor = descriptor
        for path in self._folder.iterdir():
            if path.name != self.name:
                self.is_alive(path.name)

    def is_alive(self, name: str) -> bool:
        """Tell whether a process lives; the sign of a dead one is deleted. Raises: OSError."""
        path = self._folder / Path(name).name
        if name == self.name:
            return True
        if not path.exists():
            return False
        descriptor = take_lock(path)
        if descriptor is None:
            return True
        path.unlink(missing_ok=True)
        os.close(descriptor)
        return False

    def vanish(self) -> None:
        """Take the sign of this process away."""
        if self._descriptor is not None:
            (self._folder / self.name).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
