"""Signals of a process without an event loop, as something that can be selected (floor 5)."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import suppress

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class SignalPipe:
    """Collects signals; `reader` becomes readable with each."""

    def __init__(self) -> None:
        """Take SIGTERM, SIGINT and SIGCHLD over, and SIGHUP where it does not end a terminal."""
        self.reader, self._writer = socket.socketpair()
        self.reader.settimeout(0)
        self._writer.settimeout(0)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*_WATCHED, signal.SIGHUP):
            if number != signal.SIGHUP or restarts_on_hangup():
                signal.signal(number, _ignore)

    def take(self) -> list[int]:
        """Give the numbers that came since the last time."""
        with suppress(BlockingIOError):
            return list(self.reader.recv(4096))
        return []

    def close(self) -> None:
        """Collect no more, in a child."""
        signal.set_wakeup_fd(-1)
        self.reader.close()
        self._writer.close()


def restarts_on_hangup() -> bool:
    """Tell whether SIGHUP asks for a restart; from a terminal, it says that nobody is there."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        return False
    return sys.stdin is None or not sys.stdin.isatty()


def _ignore(number: int, frame: object) -> None:
    """Let the pipe tell."""
