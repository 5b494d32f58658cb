"""The uploads of signed URLs: one small file a grant, held by the kernel's lock (floor 4).

`.tusserver/grants/<grant>`, in JSON. The name is made of a digest, never of what a client sent.
Losing a file costs the memory of what one URL was used for, no data.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from tusserver.errors import UploadLocked
from tusserver.gates import GrantEntry, GrantPage
from tusserver.storage.files import (
    PRIVATE_DIRECTORY_MODE,
    PRIVATE_MODE,
    TEMPORARY,
    close,
    is_at,
    make_directory,
    open_locked,
    write_file,
)
from tusserver.storage.layout import Places
from tusserver.storage.pool import FilePool
from tusserver.storage.trouble import translated
from tusserver.upload import Kind, UploadId, is_upload_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

THREADS = 2
LET_GO = 2.0
"""Seconds in which another process must let a page go."""
PAUSE = 0.010
TEMPORARY_AGE = 3600.0
"""Seconds after which a file that a crash left under its temporary name is deleted."""

Taken = tuple[int, GrantPage]


class FileGrantBook:
    """A `GrantBook` in the upload directory."""

    def __init__(self, directory: Path) -> None:
        """Keep the pages below this upload directory; it is touched when there is a page."""
        self._folder = Places(directory).private / "grants"
        self._pool = FilePool(THREADS, "grants")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def page(self, grant: str) -> AsyncIterator[GrantPage]:
        """Hold a grant's page; see `GrantBook.page`."""
        path = self._folder / grant
        # One of this process at a time: so none waits in a thread for another.
        turn = self._turns.setdefault(grant, asyncio.Lock())
        async with turn:
            descriptor, page = await self._take(path)
            before = _format(page)
            try:
                yield page
            finally:
                after = _format(page)
                changed = after if after != before else None
                with translated(path, "writing"):
                    await self._pool.run(partial(_put_back, path, descriptor, changed))

    async def forget(self, before: float) -> None:
        """Drop old pages; see `GrantBook.forget`."""
        with translated(self._folder, "tidying"):
            await self._pool.run(partial(_forget, self._folder, before))

    async def close(self) -> None:
        """Let go of threads."""
        await self._pool.close()

    async def _take(self, path: Path) -> Taken:
        deadline = time.monotonic() + LET_GO
        while True:
            with translated(path, "opening"):
                taken = await self._pool.run(partial(_take, path), undo=_let_go)
            if taken is not None:
                return taken
            if time.monotonic() > deadline:
                raise UploadLocked
            await asyncio.sleep(PAUSE)


def _take(path: Path) -> Taken | None:
    """Open, lock and read a page; None while somebody else has it. Blocks."""
    while True:
        try:
            descriptor = open_locked(path)
        except FileNotFoundError:
            make_directory(path.parent, mode=PRIVATE_DIRECTORY_MODE)
            continue
        if descriptor is None:
            return None
        # Between open and lock its holder may have put another file in its place.
        if is_at(descriptor, path):
            return descriptor, _parse(os.read(descriptor, os.fstat(descriptor).st_size))
        os.close(descriptor)


def _let_go(taken: Taken | None) -> None:
    if taken is not None:
        os.close(taken[0])


def _put_back(path: Path, descriptor: int, changed: bytes | None) -> None:
    try:
        if changed is not None:
            write_file(path, changed, mode=PRIVATE_MODE, sync=False)
    finally:
        close(descriptor)


def _format(page: GrantPage) -> bytes:
    entries = [
        [entry.upload_id, entry.kind.value, entry.length, entry.made_at] for entry in page.entries
    ]
    return json.dumps({"used": page.used, "ends": page.ends, "uploads": entries}).encode()


def _parse(data: bytes) -> GrantPage:
    """Read a page; an empty one for a file that is new, or that a power cut spoilt."""
    try:
        read = json.loads(data)
        entries = [
            GrantEntry(UploadId(name), Kind(kind), length, float(made_at))
            for name, kind, length, made_at in read["uploads"]
            if is_upload_id(name)
        ]
        return GrantPage(used=bool(read["used"]), ends=float(read["ends"]), entries=entries)
    except (ValueError, TypeError, KeyError):
        return GrantPage()


def _forget(folder: Path, before: float) -> None:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name.endswith(TEMPORARY):
            if path.stat().st_mtime < time.time() - TEMPORARY_AGE:
                path.unlink(missing_ok=True)
            continue
        taken = _take(path)
        if taken is not None:
            descriptor, page = taken
            if page.ends < before:
                path.unlink(missing_ok=True)
            os.close(descriptor)
