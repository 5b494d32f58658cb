"""How long the disk keeps those waiting that want something to be on it."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

EVERY = 0.1


class Slowness:
    """Syncs a little again and again, from a thread, and notes how long each took."""

    def __init__(self, directory: Path) -> None:
        """Begin with the block that this is entered for; the file has no name there."""
        self._directory = directory
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._calls: list[tuple[float, float]] = []
        self._begun: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def longest(self, since: float, until: float) -> float:
        """Give the seconds of the longest sync that was under way at some time in between."""
        calls, begun = self._calls[:], self._begun
        if begun is not None:
            calls.append((begun, time.monotonic()))
        there = [end - start for start, end in calls if start <= until and end >= since]
        return max(there, default=0.0)

    def _run(self) -> None:
        with tempfile.TemporaryFile(dir=self._directory) as file:
            while not self._end.wait(EVERY):
                self._begun = begun = time.monotonic()
                os.pwrite(file.fileno(), os.urandom(8), 0)
                os.fdatasync(file.fileno())
                self._calls.append((begun, time.monotonic()))
                self._begun = None
