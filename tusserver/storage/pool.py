"""Threads for file calls, and the one kind of write the loop may do itself (floor 4)."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tusserver.storage.files import write_all

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

INLINE_LIMIT = 256 * 1024
"""Bytes that the loop writes itself at most."""
SLOW_WRITE = 0.020
"""Seconds after which a write was too slow for the loop."""
POOL_SECONDS = 10.0
"""Seconds for which all writes use the pool after a slow one."""


class FilePool:
    """A bounded number of threads; nobody is told of a result before its call has returned."""

    def __init__(self, threads: int, name: str) -> None:
        """Make no thread before one is needed."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(
        self, function: Callable[[], _T], *, undo: Callable[[_T], None] | None = None
    ) -> _T:
        """Run a blocking call in a thread.

        When this is cancelled it waits until the call has returned, gives what it made to `undo`
        (in a thread), and only then ends: no file is touched for a caller that is gone.
        """
        loop = asyncio.get_running_loop()
        # What the call logs belongs to the request that asked for it.
        context = copy_context()
        future = loop.run_in_executor(self._executor, context.run, function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _returned(future)
            if future.exception() is None and undo is not None:
                undoing = loop.run_in_executor(self._executor, undo, future.result())
                await _returned(undoing)
                if (error := undoing.exception()) is not None:
                    logger.warning("cleaning up after a cancelled call failed: %s", error)
            raise

    def start(self, function: Callable[[], None]) -> None:
        """Have a call made that raises nothing, and whose end nobody waits for but `close`."""
        self._executor.submit(function)

    async def close(self) -> None:
        """Wait for the calls that run, and end the threads."""
        await asyncio.to_thread(self._executor.shutdown)


async def _returned(future: asyncio.Future[_T]) -> None:
    """Wait until a call has returned, however often the waiting is cancelled."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


class TimedWriter:
    """Writes small pieces on the loop while the disk takes them at once, else in the pool.

    A pwrite into the page cache takes microseconds, less than a hop to a thread. Each is timed:
    after a slow one the store stays away from the loop for a while.
    """

    def __init__(self, pool: FilePool, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Use these threads; `clock` gives seconds that never jump."""
        self._pool = pool
        self._clock = clock
        self._pool_until = float("-inf")

    async def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`; the write has returned when this returns or raises.

        Raises: OSError.
        """
        start = self._clock()
        if len(data) > INLINE_LIMIT or start < self._pool_until:
            await self._pool.run(partial(write_all, descriptor, data, offset))
            return
        try:
            write_all(descriptor, data, offset)
        finally:
            self._judge(len(data), self._clock() - start)

    @property
    def is_quick(self) -> bool:
        """Tell whether the loop may write: the disk was quick lately."""
        return self._clock() >= self._pool_until

    def write_now(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write what the disk takes at once; give how many bytes that were, 0 in bad times.

        In pieces of at most 256 KiB: after a slow one the rest is the caller's again.
        Raises: OSError.
        """
        done, start = 0, self._clock()
        if start < self._pool_until:
            return 0
        while done < len(data):
            count = os.pwrite(descriptor, data[done : done + INLINE_LIMIT], offset + done)
            end = self._clock()
            done += count
            if self._judge(count, end - start):
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
