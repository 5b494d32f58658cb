"""Threads for file calls, and the one kind of write the loop may do itself (floor 4)."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import resource
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tusserver.body import NO_SPLICE
from tusserver.storage.files import write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.storage.placing import Placing
    from tusserver.storage.pulse import Pulse

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

INLINE_LIMIT = 256 * 1024
"""Bytes that the loop writes itself at most."""
GRAIN = 65_536
"""Bytes at whose multiples in the file those pieces end."""
SLOW_WRITE = 0.020
"""Seconds after which a write was too slow for the loop."""
TOGETHER = 16
"""Quick calls of which one thread tells at once; for more another one is started."""
TELL_SECONDS = 0.002
"""Seconds after which a thread tells what it has, whatever else it has to do."""
STUCK_SECONDS = 0.005
"""Seconds without a result after which others take what waits for busy threads."""
POOL_SECONDS = 10.0
"""Seconds for which all writes use the pool after a slow one."""


class _Call(asyncio.Future[Any]):
    """A blocking call. It cannot be cancelled: who is cancelled meanwhile ends when it returns."""

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        """Ask for a call, to be told of it on this loop."""
        super().__init__(loop=loop)
        self._function = function
        # What the call logs belongs to the request that asked for it.
        self._context = copy_context()
        self._outcome: tuple[Any, BaseException | None] = None, None

    def cancel(self, msg: Any | None = None) -> bool:
        """Refuse: then the task that waits gets its cancellation once this is done."""
        del msg
        return False

    def make(self) -> None:
        """Make the call, in a thread."""
        try:
            self._outcome = self._context.run(self._function), None
        except BaseException as exc:  # noqa: BLE001 - it is the caller's
            self._outcome = None, exc

    def tell(self) -> None:
        """Tell who waits what came of it, on the loop."""
        result, error = self._outcome
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)


class FilePool:
    """A bounded number of threads; nobody is told of a result before its call has returned."""

    def __init__(self, threads: int, name: str, *, placing: Placing | None = None) -> None:
        """Make no thread before one is needed; `placing` says where those with quick calls run."""
        self._threads = threads
        self._placing = placing
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = Lock()
        self._queue: deque[_Call] = deque()
        self._workers = 0
        """Jobs that take calls from the queue, running or about to."""
        self._returned_at = self._seen_at = 0.0
        """When one of them had made a call last, and the same as it was seen last."""
        self._done: deque[_Call] = deque()
        """Calls that were made, and of which nobody was told."""
        self._due = self._watched = False

    async def run(
        self,
        function: Callable[[], _T],
        *,
        undo: Callable[[_T], None] | None = None,
        quick: bool = False,
    ) -> _T:
        """Run a blocking call in a thread.

        `quick`: it takes microseconds as a rule, less than the way to a thread; such calls share
        their way. When this is cancelled it waits until the call has returned, gives what it made
        to `undo` (in a thread), and only then ends: no file is touched for a caller that is gone.
        """
        loop = asyncio.get_running_loop()
        call = _Call(function, loop)
        if quick:
            self._join(call, loop)
        else:
            self._executor.submit(self._make_alone, call, loop)
        try:
            return cast("_T", await call)
        except asyncio.CancelledError:
            if call.exception() is None and undo is not None:
                undoing = _Call(partial(undo, call.result()), loop)
                self._executor.submit(self._make_alone, undoing, loop)
                await _returned(undoing)
                if (error := undoing.exception()) is not None:
                    logger.warning("cleaning up after a cancelled call failed: %s", error)
            raise

    # --- calls that share their way ------------------------------------------------------

    def _join(self, call: _Call, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._queue.append(call)
        if not self._due:
            # What others ask for in this turn goes with it.
            self._due = True
            loop.call_soon(self._send, loop)

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that threads take what is queued; a call that hangs holds no other up."""
        self._due = False
        if self._placing is not None and self._queue:
            self._placing.hold(loop)
        now = time.monotonic()
        with self._lock:
            waiting = len(self._queue)
            if not waiting:
                return
            if self._workers and now - self._returned_at < STUCK_SECONDS:
                more = waiting // TOGETHER - self._workers + 1
            else:
                more = 1 + waiting // TOGETHER
                self._returned_at = now
            more = max(0, min(more, self._threads - self._workers))
            self._workers += more
        for _ in range(more):
            self._executor.submit(self._work, loop)
        self._look_soon(loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look whether what was left to busy threads was taken by them, and what they have done.

        A call that hangs is not to keep from others what came of theirs: once it does no more is
        done, and whoever comes out of one tells at once.
        """
        self._watched = False
        self._tell_done()
        self._send(loop)
        if self._workers and self._returned_at != self._seen_at:
            self._seen_at = self._returned_at
            self._look_soon(loop)

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._watched:
            self._watched = True
            loop.call_later(STUCK_SECONDS, self._watch, loop)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make calls until none is left, and tell of them together. In a thread."""
        if self._placing is not None:
            self._placing.join()
        done, since = 0, time.monotonic()
        while True:
            with self._lock:
                if not self._queue:
                    self._workers -= 1
                    break
                call = self._queue.popleft()
            call.make()
            # In this order: who looks meanwhile looks again.
            self._returned_at = now = time.monotonic()
            self._done.append(call)
            done += 1
            if done == TOGETHER or now - since > TELL_SECONDS:
                self._tell(loop)
                done, since = 0, now
        if done:
            self._tell(loop)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._placing is not None:
            self._placing.note()
        _call_soon(loop, self._tell_done)

    def _tell_done(self) -> None:
        """Tell of all that was done, on the loop."""
        while self._done:
            self._done.popleft().tell()

    def start(self, function: Callable[[], None]) -> None:
        """Have a call made that raises nothing, and whose end nobody waits for but `close`."""
        self._executor.submit(self._alone, function)

    # --- calls that go alone -------------------------------------------------------------

    def _make_alone(self, call: _Call, loop: asyncio.AbstractEventLoop) -> None:
        self._alone(call.make)
        _call_soon(loop, call.tell)

    def _alone(self, function: Callable[[], None]) -> None:
        if self._placing is not None:
            self._placing.leave()
        function()

    async def close(self) -> None:
        """Wait for the calls that run, and end the threads."""
        await asyncio.to_thread(self._executor.shutdown)


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    # A loop that was closed meanwhile has nobody who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


async def _returned(future: asyncio.Future[_T]) -> None:
    """Wait until a call has returned, however often the waiting is cancelled."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


def waits_of_thread() -> int:
    """Count how often this thread has waited for anything but its turn on a processor."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class TimedWriter:
    """Writes small pieces on the loop while the disk takes them at once, else in the pool.

    A pwrite into the page cache takes microseconds, less than a hop to a thread. Each is timed:
    after a slow one the store stays away from the loop for a while, and so it does while `Pulse`
    has doubts.
    """

    def __init__(
        self,
        pool: FilePool,
        *,
        pulse: Pulse | None = None,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[], int] | None = None,
    ) -> None:
        """Use these threads; `clock` gives seconds that never jump.

        `waits`: counts what the loop's thread has waited for; a large write that waited for
        nothing is not slow, however long the thread had to stand back.
        """
        self._pool = pool
        self._pulse = pulse
        self._clock = clock
        # Where nobody counts, each write may have waited.
        self._waits = waits or itertools.count().__next__
        self._pool_until = float("-inf")
        self.can_draw = hasattr(os, "splice")
        """Whether files take bytes from a pipe, as far as is known."""

    async def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`; the write has returned when this returns or raises.

        Raises: OSError.
        """
        start = self._clock()
        if len(data) > INLINE_LIMIT or not self._may_write(start):
            await self._pool.run(partial(write_all, descriptor, data, offset))
            return
        try:
            write_all(descriptor, data, offset)
        finally:
            self._judge(len(data), self._clock() - start)

    @property
    def is_quick(self) -> bool:
        """Tell whether the loop may write: the disk was quick lately."""
        return self._may_write(self._clock())

    def _may_write(self, now: float) -> bool:
        pulse = self._pulse
        return now >= self._pool_until and (pulse is None or pulse.is_steady(now))

    def write_now(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write what the disk takes at once; give how many bytes that were, 0 in bad times.

        In pieces of at most 256 KiB: after a slow one the rest is the caller's again.
        Raises: OSError.
        """

        def step(done: int, until: int) -> int:
            return os.pwrite(descriptor, data[done:until], offset + done)

        return self._in_pieces(step, len(data), offset)

    def draw_now(self, descriptor: int, pipe: int, size: int, offset: int) -> int:
        """Do the same with the first `size` bytes that lie in a pipe (splice(2)).

        What was not written is still in the pipe. Raises: OSError (none of it was).
        """
        drawn = 0

        def step(done: int, until: int) -> int:
            nonlocal drawn
            count = os.splice(pipe, descriptor, until - done, offset_dst=offset + done)
            drawn += count
            return count

        try:
            return self._in_pieces(step, size, offset)
        except OSError as error:
            if drawn:
                # What was the matter comes up again with the rest.
                return drawn
            if error.errno not in NO_SPLICE:
                raise
            self.can_draw = False
            return 0

    def _in_pieces(self, step: Callable[[int, int], int], size: int, offset: int) -> int:
        done, start = 0, self._clock()
        waits = self._waits()
        while done < size and self._may_write(start):
            # A piece that ends within a page makes the next one begin there, which costs a quarter.
            until = done + INLINE_LIMIT - (offset + done) % GRAIN
            count = step(done, min(until, size))
            end = self._clock()
            if not count:
                raise OSError(errno.EIO, "the kernel wrote nothing")
            done += count
            if end - start > SLOW_WRITE and self._waits() == waits:
                # Others had the processor: that says nothing about the disk.
                end = self._clock()
            elif self._judge(count, end - start):
                break
            start = end
        return done

    def _judge(self, count: int, took: float) -> bool:
        """Tell whether a write was too slow for the loop, and stay away from it if so."""
        if took <= SLOW_WRITE:
            return False
        self._pool_until = self._clock() + POOL_SECONDS
        logger.info(
            "a write of %d bytes took %.0f ms: the next %.0f s use threads",
            count,
            took * 1000,
            POOL_SECONDS,
        )
        return True
