"""One processor for a loop and the threads that make quick calls for it (sched_setaffinity(2)).

Each of them lets the interpreter go for every file or socket call and wants it back some
microseconds later. On two processors each such turn wakes the other one up, which takes longer
than the call; on one, who let go has it back before anybody else runs. So, while quick calls are
made, the loop stays on the processor it is on and those threads come to it: many small uploads
then take half the time. It is left free when no more are made, now and then for the kernel to find
it a better place, and for long where it had to wait for others. Processes that share the work
begin at one each.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

logger = logging.getLogger(__name__)

HOLD_SECONDS = 0.25
"""How long the loop stays on one processor before it is seen whether it should."""
MOST_SECONDS = 4.0
"""How long it stays there at most while quick calls go on and nobody else wants it."""
FREE_SECONDS = 0.01
"""How long it is free then at least; the kernel spreads what is runnable within milliseconds."""
PAUSE_SECONDS = 2.0
"""How long it is left alone when its processor had too much to do."""
CROWDED = 0.4
"""The part of its time that it may wait for others: one other that is as busy takes half."""
ALONE = 0.15
"""The part of its time that it may wait for others where it stays on."""
_THREADS = Path("/proc/self/task")


class Placing:
    """Keeps the loop of a process and some of its threads on one processor while that pays.

    For processes of our own only. What is started meanwhile begins where the loop is: threads are
    let go with it, other programs are not.
    """

    def __init__(
        self,
        locate: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """`locate` tells on which processor it is called; `clock` gives seconds.

        `spent` tells how long its thread has run, and has waited for processors, in nanoseconds.
        """
        self._locate = locate
        self._clock = clock
        self._spent = spent or _spent
        self._seat = -1
        self._began = 0, 0
        """What had been spent when the loop was held."""
        self._began_at = 0.0
        self._own = threading.local()
        self._processor = -1
        """Where all are held; none if negative."""
        self._period = 0
        self._all: Collection[int] = ()
        """The processors that are given back at the end."""
        self._free_until = float("-inf")
        self._most = 0.0
        """Until when it may be held."""
        self._worked = 0
        """Nanoseconds that threads have run for it since it was last seen to, about."""
        self._goes_on = False
        """Whether quick calls came since it was last seen to."""
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def here(cls) -> Placing | None:
        """Give one for this platform; None where threads cannot be placed, or nothing is gained."""
        if sys.platform != "linux" or not hasattr(os, "sched_setaffinity"):
            return None
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return None  # No thread waits for another one's turn.
        locate = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
        return None if locate is None else cls(locate)

    def sit(self, number: int) -> None:
        """Share the processors with other processes, each of which has another number."""
        # Not all programs of a machine begin at the same one.
        self._seat = number + os.getppid()

    # --- on the loop ---------------------------------------------------------------------

    def hold(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stay where we are for a while: calls are about to go to threads. Never raises."""
        if self._processor >= 0:
            self._goes_on = True
            return
        if self._clock() < self._free_until:
            return
        try:
            processor = self._take()
        except (OSError, ValueError, IndexError) as error:
            # A sandbox that knows no such call, a kernel that does not count.
            logger.debug("threads stay where the kernel puts them: %s", error)
            processor = -1
        if processor < 0:
            self._free_until = self._clock() + PAUSE_SECONDS
            return
        self._period += 1
        self._processor = processor
        self._worked, self._began_at = 0, self._clock()
        self._most = self._began_at + MOST_SECONDS
        self._timer = loop.call_later(HOLD_SECONDS, self._look, loop)

    def _take(self) -> int:
        """Hold this thread; give its processor, or -1 if there is no other. Raises: OSError, …."""
        # Somebody may have changed what we may use since the last time.
        allowed = os.sched_getaffinity(0)
        processor = self._choose(sorted(allowed))
        if processor not in allowed or len(allowed) == 1:
            return -1
        self._began = self._spent()
        self._all = _widest(allowed)
        os.sched_setaffinity(0, (processor,))
        return processor

    def _choose(self, allowed: list[int]) -> int:
        return self._locate() if self._seat < 0 else allowed[self._seat % len(allowed)]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """See whether the place is a good one; stay, or end the period."""
        is_crowded = False
        with suppress(OSError, ValueError, IndexError):
            (ran, waited), (ran_before, waited_before) = now, _ = self._spent(), self._began
            self._began = now
            ran, waited = ran - ran_before, waited - waited_before
            at, began_at = self._clock(), self._began_at
            # What threads did while the loop slept anyway made it wait for nothing.
            slept = (at - began_at) * 1e9 - ran - waited
            others = (waited - max(0, self._worked - max(0, slept))) / max(1, ran + waited)
            is_crowded = not ran or others > CROWDED
            stays = self._goes_on and others <= ALONE and at < self._most
            self._worked, self._goes_on, self._began_at = 0, False, at
            if stays and not is_crowded and self._is_held():
                self._timer = loop.call_later(HOLD_SECONDS, self._look, loop)
                return
        self.release()
        if is_crowded:
            self._free_until = self._clock() + PAUSE_SECONDS

    def _is_held(self) -> bool:
        """Tell whether nobody else has placed this thread meanwhile. Raises: OSError."""
        return os.sched_getaffinity(0) == {self._processor}

    def release(self) -> None:
        """Let the threads that are held go where they want. On the loop, or when that is over."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        processor, self._processor = self._processor, -1
        if processor < 0:
            return
        self._free_until = self._clock() + FREE_SECONDS
        _free(processor, self._all)

    # --- in threads ----------------------------------------------------------------------

    def join(self) -> None:
        """Come to the loop, before quick calls."""
        processor, own = self._processor, self._own
        own.noted = time.thread_time_ns()
        if processor >= 0 and getattr(own, "joined", 0) != self._period:
            own.joined, own.left = self._period, 0
            _place(0, (processor,))
            if self._processor != processor:  # it was left meanwhile
                _place(0, self._all)

    def note(self) -> None:
        """Say that this thread, which has come, made calls: while it runs the loop has to wait."""
        own, now = self._own, time.thread_time_ns()
        self._worked += now - own.noted  # two at once lose little
        own.noted = now

    def leave(self) -> None:
        """Go anywhere, before calls that take long; who was made just now is where the loop is."""
        own = self._own
        if self._processor >= 0 and getattr(own, "left", 0) != self._period:
            own.joined, own.left = 0, self._period
            _place(0, self._all)


def _spent() -> tuple[int, int]:
    """Tell how long this thread has run, and has waited for a processor that others had."""
    ran, waited, *_ = Path("/proc/thread-self/schedstat").read_bytes().split()
    return int(ran), int(waited)


def _widest(allowed: set[int]) -> Collection[int]:
    """Give what allows as much as this; all, if nobody has forbidden anything.

    What is asked for by number is remembered: processors that come later would not be used.
    """
    every = range(os.sysconf("SC_NPROCESSORS_CONF"))
    os.sched_setaffinity(0, every)
    if os.sched_getaffinity(0) == allowed:
        return every
    os.sched_setaffinity(0, allowed)
    return allowed


def _free(processor: int, processors: Collection[int]) -> None:
    """Let all threads go that are held here; others have been placed by somebody else."""
    seen: set[int] = set()
    with suppress(OSError):
        while new := {int(path.name) for path in _THREADS.iterdir()} - seen:
            seen |= new
            for thread in new:
                # One that has just ended has no place.
                with suppress(OSError):
                    if os.sched_getaffinity(thread) == {processor}:
                        os.sched_setaffinity(thread, processors)


def _place(thread: int, processors: Collection[int]) -> None:
    with suppress(OSError):  # they were taken from us meanwhile
        os.sched_setaffinity(thread, processors)
