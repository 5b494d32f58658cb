"""How long clients are read from whose body was refused (floor 5; RFC 9112 section 9.6).

Closing with unread bytes resets the connection, and a reset can destroy an answer that is still
under way: so what a refused client goes on sending is read for a while, and thrown away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import StreamReader

LINGERING_TIME = 10.0
"""Seconds for which a refused client may go on sending before the connection is closed."""
LOOK_AFTER = 1.0
"""Seconds after an answer when it can be seen how fast its client still sends."""


def stop_hopeless(
    content: StreamReader, length: int | None, *, within: float, stop: Callable[[], None]
) -> None:
    """Call `stop` soon if what is left of a body cannot come `within` so many seconds.

    Browsers read no answer before their request is sent, or reset. After a connection broke they
    also repeat requests by themselves, which is refused as the offset has moved: each second that
    passes until they read that is lost to the upload. `length` is None if nobody knows it.
    """
    if length is None or content.is_eof():
        return
    before = content.total_bytes

    def look() -> None:
        came = content.total_bytes - before
        left = length - content.total_bytes
        can_come = came / LOOK_AFTER * (within - LOOK_AFTER)
        # One that sends nothing may be about to read.
        if came and left > can_come and content.exception() is None:
            stop()

    asyncio.get_running_loop().call_later(LOOK_AFTER, look)


class LastResponse(web.Response):
    """The last response of a connection."""

    def __init__(self, after: Callable[[], Awaitable[None]] | None, **arguments: Any) -> None:
        """Do `after` when it has been sent; `arguments` are those of a response."""
        super().__init__(**arguments)
        self._after = after

    async def write_eof(self, data: bytes = b"") -> None:
        """Send what is left of it."""
        await super().write_eof(data)
        if self._after is not None:
            await self._after()
