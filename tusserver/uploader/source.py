"""Where the bytes come from: files, and a stream that cannot be read twice (floor 5)."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, Protocol

from tusserver.body import ALGORITHMS
from tusserver.uploader.faults import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BLOCK = 256 * 1024
CHECKSUMS = tuple(
    name for name in ("sha256", "sha512", "sha1", "md5", "crc32c") if name in ALGORITHMS
)
"""What can be computed, the best first."""


class Source(Protocol):
    """Bytes by their place."""

    def blocks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Give the bytes from `start` up to `end`, in pieces. Raises: Refused."""
        ...


class FileSource:
    """An open file that must stay as it is while it is sent."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises: Refused."""
        try:
            # Without waiting: a pipe would wait for somebody who writes.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(f"it cannot be read: {error.strerror}") from None
        self.found = os.fstat(self._fd)
        if not stat.S_ISREG(self.found.st_mode):
            self.close()
            raise Refused("it is not a regular file; what comes from a pipe is sent as -")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    async def blocks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Give the bytes of the file as it was when it was opened. Raises: Refused."""
        while start < end:
            block = await asyncio.to_thread(self._read, start, min(BLOCK, end - start))
            start += len(block)
            yield block

    def _read(self, start: int, size: int) -> bytes:
        try:
            block = os.pread(self._fd, size, start)
        except OSError as error:
            raise Refused(f"it cannot be read: {error.strerror}") from None
        now = os.fstat(self._fd)
        same = (now.st_size, now.st_mtime_ns) == (self.found.st_size, self.found.st_mtime_ns)
        if not (same and block):  # Asked after reading: what is sent was there all the time.
            raise Refused("the file changed while it was sent")
        return block


class MemorySource:
    """A window of a stream: `data` begins at the place `start`."""

    def __init__(self, start: int, data: bytes) -> None:
        """Hold the data."""
        self._start = start
        self._data = memoryview(data)

    async def blocks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Give the bytes between two places of the stream."""
        for place in range(start, end, BLOCK):
            stop = min(place + BLOCK, end)
            yield bytes(self._data[place - self._start : stop - self._start])


async def digest(algorithm: str, source: Source, start: int, end: int) -> bytes:
    """Compute the checksum of a range of a source. Raises: Refused."""
    state = ALGORITHMS[algorithm]()
    async for block in source.blocks(start, end):
        await asyncio.to_thread(state.update, block)
    return state.digest()
