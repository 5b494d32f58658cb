"""One clock for the commits of all appends of a process (floor 4).

Thousands of slow uploads would else have a timer each, and most of what a few bytes cost would be
that timer and the task it starts. Here those whose time comes in the same moment share one.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT_SECONDS = 1.0
"""Seconds for which bytes wait for their commit at most."""
TURNS = 16
"""Turns in a second: so many groups share the commits of that second."""
TOGETHER = 32
"""Commits after which the loop sees to other things."""


class Paced(Protocol):
    """What commits when it is its turn."""

    def tick(self) -> None:
        """Commit, or start to. Never raises, never waits."""


class Pace:
    """Knows who is due in which turn. Nothing wakes it while nobody is."""

    __slots__ = ("_due", "_is_armed")

    def __init__(self) -> None:
        """Begin with nobody."""
        self._due: dict[int, dict[Paced, None]] = {}
        self._is_armed = False

    def ask(self, paced: Paced, now: float) -> int:
        """Have a tick within `COMMIT_SECONDS` of the loop's time `now`; give its turn."""
        turn = int((now + COMMIT_SECONDS) * TURNS)
        self._due.setdefault(turn, {})[paced] = None
        if not self._is_armed:
            # Turns are asked for in their order: no earlier one comes after this.
            self._arm(asyncio.get_running_loop(), turn)
        return turn

    def forget(self, paced: Paced, turn: int) -> None:
        """Want no tick any more."""
        due = self._due.get(turn)
        if due is not None:
            due.pop(paced, None)

    def _arm(self, loop: asyncio.AbstractEventLoop, turn: int) -> None:
        # Who asked first has no part in what the others log.
        loop.call_at(turn / TURNS, self._go, loop, context=Context())
        self._is_armed = True

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give those their tick who are due, a few at a time."""
        self._is_armed = False
        due = self._next(int(loop.time() * TURNS))
        for _, paced in zip(range(TOGETHER), due, strict=False):
            paced.tick()
        for turn, waiting in self._due.items():
            if waiting:
                self._arm(loop, turn)
                break

    def _next(self, until: int) -> Iterator[Paced]:
        for turn in [turn for turn in self._due if turn <= until]:
            waiting = self._due[turn]
            while waiting:
                paced = next(iter(waiting))
                del waiting[paced]
                yield paced
            # Nobody asks for a turn whose time has come.
            del self._due[turn]
