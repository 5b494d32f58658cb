"""Hooks whose calls are counted (floor 4)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from tusserver.errors import Rejected
from tusserver.measures import FAILED, OK, REJECTED, timed

if TYPE_CHECKING:
    from tusserver.measures import Meter
    from tusserver.ports import Decision, Event, EventKind, Hooks


class CountedHooks:
    """Passes everything on to other hooks, and tells a meter."""

    def __init__(self, hooks: Hooks, meter: Meter) -> None:
        """Count the calls of `hooks`."""
        self._hooks = hooks
        self._meter = meter

    def wants(self, kind: EventKind) -> bool:
        """Tell whether anybody listens."""
        return self._hooks.wants(kind)

    async def before(self, event: Event) -> Decision:
        """Ask before something happens. Raises: what the hooks raise."""
        start, outcome = time.perf_counter(), FAILED
        try:
            decision = await self._hooks.before(event)
            outcome = OK if decision.reject is None else REJECTED
        except Rejected:
            outcome = REJECTED
            raise
        finally:
            self._meter.hook_called(event.kind, time.perf_counter() - start, outcome)
        return decision

    async def after(self, event: Event) -> None:
        """Tell what happened. Raises: what the hooks raise."""
        with timed(partial(self._meter.hook_called, event.kind)):
            await self._hooks.after(event)
