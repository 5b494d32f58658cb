"""How late a busy machine lets the threads of a test be."""

from __future__ import annotations

import math
import threading
import time
from typing import Self

NAP = 0.01


class Lateness:
    """Notes, from a thread, the most that one which sleeps a little at a time overslept."""

    def __init__(self) -> None:
        """Begin with the block that this is entered for."""
        self._most = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._due = time.monotonic() + NAP
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._due = math.inf

    @property
    def most(self) -> float:
        """Give the seconds, those of a sleep that has not ended yet included."""
        return max(self._most, time.monotonic() - self._due)

    @property
    def leeway(self) -> float:
        """Give the seconds by which several processes may be late that wait for each other."""
        return 4 * self.most

    def _run(self) -> None:
        while not self._end.is_set():
            self._due = time.monotonic() + NAP
            time.sleep(NAP)
            self._most = max(self._most, time.monotonic() - self._due)
