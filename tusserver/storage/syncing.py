"""From the page cache to the disk (floor 4; fdatasync(2), sync_file_range(2)).

A sync takes as long as the disk has to write, and many small ones take no longer than one: the
file system puts what waits at the same time into one commit of its journal. So there are threads
for many syncs at once, and what may take seconds has others, so that no small upload waits for a
large one.

The disk begins with the bytes of a large upload while more of them arrive. What of that fails is
known to the next fdatasync only, as with all that the kernel writes by itself.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tusserver.storage.files import start_writing, sync_data
from tusserver.storage.pool import FilePool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tusserver.storage.leases import FileLease

_T = TypeVar("_T")

SMALL_THREADS = 16
LARGE_THREADS = 4
WRITING_THREADS = 2
LARGE = 8 * 1024 * 1024
"""Bytes from which on a file is synced where it lets no small one wait."""


class Syncing:
    """The threads in which one store syncs."""

    def __init__(self) -> None:
        """Make no thread before one is needed."""
        self._small = FilePool(SMALL_THREADS, "tusserver-sync")
        self._large = FilePool(LARGE_THREADS, "tusserver-sync-large")
        self._early = ThreadPoolExecutor(WRITING_THREADS, thread_name_prefix="tusserver-write")
        self._told: set[FileLease] = set()
        """Those of whose bytes the disk is being told: for each upload one call at a time."""
        self._can_write_early = True
        """Whether the kernel can be told to begin; found out by trying."""

    async def close(self) -> None:
        """Wait for the calls that run, and end the threads."""
        await self._small.close()
        await self._large.close()
        await asyncio.to_thread(self._early.shutdown)

    async def run(
        self, function: Callable[[], _T], *, undo: Callable[[_T], None] | None = None
    ) -> _T:
        """Run a call that syncs little; see `FilePool.run`."""
        return await self._small.run(function, undo=undo)

    async def sync(self, path: Path, held: FileLease | None) -> None:
        """Put a file's data on the disk (fdatasync); `held` is its lease, if that is here.

        Raises: OSError, after which the same sync must not be tried again.
        """
        if held is None:
            await self._large.run(partial(sync_data, path, -1))
            return
        pool = self._large if held.reserved > LARGE else self._small
        # The kernel tells a lost write to those who had the file open at that time: a
        # duplicate of the writer's descriptor misses none, and does not keep its lock.
        await pool.run(partial(sync_data, path, os.dup(held.descriptor)))

    def write_early(self, lease: FileLease, start: int, end: int) -> bool:
        """Have the disk begin with these bytes of a leased file; never wait.

        Gives False while it is told of others of this file: then come again later.
        """
        if not self._can_write_early:
            return True
        if lease in self._told:
            return False
        with suppress(OSError):
            # The lease may end meanwhile, and another file get its number.
            descriptor = os.dup(lease.descriptor)
            self._told.add(lease)
            self._early.submit(self._tell, lease, descriptor, start, end)
        return True

    def _tell(self, lease: FileLease, descriptor: int, start: int, end: int) -> None:
        try:
            if not start_writing(descriptor, start, end - start):
                self._can_write_early = False
        finally:
            os.close(descriptor)
            self._told.discard(lease)
