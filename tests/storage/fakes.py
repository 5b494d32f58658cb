"""A body that a test feeds, a count of what was stored, and small helpers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from tusserver.body import BodyEnd
from tusserver.storage.local import LocalStorage


class FedBody:
    """A body of these chunks; without an `end` it waits for more."""

    length = None

    def __init__(self, *chunks, end=BodyEnd.COMPLETE):
        self.end = None
        self.last_byte_at = 0.0
        self._chunks = asyncio.Queue()
        self._closing = end
        for chunk in chunks:
            self.feed(chunk)
        if end is not None:
            self.feed(b"")

    def feed(self, chunk):
        self._chunks.put_nowait(chunk)

    async def read(self):
        if self.end is not None:
            return b""
        chunk = await self._chunks.get()
        if self.end is not None:
            return b""
        if not chunk:
            self.end = self._closing
        return chunk

    def stop(self, why):
        if self.end is None:
            self.end = why
            self.feed(b"")

    def trailer(self, _name):
        return None


class Count:
    """A `Progress` that counts, and blocks when it is told to."""

    def __init__(self):
        self.stored = 0
        self.blocked = False
        self.open = asyncio.Event()

    def advance(self, count):
        self.stored += count

    async def unblocked(self):
        await self.open.wait()
        self.blocked = False


@asynccontextmanager
async def opened(directory, *, mailbox="w00000000", reserve=0, state="local", kind=LocalStorage):
    """Give an open storage."""
    storage = kind(directory, reserve=reserve, state_kind=state, mailbox_name=mailbox)
    try:
        await storage.open()
        yield storage
    finally:
        await storage.close()


async def leave_alone(_holder):
    """Ask nothing of a holder."""


async def take(storage, upload_id, *, timeout=0.0, on_contended=leave_alone):
    """Take a lease, asking nobody for it unless told how."""
    return await storage.lease(upload_id, on_contended=on_contended, timeout=timeout)


async def append(storage, lease, body, *, offset=0, window=2**40, tap=None, progress=None):
    """Append with the usual arguments."""
    progress = progress or Count()
    return await storage.append(
        lease, body, offset=offset, window=window, tap=tap, progress=progress
    )


def data_path(directory, upload_id):
    """Give the path of a data file, spelled out."""
    return directory / upload_id[:2] / upload_id


def ledger_path(directory, upload_id):
    """Give the path of a ledger, spelled out."""
    return directory / upload_id[:2] / f"{upload_id}.meta"


def open_files():
    """Count this process's open files."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
