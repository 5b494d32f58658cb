"""How long a request waits for its upload, and whether somebody else had it (floor 4)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from tusserver.errors import AppendSuperseded, UploadLocked

if TYPE_CHECKING:
    from types import TracebackType

    from tusserver.measures import Meter

TAKEN, LOCKED, OVERTAKEN = "taken", "locked", "overtaken"


class Waiting:
    """One wait for turn and lease; tells a meter what came of it."""

    def __init__(self, meter: Meter, *, contended: bool, counts: bool) -> None:
        """Begin to wait; `contended`: somebody has the upload. Chores do not count."""
        self._meter = meter
        self._counts = counts
        self._start = time.perf_counter()
        self._is_over = False
        self.contended = contended

    def over(self) -> None:
        """Say that the lease is held."""
        self._is_over = True
        if self._counts:
            seconds = time.perf_counter() - self._start
            self._meter.lease_waited(seconds)
            if self.contended:
                self._meter.took_over(TAKEN, seconds)

    def __enter__(self) -> Self:
        """Wait in this block, and go on in it with the lease."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell of a wait that was in vain."""
        if self._is_over or not self._counts:
            return
        seconds = time.perf_counter() - self._start
        if isinstance(error, UploadLocked):
            self._meter.took_over(LOCKED, seconds)
        elif isinstance(error, AppendSuperseded):
            self._meter.took_over(OVERTAKEN, seconds)
