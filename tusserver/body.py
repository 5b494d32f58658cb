"""The body of a request as the engine sees it (floor 2).

A body ENDS and says why; it never raises for a fault of the client or the network, so
readers need no try and no byte that arrived is lost to an exception.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import importlib
from enum import Enum
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


NO_SPLICE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP})
"""What splice(2) says where the kernel or a file system lacks it, or it is not allowed."""


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


class Lender(Protocol):
    """Has the memory in which bytes arrive."""

    def lend(self, data: memoryview) -> None:
        """Leave the bytes that have just arrived as they are, until they are taken back."""

    def take_back(self, data: memoryview) -> None:
        """Use the memory of these bytes again."""


class Sink(Protocol):
    """Where bytes go while they arrive, without a task that waits for them."""

    turn: int
    """The most bytes to offer at once."""
    position: int
    """Where in its file the next byte goes."""

    resume: Callable[[], None] | None
    """Called when more bytes may come, after the sink was full; on the loop."""

    @property
    def is_full(self) -> bool:
        """Tell whether no more bytes should come for now."""

    @property
    def can_draw(self) -> bool:
        """Tell whether `draw` may be asked now; where not, `put` is to be offered the bytes."""

    def draw(self, pipe: int, count: int) -> int:
        """Store the first bytes of `count` that lie in a pipe; give how many.

        To be asked where `can_draw` has just said so. The others are still in it, to be offered to
        `put`. Never raises.
        """

    def put(self, data: memoryview, lender: Lender) -> int:
        """Store bytes that follow those before; give how many. Fewer than offered: read the rest.

        `data` is only good during the call, unless it is lent. Never raises.
        """


class Pourable(Protocol):
    """A body that can hand its bytes on in the moment in which they arrive."""

    async def pour(self, sink: Sink) -> None:
        """Put what arrives into the sink, until it takes no more or the body has ended.

        What the sink did not take comes with the next `read`. Safe to cancel.
        """


class Digest(Protocol):
    """A running digest, as hashlib makes them."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Give the digest of the bytes so far."""

    def copy(self) -> Self:
        """Give another one that goes on from here by itself."""


class _Crc32c:
    """CRC-32C of bytes that lie anywhere: the library takes none but `bytes` themselves."""

    __slots__ = ("_checksum",)

    def __init__(self, checksum: Digest) -> None:
        self._checksum = checksum

    def update(self, data: bytes | memoryview, /) -> None:
        self._checksum.update(bytes(data))

    def digest(self) -> bytes:
        return self._checksum.digest()

    def copy(self) -> _Crc32c:
        return _Crc32c(self._checksum.copy())


def _crc32c() -> Digest:
    return _Crc32c(importlib.import_module("google_crc32c").Checksum())


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


class Running:
    """Digests of a file from its first byte on, and how far they are."""

    __slots__ = ("_digests", "before_last", "length", "offset")

    def __init__(self, algorithms: Collection[str]) -> None:
        """Start a digest for each of these, all of `ALGORITHMS`, at byte 0."""
        self._digests = {algorithm: ALGORITHMS[algorithm]() for algorithm in algorithms}
        self.offset = 0
        self.length: int | None = None
        """The file's length, once it is known."""
        self.before_last: Running | None = None
        """How it stood one byte before the end: an upload that is not finished waits there."""

    def update(self, data: bytes | memoryview) -> None:
        """Add the bytes that follow. Blocks for a millisecond a MiB, without the GIL."""
        if self.length is not None and 0 <= (left := self.length - 1 - self.offset) < len(data):
            self._add(data[:left])
            self.before_last = self.copy()
            data = data[left:]
        self._add(data)

    def _add(self, data: bytes | memoryview) -> None:
        for digest in self._digests.values():
            digest.update(data)
        self.offset += len(data)

    def copy(self) -> Running:
        """Give another one that goes on from here by itself."""
        copied = Running(())
        copied._digests = {name: digest.copy() for name, digest in self._digests.items()}
        copied.offset, copied.length = self.offset, self.length
        copied.before_last = self.before_last
        return copied

    def at(self, offset: int) -> Running | None:
        """Give how it stood at an offset, if that is known."""
        before = self.before_last
        if offset == self.offset:
            return self
        return before if before is not None and before.offset == offset else None

    def digest(self, algorithm: str) -> bytes:
        """Give the digest of all bytes so far."""
        return self._digests[algorithm].digest()


class Tap:
    """Hashes the bytes of one body on their way to the file."""

    inline_limit = 64 * 1024
    """Bytes above which `update` is to be called in a thread."""

    def __init__(self, *algorithms: str, whole: Running | None = None) -> None:
        """Start a digest for each of these, all of `ALGORITHMS`; carry on that of the file."""
        self._digests = {algorithm: ALGORITHMS[algorithm]() for algorithm in algorithms}
        self._whole = whole

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes, in the order of the body."""
        for digest in self._digests.values():
            digest.update(data)
        if self._whole is not None:
            self._whole.update(data)

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
