"""What an operator is told when Redis does not do its work (floor 4).

One line at most every few seconds, with the address but never the password, and with what
mends it. Source: the error replies of the Redis documentation.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0

_REMEDIES = (
    ("OOM", "its memory is full: raise maxmemory (CONFIG SET maxmemory ...)"),
    ("OutOfMemory", "its memory is full: raise maxmemory (CONFIG SET maxmemory ...)"),
    ("ReadOnly", "it is a read-only replica: name the primary in --state"),
    ("READONLY", "it is a read-only replica: name the primary in --state"),
    ("BusyLoading", "it is still loading its data: it answers when that is done"),
    ("MasterDown", "it is a replica that lost its primary: name the primary in --state"),
    ("ClusterDown", "its cluster is down: look at CLUSTER INFO"),
    ("Moved", "it is a node of a cluster of several: use a single server or Sentinel's primary"),
    ("Authentication", "it wants a user or password, or another one: put it into the URL"),
    ("NoPermission", "this user may not run the command: grant it with ACL SETUSER"),
    ("NOPERM", "this user may not run the command: grant it with ACL SETUSER"),
    ("MISCONF", "it cannot write to its disk: look at its log and at the disk"),
    ("max number of clients", "it has too many clients: raise maxclients"),
    ("No connection available", "too many requests wait for it: it is slow, or does not answer"),
    ("Timeout", "it does not answer in time: is the machine overloaded or the network down?"),
)
_DEFAULT_REMEDY = "is it running, and is the address right?"


def remedy_for(error: BaseException) -> str:
    """Say in a few words what mends an error of the client library or of Redis."""
    text = f"{type(error).__name__} {error}"
    for sign, remedy in _REMEDIES:
        if sign in text:
            return remedy
    return _DEFAULT_REMEDY


class Complaints:
    """Logs that Redis fails, one line at most every five seconds, and that it answers again."""

    def __init__(self, address: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Name the server by an address that may be shown."""
        self._address = address
        self._monotonic = monotonic
        self._next_line = float("-inf")
        self._suppressed = 0
        self._is_down = False

    def failed(self, error: BaseException) -> None:
        """Log an error, or count it when the last line is too young."""
        self._is_down = True
        now = self._monotonic()
        if now < self._next_line:
            self._suppressed += 1
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        logger.error(
            "Redis at %s failed (%s: %s); %s%s",
            self._address,
            type(error).__name__,
            str(error) or "no answer",
            remedy_for(error),
            f" (and {self._suppressed} times since the last line)" if self._suppressed else "",
        )
        self._suppressed = 0

    def answered(self) -> None:
        """Log that Redis answers again, if it did not."""
        if self._is_down:
            self._is_down = False
            logger.info("Redis at %s answers again", self._address)
