"""Pieces of a body on their way to the file, written by threads (floor 4).

While the disk may hold whoever writes to it, that is not the event loop: it leaves a piece to a
thread, in the memory in which it arrived, and receives the next one into other memory. One piece of
an append is written at a time, in order, and one more may wait: then no more is received.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tusserver.storage.files import write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.body import Lender, Tap
    from tusserver.storage.pool import FilePool

WORTH_LENDING = 64 * 1024
"""Bytes from which on a piece is not copied to be handed over."""
WRITE_THREADS = 4
"""Threads that write pieces for one store."""
DEPTH = 2
"""Pieces of one body that may be on their way."""


class Pieces:
    """What of one append is on its way to the file."""

    def __init__(
        self,
        pool: FilePool,
        descriptor: int,
        *,
        tap: Tap | None,
        written: Callable[[int], None],
        failed: Callable[[OSError], None],
    ) -> None:
        """Write in `pool`; tell on the loop what was `written`, in bytes, or why that `failed`."""
        self._pool = pool
        self._descriptor = descriptor
        self._tap = tap
        self._tell_written = written
        self._tell_failed = failed
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[bytes | memoryview, int, Lender | None]] = deque()
        self._drained: asyncio.Future[None] | None = None
        self.waiting = 0
        """Bytes that are not in the file yet."""

    @property
    def is_full(self) -> bool:
        """Tell whether no more should come for now."""
        return len(self._queue) >= DEPTH

    def add(self, data: memoryview, at: int, lender: Lender | None) -> None:
        """Have a piece written at this place, which follows those before."""
        if lender is not None and len(data) >= WORTH_LENDING:
            lender.lend(data)
            self._queue.append((data, at, lender))
        else:
            self._queue.append((bytes(data), at, None))
        self.waiting += len(data)
        if len(self._queue) == 1:
            self._begin()

    async def drained(self) -> None:
        """Wait until nothing is on its way. A cancellation comes through only then."""
        cancelled: asyncio.CancelledError | None = None
        while self._queue:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _begin(self) -> None:
        data, at, _ = self._queue[0]
        self._pool.start(partial(self._write, data, at))

    def _write(self, data: bytes | memoryview, at: int) -> None:
        """Write one piece. In a thread."""
        error: OSError | None = None
        try:
            write_all(self._descriptor, data, at)
            if self._tap is not None:
                self._tap.update(data)
        except OSError as exc:
            error = exc
        # A loop that was closed meanwhile has nobody who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._written, error)

    def _written(self, error: OSError | None) -> None:
        """Count a piece, and go on with the next one."""
        data, _, lender = self._queue.popleft()
        count = len(data)
        self.waiting -= count
        if lender is not None and isinstance(data, memoryview):
            lender.take_back(data)
        if error is None:
            self._tell_written(count)
            if self._queue:
                self._begin()
        else:
            self._drop()
            self._tell_failed(error)
        if not self._queue and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _drop(self) -> None:
        """Forget what follows a piece that could not be written."""
        while self._queue:
            data, _, lender = self._queue.popleft()
            if lender is not None and isinstance(data, memoryview):
                lender.take_back(data)
        self.waiting = 0
