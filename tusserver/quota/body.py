"""A body that keeps to the limits while it is read (floor 4)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.body import Body

    Grow = Callable[[int], Awaitable[int]]
    Draw = Callable[[int], Awaitable[float]]


class LimitedBody:
    """Gives the bytes of another body as the limits allow.

    Unlike other bodies its `read` raises when the upload may not grow; what was given before is
    to be kept.
    """

    def __init__(
        self,
        body: Body,
        *,
        position: int,
        piece: int,
        grow: Grow | None,
        draw: Draw | None,
    ) -> None:
        """Start at an offset of the upload; `grow` reserves up to an offset, `draw` bandwidth.

        Without `draw` the bytes come as fast as they come, without `grow` as many as come.
        """
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._position = position
        self._reserved = 0
        self._piece = piece
        self._grow = grow
        self._draw = draw
        self._rest = memoryview(b"")
        self._end: BodyEnd | None = None
        self._waits = False
        self._awake = asyncio.Event()
        self.credit = 0
        """Bytes of bandwidth that are paid for and not used."""
        self._used = 0

    @property
    def length(self) -> int | None:
        """Give the announced length."""
        return self._body.length

    @property
    def end(self) -> BodyEnd | None:
        """Tell why the body ended; None while bytes of it are still here."""
        if self._end is not None:
            return self._end
        return None if self._rest else self._body.end

    @property
    def last_byte_at(self) -> float:
        """Give the loop time of the last byte; one that waits here for its turn came just now."""
        return self._loop.time() if self._waits else self._body.last_byte_at

    async def read(self) -> bytes:
        """Wait for bytes that may be stored now; b"" at the end. Safe to cancel.

        Raises: QuotaExceeded, StoreExhausted, TooManyUploads (it may not grow), StateUnavailable,
        StorageFault.
        """
        if self._end is not None:
            return b""
        if not self._rest:
            self._rest = memoryview(await self._body.read())
        count = min(len(self._rest), self._piece) if self._draw else len(self._rest)
        if count and self._grow is not None:
            count = await self._fit(count, self._grow)
        if count and self._draw is not None:
            await self._pay(count, self._draw)
        if not self._rest:  # It was stopped meanwhile.
            return b""
        data, self._rest = bytes(self._rest[:count]), self._rest[count:]
        self.credit = max(0, self.credit - count)
        self._used += count
        self._position += count
        return data

    def stop(self, why: BodyEnd) -> None:
        """End the body now; see `Body.stop`."""
        if self._end is None and why is not BodyEnd.DISCONNECTED:
            if self._rest or self._body.end is None:
                # What waits here is dropped, though the other body may know that it is whole.
                self._end = why
            self._rest = memoryview(b"")
        self._awake.set()
        self._body.stop(why)

    def trailer(self, name: str) -> str | None:
        """Give the value of a trailer field once the body is complete."""
        return self._body.trailer(name)

    async def _fit(self, count: int, grow: Grow) -> int:
        """Give how many of the next bytes the upload may hold: one at least."""
        if self._position + count > self._reserved:
            self._reserved = await grow(self._position)
        return min(count, max(self._reserved - self._position, 1))

    async def _pay(self, count: int, draw: Draw) -> None:
        """Wait until bandwidth for the next bytes has been paid for, or until the stop."""
        if self.credit >= count or self._awake.is_set():
            return
        # Those who send a lot pay in advance: many small reads then cost one question.
        asked = max(count - self.credit, min(self._used, self._piece))
        self._waits = True
        try:
            delay = await draw(asked)
            self.credit += asked
            if delay > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._awake.wait()
        finally:
            self._waits = False
