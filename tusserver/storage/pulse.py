"""Whether a file system takes writes, and its disk keeps up (floor 4; sync_file_range(2)).

A write into the page cache takes microseconds until it takes seconds: when the kernel stops who
fills its memory faster than the disk empties it, when the journal waits for the disk, while the
file system is frozen for a snapshot. Nothing tells that beforehand, and a write that has begun
cannot be given up. So, while the event loop writes, two threads try it again and again in a small
file of their own: one writes, the other has that reach the disk. The loop writes only while both
were through a moment ago. After a pause they go first.

What this cannot do: a file system that stops between one beat and the next write of the loop holds
the loop, once, until it goes on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tusserver.errors import StorageStalled
from tusserver.storage.files import PRIVATE_MODE, finish_writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.1
"""How often a write is tried while the loop writes."""
REACH_SECONDS = 0.25
"""How often something is put on the disk meanwhile."""
LATE_SECONDS = 0.5
"""Seconds that a beat may take; threads come late as well, where processors are busy."""
PAUSE_SECONDS = 1.0
"""Seconds without a beat after which one goes first."""
STALLED_SECONDS = 5.0
"""Seconds that one write takes after which nothing new is begun."""
_BYTES = b"tusserver\n"


class _Beat:
    """One call that is made again and again, in a thread of its own."""

    def __init__(
        self, function: Callable[[], None], every: float, clock: Callable[[], float], name: str
    ) -> None:
        """Call `function` every so many seconds at most; `name` is the thread's."""
        self._function = function
        self._every = every
        self._clock = clock
        self._name = name
        self._asked: SimpleQueue[float | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.begun_at = float("-inf")
        """When it was asked for last."""
        self.returned = float("-inf")
        """When the last one that has returned was asked for."""

    def look(self, now: float) -> bool:
        """Ask for the next call if it is due; tell whether the last one is not long ago."""
        is_through = self.returned >= self.begun_at
        if is_through and now - self.begun_at >= self._every:
            if self._thread is None:
                # Nobody waits for it at the end: it may hang for ever.
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self.begun_at = now
            self._asked.put(now)
        return self.hangs(now) < LATE_SECONDS and now - self.returned < PAUSE_SECONDS

    def hangs(self, now: float) -> float:
        """Give the seconds since a call was asked for that has not returned."""
        return 0.0 if self.returned >= self.begun_at else now - self.begun_at

    def _work(self) -> None:
        while (begun_at := self._asked.get()) is not None:
            try:
                self._function()
            except OSError as exc:
                # It has answered; whose bytes are refused is told so by their own write.
                logger.debug("%s: %s", self._name, exc)
            took = self._clock() - begun_at
            if took >= STALLED_SECONDS:
                logger.warning("%s: the disk answers again, after %.0f s", self._name, took)
            self.returned = begun_at

    def end(self) -> bool:
        """Make no more calls; tell whether none runs any more, a second later at most."""
        if self._thread is None:
            return True
        self._asked.put(None)
        self._thread.join(1.0)
        return not self._thread.is_alive()


class Pulse:
    """Watches the file system of one store while it is written to by the event loop."""

    def __init__(
        self, *, is_trusted: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch nothing before `open`; one that is not trusted is never found steady.

        `clock` gives seconds that never jump.
        """
        self._is_trusted = is_trusted
        self._clock = clock
        self._path: Path | None = None
        self._descriptor = -1
        self._beats = (
            _Beat(self._write, BEAT_SECONDS, clock, "tusserver-pulse"),
            _Beat(self._reach, REACH_SECONDS, clock, "tusserver-reach"),
        )
        self._steady_until = float("-inf")
        self._was_told = False

    def open(self, directory: Path) -> None:
        """Begin, with a file without a name in this directory; the first beats are its own.

        Blocks. Raises: OSError.
        """
        path = directory / f"pulse-{os.getpid()}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, PRIVATE_MODE)
        path.unlink(missing_ok=True)
        now = self._clock()
        # A full disk is told to who asks for space, not to who starts the server.
        with suppress(OSError):
            self._reach()
        for beat in self._beats:
            beat.begun_at = beat.returned = now
        self._path = directory

    def close(self) -> None:
        """End; blocks for a moment. A call that hangs is left to itself, and so is the file."""
        self._path = None
        ended = [beat.end() for beat in self._beats]
        if self._descriptor >= 0 and all(ended):
            os.close(self._descriptor)
        self._descriptor = -1

    def is_steady(self, now: float) -> bool:
        """Tell whether a write now would be taken at once, as far as can be known."""
        return now < self._steady_until or self._look(now)

    def _look(self, now: float) -> bool:
        if self._path is None:
            return self._is_trusted
        steady = [beat.look(now) for beat in self._beats]
        if not self._is_trusted or not all(steady):
            return False
        self._steady_until = now + BEAT_SECONDS
        return True

    def check(self) -> None:
        """Raise StorageStalled while not even a small write returns; it is logged once."""
        now = self._clock()
        self.is_steady(now)
        seconds = self._beats[0].hangs(now)
        if seconds < STALLED_SECONDS:
            self._was_told = False
            return
        if not self._was_told:
            self._was_told = True
            logger.error(
                "%s: a write of %d bytes has not returned for %.0f s; nothing new is begun there, "
                "and what runs goes on when it does: look whether the file system is frozen for a "
                "snapshot (fsfreeze --unfreeze thaws it), and at the kernel's log for its disk",
                self._path,
                len(_BYTES),
                seconds,
            )
        raise StorageStalled

    def _write(self) -> None:
        os.pwrite(self._descriptor, _BYTES, 0)

    def _reach(self) -> None:
        # What was written before may be on the disk already.
        os.pwrite(self._descriptor, _BYTES, 0)
        finish_writing(self._descriptor, 0, len(_BYTES))
