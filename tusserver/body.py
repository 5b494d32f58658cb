"""The body of a request as the engine sees it (floor 2).

A body ENDS and says why; it never raises for a fault of the client or the network, so
readers need no try and no byte that arrived is lost to an exception.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class BodyEnd(Enum):
    """Why a body ended."""

    COMPLETE = "complete"
    DISCONNECTED = "disconnected"
    MALFORMED = "malformed"
    TIMEOUT = "timeout"
    SUPERSEDED = "superseded"
    SHUTDOWN = "shutdown"
    REFUSED = "refused"
    """The server ended it: a limit, or a fault of the machine."""


class Body(Protocol):
    """A request body, read once from its start to its end."""

    @property
    def length(self) -> int | None:
        """Give the announced `Content-Length` in bytes; None for a chunked body."""

    @property
    def end(self) -> BodyEnd | None:
        """Tell why the body ended; None while it has not."""

    @property
    def last_byte_at(self) -> float:
        """Give the loop time at which the last byte arrived (or the body was made)."""

    async def read(self) -> bytes:
        """Wait for bytes, at most 256 KiB; b"" once the body has ended. Safe to cancel."""

    def stop(self, why: BodyEnd) -> None:
        """End the body now; a waiting `read` returns b"". Does nothing when it has ended.

        Only REFUSED replaces COMPLETE: a body that is too long may be known to be whole by the
        read that showed it.
        """

    def trailer(self, name: str) -> str | None:
        """Give the value of a trailer field once the body is complete; None if absent."""


class Digest(Protocol):
    """A running digest, as hashlib makes them."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Give the digest of the bytes so far."""


def _crc32c() -> Digest:
    checksum: Digest = importlib.import_module("google_crc32c").Checksum()
    return checksum


def _algorithms() -> dict[str, Callable[[], Digest]]:
    known: dict[str, Callable[[], Digest]] = {
        "sha1": lambda: hashlib.sha1(usedforsecurity=False),
        "sha256": hashlib.sha256,
        "sha512": hashlib.sha512,
        "md5": lambda: hashlib.md5(usedforsecurity=False),
    }
    try:
        importlib.import_module("google_crc32c")
    except ImportError:
        return known
    known["crc32c"] = _crc32c
    return known


ALGORITHMS = _algorithms()
"""What can be hashed, by the name that `Tus-Checksum-Algorithm` announces."""


class Tap:
    """Hashes the bytes of one body on their way to the file."""

    def __init__(self, *algorithms: str) -> None:
        """Start a digest for each of these, all of `ALGORITHMS`."""
        self._digests = {algorithm: ALGORITHMS[algorithm]() for algorithm in algorithms}

    def update(self, data: bytes) -> None:
        """Add bytes, in the order of the body."""
        for digest in self._digests.values():
            digest.update(data)

    def matches(self, algorithm: str, digest: bytes) -> bool:
        """Tell whether the bytes so far have this digest."""
        return hmac.compare_digest(self._digests[algorithm].digest(), digest)


class NoBody:
    """The body of a request that has none."""

    length = 0
    end = BodyEnd.COMPLETE
    last_byte_at = 0.0

    async def read(self) -> bytes:
        """Give the end at once."""
        return b""

    def stop(self, why: BodyEnd) -> None:
        """Do nothing: it has ended."""

    def trailer(self, name: str) -> str | None:
        """Give None: there are no trailers."""
        del name
        return None
