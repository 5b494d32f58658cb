"""How often, and for how long, something is tried again (floor 5)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from tusserver.uploader.faults import Trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FIRST = 0.5
LONGEST = 30.0
"""Seconds of the first pause, and of the longest."""

T = TypeVar("T")


class Patience:
    """Pauses that double, until there was no progress for too long."""

    def __init__(self, seconds: float, tell: Callable[[float, str], None]) -> None:
        """`tell` gets each pause before it is made, and its reason."""
        self._seconds = seconds
        self._tell = tell
        self._since: float | None = None
        self._tries = 0

    def progress(self) -> None:
        """Begin anew: something was achieved."""
        self._since = None
        self._tries = 0

    async def pause(self, trouble: Trouble) -> None:
        """Wait before the next try. Raises: Trouble, when it has lasted too long."""
        now = asyncio.get_running_loop().time()
        if self._since is None:  # Not since the last progress: a request may take hours.
            self._since = now
        pause = min(LONGEST, FIRST * 2**self._tries) * random.uniform(0.75, 1.25)  # noqa: S311
        pause = max(pause, trouble.retry_after)
        if now + pause > self._since + self._seconds:
            raise trouble
        self._tries += 1
        self._tell(pause, str(trouble))
        await asyncio.sleep(pause)

    async def until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try something until it is done. Raises: what it raises, Trouble in the end."""
        while True:
            try:
                return await attempt()
            except Trouble as trouble:
                await self.pause(trouble)
