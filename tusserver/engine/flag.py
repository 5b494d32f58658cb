"""A flag that can be waited for, and costs next to nothing while nobody does (floor 4)."""

from __future__ import annotations

import asyncio


class Flag:
    """What `asyncio.Event` is, without the queue of 760 bytes that each of those has."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        """Begin lowered."""
        self._is_set = False
        self._waiters: set[asyncio.Future[None]] | None = None

    def set(self) -> None:
        """Raise it: all who wait go on."""
        self._is_set = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Lower it: who waits from now on waits for the next time."""
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is raised. Safe to cancel."""
        if self._is_set:
            return
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters
        if waiters is None:
            waiters = self._waiters = set()
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)
