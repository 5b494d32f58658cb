"""How long the head of a request may take (floor 5; RFC 9110 section 15.5.9)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_TIMEOUT = 30.0
"""Seconds that the head of a request may take, from its first byte."""

TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nTus-Resumable: 1.0.0\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class HeadTimer:
    """Limits the time of each head of one connection.

    One timer of the loop serves many heads: most are whole long before it fires.
    """

    __slots__ = ("_due", "_on_late", "_timeout", "_timer")

    def __init__(self, timeout: float, on_late: Callable[[], None]) -> None:
        """Call `on_late` when a head takes longer than `timeout` seconds."""
        self._timeout = timeout
        self._on_late = on_late
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Note that bytes of a head have come, unless that is known."""
        if self._due is not None:
            return
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._timeout
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._check)

    def end(self) -> None:
        """Note that the head is whole."""
        self._due = None

    def cancel(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if self._due is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._check)
        else:
            self._on_late()
