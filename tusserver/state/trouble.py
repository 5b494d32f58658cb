"""What an operator is told when Redis does not do its work (floor 4).

One line at most every few seconds, with the address but never the password, and with what
mends it. Source: the error replies of the Redis documentation.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

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


def without_password(url: str) -> str:
    """Give a URL that may be shown.

    A password with a stray `/`, `#` or `?` ends up in other parts of the URL: of one that is
    not right in all its parts and may hold a password, only the scheme is shown.
    """
    if "@" not in url and "password" not in url:
        return url
    if not is_redis_url(url):
        scheme, separator, _ = url.partition("://")
        return f"{scheme}://***" if separator and scheme.isalpha() else "***"
    parts = urlsplit(url)
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        netloc = f"{name}:***@{host}" if colon else f"{name}@{host}"
    query = re.sub(r"(password=)[^&]*", r"\1***", parts.query)
    text = f"{parts.scheme}://{netloc}{parts.path}"
    return f"{text}?{query}" if query else text


def is_redis_url(url: str) -> bool:
    """Tell whether a text is a redis://, rediss:// or unix:// URL that is right in all parts."""
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if parts.fragment or "@" in parts.query or not port_is_right:
        return False
    return _names_a_server(parts)


def _names_a_server(parts: SplitResult) -> bool:
    if parts.scheme == "unix":
        return len(parts.path) > 1 and not parts.hostname
    if parts.scheme not in ("redis", "rediss"):
        return False
    is_database = re.fullmatch(r"(/[0-9]*)?", parts.path) is not None
    return is_database and bool(parts.hostname)


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
            "Redis at %s failed (%s: %s); %s (%d more errors since the last line)",
            self._address,
            type(error).__name__,
            str(error) or "no answer",
            remedy_for(error),
            self._suppressed,
        )
        self._suppressed = 0

    def answered(self) -> None:
        """Log that Redis answers again, if it did not."""
        if self._is_down:
            self._is_down = False
            logger.info("Redis at %s answers again", self._address)
