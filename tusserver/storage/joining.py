"""Joining parts into one file, inside the kernel (floor 4; tus 1.0.0, "Concatenation").

The bytes never pass through Python: copy_file_range(2), which shares blocks where the file
system can, else sendfile(2). What is no coroutine here blocks: call it in a thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tusserver.errors import StorageFault
from tusserver.storage.files import COPY_LIMIT, copy_range
from tusserver.storage.trouble import logger, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tusserver.storage.leases import FileLease
    from tusserver.storage.pool import FilePool
    from tusserver.storage.space import Space


class Joiner:
    """One assembly: a target, its parts in order, and how far it has come."""

    def __init__(
        self, lease: FileLease, parts: Sequence[tuple[Path, int]], *, space: Space
    ) -> None:
        """Join parts (path, length) into the leased file from byte 0."""
        self._lease = lease
        self._parts = parts
        self._space = space
        self._total = sum(length for _, length in parts)
        self._part = 0
        self._from = 0
        self._to = 0

    async def join(self, pool: FilePool, *, stop: Callable[[], bool]) -> bool:
        """Join all in `pool`; False if `stop` said so before the end."""
        with translated(self._lease.path, "reserving space for"):
            await pool.run(self.begin)
        more = True
        while more:
            if stop():
                return False
            more = await pool.run(self.step)
        return True

    def begin(self) -> None:
        """Give the target its length and its blocks. Raises: StorageFull, MaxSizeExceeded, OSError.

        Blocks that were reserved at creation are kept, not given away in between: every byte is
        overwritten anyway.
        """
        size = os.fstat(self._lease.descriptor).st_size
        if size > self._total:
            os.ftruncate(self._lease.descriptor, self._total)
        elif size < self._total:
            self._space.reserve_new(self._lease.descriptor, self._total)
        self._lease.reserved = self._total

    def step(self) -> bool:
        """Copy up to 32 MiB; tell whether anything is left. Raises: StorageFault and others."""
        budget = COPY_LIMIT
        while self._part < len(self._parts) and budget > 0:
            path, length = self._parts[self._part]
            budget -= self._copy(path, length, budget)
            if self._from == length:
                self._part += 1
                self._from = 0
        return self._part < len(self._parts)

    def _copy(self, path: Path, length: int, budget: int) -> int:
        """Copy from one part up to `budget` bytes; give their number."""
        with translated(path, "reading the part"):
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        copied = 0
        try:
            while copied < budget and self._from < length:
                count = min(budget - copied, length - self._from)
                with translated(self._lease.path, "joining parts into"):
                    moved = copy_range(
                        source,
                        self._lease.descriptor,
                        count=count,
                        at=self._from,
                        to=self._to,
                    )
                if moved == 0:
                    logger.error(
                        "%s: the part ends at byte %d, %d were stored: it cannot be joined; look "
                        "for who changes files in the upload directory",
                        path,
                        self._from,
                        length,
                    )
                    raise StorageFault
                self._from += moved
                self._to += moved
                copied += moved
        finally:
            os.close(source)
        return copied
