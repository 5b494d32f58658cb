"""One processor for a loop and the threads that make quick calls for it (sched_setaffinity(2)).

Each of them lets the interpreter go for every file or socket call and wants it back some
microseconds later. On two processors each such turn wakes the other one up, which takes longer
than the call; on one, who let go has it back before anybody else runs. So, while quick calls are
made, the loop stays on the processor it is on and those threads come to it: many small uploads
then take half the time. It is left free again and again, for the kernel to find it a better place,
and for long where it had to wait for others. Processes that share the work begin at one each.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

HOLD_SECONDS = 0.25
"""How long the loop stays on one processor."""
FREE_SECONDS = 0.01
"""How long it is free then at least; the kernel spreads what is runnable within milliseconds."""
PAUSE_SECONDS = 2.0
"""How long it is left alone when its processor had too much to do."""
CROWDED = 0.42
"""The part of the time that it may wait for others: one other that is as busy takes half."""


class Placing:
    """Keeps the loop of a process and some of its threads on one processor while that pays.

    For processes of our own only: what the loop starts meanwhile is held as well, threads for a
    moment, other programs for ever.
    """

    def __init__(
        self,
        locate: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[], float] | None = None,
    ) -> None:
        """`locate` tells on which processor it is called; `clock` gives seconds.

        `waited` tells how long its thread has waited for processors, in seconds.
        """
        self._locate = locate
        self._clock = clock
        self._waited = waited or _waited
        self._seat = -1
        self._began = 0.0, 0.0
        """The clock, and what had been waited, when the loop was held."""
        self._own = threading.local()
        self._processor = -1
        """Where all are held; none if negative."""
        self._period = 0
        self._all: set[int] = set()
        """The processors that the loop may use; it may not be left on one when it ends."""
        self._free_until = float("-inf")
        self._end_of_period: asyncio.TimerHandle | None = None

    @classmethod
    def here(cls) -> Placing | None:
        """Give one for this platform; None where threads cannot be placed."""
        if sys.platform != "linux":
            return None
        locate = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
        return None if locate is None else cls(locate)

    def sit(self, number: int) -> None:
        """Share the processors with other processes, each of which has another number."""
        self._seat = number

    # --- on the loop ---------------------------------------------------------------------

    def hold(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stay where we are for a while: calls are about to go to threads."""
        if self._processor >= 0 or self._clock() < self._free_until:
            return
        try:
            # Somebody may have changed what we may use since the last time.
            self._all = os.sched_getaffinity(0)
            processor = self._choose()
            if self._all == {processor}:
                self._free_until = self._clock() + PAUSE_SECONDS
                return
            self._began = self._clock(), self._waited()
            os.sched_setaffinity(0, (processor,))
        except OSError:  # a sandbox that knows no such call, or a kernel that does not count
            self._free_until = self._clock() + PAUSE_SECONDS
            return
        self._period += 1
        self._processor = processor
        self._end_of_period = loop.call_later(HOLD_SECONDS, self._look)

    def _choose(self) -> int:
        if self._seat < 0:
            return self._locate()
        return sorted(self._all)[self._seat % len(self._all)]

    def _look(self) -> None:
        """End a period, and see whether the place was a good one."""
        self.release()
        now, (began, before) = self._clock(), self._began
        with suppress(OSError):
            if self._waited() - before > CROWDED * (now - began):
                self._free_until = now + PAUSE_SECONDS

    def release(self) -> None:
        """Let every thread of the process go where it wants. On the loop, or when that is over."""
        if self._end_of_period is not None:
            self._end_of_period.cancel()
            self._end_of_period = None
        if self._processor < 0:
            return
        self._processor = -1
        self._free_until = self._clock() + FREE_SECONDS
        # All of them: who was made meanwhile was made where the loop was.
        _place([thread.native_id for thread in threading.enumerate()], self._all)

    # --- in threads ----------------------------------------------------------------------

    def join(self) -> None:
        """Come to the loop, before quick calls."""
        processor = self._processor
        if processor >= 0 and getattr(self._own, "period", 0) != self._period:
            self._own.period = self._period
            _place([0], (processor,))
            if self._processor != processor:  # it was left meanwhile
                _place([0], self._all)

    def leave(self) -> None:
        """Go anywhere, before calls that take long."""
        if self._processor >= 0 and getattr(self._own, "period", 0) == self._period:
            self._own.period = 0
            _place([0], self._all)


def _waited() -> float:
    """Tell how long this thread has waited for a processor that others had, in seconds."""
    with Path("/proc/thread-self/schedstat").open(encoding="ascii") as counts:
        return int(counts.read().split()[1]) / 1e9


def _place(threads: Iterable[int | None], processors: Iterable[int]) -> None:
    for thread in threads:
        if thread is not None:
            # One that has just ended, or processors that were taken from us meanwhile.
            with suppress(OSError):
                os.sched_setaffinity(thread, processors)
