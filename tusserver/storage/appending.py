"""From the body of a request to the file (floor 4; tus 1.0.0, "PATCH")."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

from tusserver.body import BodyEnd
from tusserver.errors import LengthExceeded, TusError
from tusserver.storage.pieces import Pieces
from tusserver.storage.space import AHEAD
from tusserver.storage.trouble import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.body import Body, Lender, Pourable, Tap
    from tusserver.ports import Progress
    from tusserver.storage.leases import FileLease
    from tusserver.storage.pool import FilePool, TimedWriter
    from tusserver.storage.space import Space

TURN_BYTES = 1024 * 1024
"""Bytes after which other tasks get their turn, however fast the body is."""
HASHED_TURN_BYTES = 512 * 1024
"""The same where they are hashed on their way, which takes longer than to write them."""


class FileSink:
    """Where the bytes of one append go: its file, from its offset on, inside its window."""

    __slots__ = (
        "_body",
        "_large",
        "_pieces",
        "_progress",
        "_start",
        "_tap",
        "_writer",
        "error",
        "lease",
        "limit",
        "position",
        "resume",
        "turn",
    )

    def __init__(
        self,
        lease: FileLease,
        body: Body,
        *,
        writer: TimedWriter,
        large: FilePool,
        offset: int,
        window: int,
        tap: Tap | None,
        progress: Progress,
    ) -> None:
        """Take at most `window` bytes of `body`, the first of them for `offset`.

        While the loop is not to write, threads of `large` do.
        """
        self.lease = lease
        self._body = body
        self._writer = writer
        self._large = large
        self._pieces: Pieces | None = None
        self._start = self.position = offset
        self.limit = offset + window
        """The offset at which the window ends."""
        self._tap = tap
        self._progress = progress
        self.turn = TURN_BYTES if tap is None else HASHED_TURN_BYTES
        self.error: OSError | None = None
        """Why nothing more can be written."""
        self.resume: Callable[[], None] | None = None
        """Lets more bytes come, after the sink was full."""

    @property
    def room(self) -> int:
        """Give the number of bytes that the window still has."""
        return self.limit - self.position

    @property
    def stored(self) -> int:
        """Give the number of bytes that are in the file."""
        return self.position - self._start

    @property
    def is_full(self) -> bool:
        """Tell whether threads have enough to write for now."""
        return self._pieces is not None and self._pieces.is_full

    @property
    def can_draw(self) -> bool:
        """Tell whether bytes may go to the file without coming into memory."""
        writer, pieces = self._writer, self._pieces
        return (
            writer.can_draw
            and self._tap is None
            and (pieces is None or not pieces.waiting)
            and self.error is None
            and not self._progress.blocked
            and writer.is_quick
        )

    def draw(self, pipe: int, count: int) -> int:
        """Take from a pipe what fits the window and reserved space."""
        count = min(count, self.limit - self.position, self.lease.reserved - self.position)
        if count <= 0:
            return 0
        try:
            done = self._writer.draw_now(self.lease.descriptor, pipe, count, self.position)
        except OSError as error:
            self.error = error
            return 0
        if done:
            self.count(done)
        return done

    def put(self, data: memoryview, lender: Lender) -> int:
        """Take what fits the window and reserved space; have threads write it in bad times."""
        if self._progress.blocked or self.error is not None or self.is_full:
            return 0
        position = self.position
        pieces = self._pieces
        if pieces is not None:
            position += pieces.waiting
        room = min(self.limit, self.lease.reserved) - position
        piece = data if len(data) <= room else data[: max(room, 0)]
        if not piece:
            return 0
        count = 0
        if pieces is None or not pieces.waiting:
            count = self._write_now(piece)
        if count < len(piece) and self.error is None:
            self._hand_over(piece[count:], lender)
            count = len(piece)
        return count

    def _write_now(self, piece: memoryview) -> int:
        try:
            count = self._writer.write_now(self.lease.descriptor, piece, self.position)
        except OSError as error:
            self.error = error
            return 0
        if count:
            if self._tap is not None:
                self._tap.update(piece[:count])
            self.count(count)
        return count

    def _hand_over(self, piece: memoryview, lender: Lender) -> None:
        if self._pieces is None:
            self._pieces = Pieces(
                self._large,
                self.lease.descriptor,
                tap=self._tap,
                written=self._written,
                failed=self._fail,
            )
        self._pieces.add(piece, self.position + self._pieces.waiting, lender)

    def _written(self, count: int) -> None:
        """Note what a thread has written, and let more come."""
        self.count(count)
        if self.resume is not None:
            self.resume()

    def _fail(self, error: OSError) -> None:
        """Want no more: a thread could not write."""
        self.error = error
        self._body.stop(BodyEnd.REFUSED)

    async def drained(self) -> None:
        """Wait until all that was taken is in the file, or cannot be: see `error`."""
        if self._pieces is not None:
            await self._pieces.drained()

    def count(self, count: int) -> None:
        """Note that so many bytes more are in the file."""
        self.position += count
        self._progress.advance(count)


class Appender:
    """Writes bodies into leased data files, at offsets only."""

    __slots__ = ("_large", "_pool", "_space", "_writer")

    def __init__(self, pool: FilePool, large: FilePool, writer: TimedWriter, space: Space) -> None:
        """Write with `writer`, or in `large`; reserve space in `pool`."""
        self._pool = pool
        self._large = large
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
        sink = FileSink(
            lease,
            body,
            writer=self._writer,
            large=self._large,
            offset=offset,
            window=window,
            tap=tap,
            progress=progress,
        )
        if not self._space.can_allocate:
            # The file's size says nothing about blocks: look at the free space as it grows.
            lease.reserved = offset
        # What isinstance asks too, in twenty times as many steps.
        pourable = cast("Pourable", body) if hasattr(body, "pour") else None
        since_turn = 0
        try:
            while True:
                # Where that goes the body is stored as it arrives, elsewhere piece by piece.
                if pourable is not None:
                    try:
                        await pourable.pour(sink)
                    finally:
                        # The lease may go only when nothing is written any more.
                        await sink.drained()
                    if sink.error is not None:
                        raise sink.error
                if not (data := await body.read()):
                    return sink.stored
                await self._take(data, sink, tap, progress)
                since_turn += len(data)
                data = b""  # Not kept while the next bytes are waited for.
                if since_turn >= TURN_BYTES:
                    since_turn = 0
                    await asyncio.sleep(0)
        except OSError as exc:
            body.stop(BodyEnd.REFUSED)
            raise translate(exc, lease.path, "writing to") from exc
        except TusError:
            body.stop(BodyEnd.REFUSED)
            raise

    async def _take(self, data: bytes, sink: FileSink, tap: Tap | None, progress: Progress) -> None:
        """Store one piece, whatever has to be waited for. Raises: OSError, LengthExceeded."""
        room = sink.room
        if room > 0:
            piece = data if len(data) <= room else data[:room]
            await self._store(sink, piece)
            if tap is not None:
                await self._hash(tap, piece)
            sink.count(len(piece))
        if len(data) > room:
            raise LengthExceeded
        if progress.blocked:
            await progress.unblocked()

    async def _hash(self, tap: Tap, data: bytes) -> None:
        """Hash one piece, in a thread if that takes longer than to get there."""
        if len(data) > tap.inline_limit:
            await self._pool.run(partial(tap.update, data))
        else:
            tap.update(data)

    async def _store(self, sink: FileSink, data: bytes) -> None:
        """Write one piece; all its writes have returned when this returns or raises."""
        lease, position = sink.lease, sink.position
        end = position + len(data)
        if end > lease.reserved:
            goal = min(end + AHEAD, sink.limit)
            await self._pool.run(
                partial(self._space.extend, lease.descriptor, lease.reserved, goal)
            )
            lease.reserved = goal
        await self._writer.write(lease.descriptor, data, position)
