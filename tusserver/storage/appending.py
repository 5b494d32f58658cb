"""From the body of a request to the file (floor 4; tus 1.0.0, "PATCH")."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd
from tusserver.errors import LengthExceeded, TusError
from tusserver.storage.space import AHEAD
from tusserver.storage.trouble import translate

if TYPE_CHECKING:
    from tusserver.body import Body, Tap
    from tusserver.ports import Progress
    from tusserver.storage.leases import FileLease
    from tusserver.storage.pool import FilePool, TimedWriter
    from tusserver.storage.space import Space

TURN_BYTES = 1024 * 1024
"""Bytes after which other tasks get their turn, however fast the body is."""


class Appender:
    """Writes bodies into leased data files, at offsets only."""

    def __init__(self, pool: FilePool, writer: TimedWriter, space: Space) -> None:
        """Write with `writer`; reserve space in `pool`."""
        self._pool = pool
        self._writer = writer
        self._space = space

    async def append(
        self,
        lease: FileLease,
        body: Body,
        *,
        offset: int,
        window: int,
        tap: Tap | None,
        progress: Progress,
    ) -> int:
        """Do what `Storage.append` says."""
        stored = since_turn = 0
        if not self._space.can_allocate:
            # The file's size says nothing about blocks: look at the free space as it grows.
            lease.reserved = offset
        try:
            while data := await body.read():
                room = window - stored
                if room > 0:
                    piece = data if len(data) <= room else data[:room]
                    await self._store(lease, piece, offset + stored, offset + window)
                    stored += len(piece)
                    if tap is not None:
                        await self._hash(tap, piece)
                    progress.advance(len(piece))
                if len(data) > room:
                    raise LengthExceeded
                if progress.blocked:
                    await progress.unblocked()
                since_turn += len(data)
                if since_turn >= TURN_BYTES:
                    since_turn = 0
                    await asyncio.sleep(0)
        except OSError as exc:
            body.stop(BodyEnd.REFUSED)
            raise translate(exc, lease.path, "writing to") from exc
        except TusError:
            body.stop(BodyEnd.REFUSED)
            raise
        return stored

    async def _hash(self, tap: Tap, data: bytes) -> None:
        """Hash one piece, in a thread if that takes longer than to get there."""
        if len(data) > tap.inline_limit:
            await self._pool.run(partial(tap.update, data))
        else:
            tap.update(data)

    async def _store(self, lease: FileLease, data: bytes, position: int, limit: int) -> None:
        """Write one piece; all its writes have returned when this returns or raises."""
        end = position + len(data)
        if end > lease.reserved:
            goal = min(end + AHEAD, limit)
            await self._pool.run(
                partial(self._space.extend, lease.descriptor, lease.reserved, goal)
            )
            lease.reserved = goal
        await self._writer.write(lease.descriptor, data, position)
