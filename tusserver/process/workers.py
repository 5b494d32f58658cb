"""What the parent knows of each worker, and of each place for one (floor 5)."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SOON_SECONDS = 10.0
"""A worker that dies younger than this is not replaced at once, but later each time."""
FIRST_WAIT = 0.25
LONGEST_WAIT = 30.0


@dataclass(slots=True, eq=False)
class Worker:
    """One process."""

    number: int
    pid: int
    link: socket.socket
    """The parent's end of the line."""
    started: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)
    """When it last showed a sign of life."""
    is_ready: bool = False
    is_stopping: bool = False
    is_deaf: bool = False
    """Its end of the line is closed."""
    kill_at: float | None = None
    is_killed: bool = False
    dumped_at: float | None = None

    @classmethod
    def left_behind(cls, pid: int, link: int) -> Self:
        """Take over a worker of an earlier life by its descriptor."""
        end = socket.socket(fileno=link)
        end.set_inheritable(False)
        end.settimeout(0)
        return cls(0, pid, end, is_ready=True)

    def stop(self, kill_at: float | None) -> None:
        """Ask it to end; it is killed at `kill_at`."""
        self.is_stopping = True
        self.kill_at = kill_at
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send a signal. It cannot reach another process: ours are waited for before."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@dataclass(slots=True)
class Slot:
    """A place for one worker."""

    number: int
    worker: Worker | None = None
    due: float = 0.0
    """When another one may be started."""
    failures: int = 0
    """Deaths one after the other, each soon after the start."""
    has_failed: bool = False

    @property
    def has_settled(self) -> bool:
        """Tell whether its worker accepts, or one has failed."""
        return self.has_failed or (self.worker is not None and self.worker.is_ready)

    def died(self, worker: Worker) -> float:
        """Note a death; give the seconds until another one is started."""
        if time.monotonic() - worker.started >= SOON_SECONDS:
            self.failures = 0
            self.has_failed = True
            self.due = 0.0
            return 0.0
        return self.put_off()

    def put_off(self) -> float:
        """Wait longer each time; give the seconds."""
        self.has_failed = True
        self.failures += 1
        # The first one may have been bad luck.
        wait = min(FIRST_WAIT * 2 ** (self.failures - 2), LONGEST_WAIT) if self.failures > 1 else 0
        self.due = time.monotonic() + wait
        return wait


def ending(code: int) -> str:
    """Say how a process ended; `code` is negative for a signal."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def why(code: int) -> str:
    """Say where to look for the reason."""
    if code == -signal.SIGKILL:
        return "if nobody killed it, look for a lack of memory in the log of the kernel (dmesg)"
    if code < 0:
        return "if nobody sent that, please report it with what stands above"
    return "what stands above says why"


def is_held(pid: int) -> bool:
    """Tell whether somebody holds a process on purpose: a debugger, or SIGSTOP."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return fields.get("TracerPid", "0") != "0" or fields.get("State", "")[:1] in {"T", "t"}
