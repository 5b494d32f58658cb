"""What systemd is told (floor 5): ready, reloading, stopping, alive (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

_MICROSECONDS = 1_000_000


class Notifier:
    """Tells the service manager; does nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read where it listens, and how often it wants to hear that the program is alive."""
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract address begins with a zero byte, written as @.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(environ) if address else None
        """Seconds between two signs of life, half of what is allowed; None when nobody waits."""

    def ready(self, status: str) -> None:
        """Say that connections are accepted, at the start and after a reload."""
        self._tell("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Say that the program begins to replace itself; `ready` ends that."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Starting anew")

    def stopping(self) -> None:
        """Say that the program ends."""
        self._tell("STOPPING=1", "STATUS=Ending what runs")

    def alive(self) -> None:
        """Give a sign of life."""
        if self.watchdog is not None:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(0)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as exc:
            logger.warning("systemd was not told %s: %s", lines[0], exc.strerror)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or not int(wanted) or pid not in {"", str(os.getpid())}:
        return None
    return int(wanted) / _MICROSECONDS / 2
