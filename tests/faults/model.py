"""What a client knows of an upload, and what it may be told after a fault."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

MIB = 1024 * 1024
MOST_AGAIN = 32 * MIB
"""An append pauses when so much of it is uncommitted: commits begin at 16 MiB."""
BUFFERS = 16 * MIB
"""What may lie in sockets and pipes on the way, and was sent but never received."""


class Wrong(AssertionError):
    """The server broke its contract."""


@dataclass(slots=True)
class Promise:
    """What the server's settings make of the contract."""

    expire_after: float
    """Seconds after which an unfinished upload may be gone."""
    strict: bool = False


@dataclass(slots=True, eq=False)
class Upload:
    """One upload as its client knows it. One thread at a time uses it."""

    seed: str
    length: int
    promise: Promise
    target: str
    kind: str = "plain"
    told: int = 0
    """The highest offset that was told in this life of the machine."""
    sent: int = 0
    """How far bytes were ever sent."""
    steps: set[int] | None = None
    """With checksums: the only offsets there can be."""
    complete: bool = False
    partial: bool = False
    removing: bool = False
    """A DELETE was sent."""
    removed: bool = False
    """A DELETE was answered."""
    gone: bool = False
    touched: float = field(default_factory=time.monotonic)
    """Before the last request that slid the expiry was sent."""
    cuts: int = 0
    """Power cuts since it was made, while it was not complete."""
    undone: bool = False
    """A power cut may have brought back what was removed: whether it is there is nobody's care."""
    settled: bool = False
    """After a power cut it was still removed: so it is on the disk, and no other brings it back."""
    parts: list[Upload] = field(default_factory=list)
    joined: bool = False
    """Its parts had become one file before the first DELETE, and no power cut came since."""

    @property
    def upload_id(self) -> str:
        return self.target.rpartition("/")[2]

    def wrong(self, what: str) -> Wrong:
        return Wrong(
            f"{self.kind} upload {self.upload_id} (seed {self.seed}): {what}; "
            f"length {self.length}, told {self.told}, sent {self.sent}, complete {self.complete}, "
            f"removing {self.removing}, removed {self.removed}, cuts {self.cuts}, "
            f"touched {time.monotonic() - self.touched:.2f} s ago"
        )

    def tell(self, offset: int, *, since: float | None = None) -> None:
        """Take an offset that the server told; `since`: when the request was sent."""
        if self.undone:
            return
        if self.removed:
            raise self.wrong(f"offset {offset} after it was removed")
        if self.complete and offset != self.length:
            raise self.wrong(f"offset {offset} after it was complete")
        if not self.told <= offset <= max(self.sent, self.told):
            raise self.wrong(f"offset {offset}")
        if self.steps is not None and offset not in self.steps:
            raise self.wrong(f"offset {offset}, in the middle of a body with a checksum")
        self.told = offset
        if since is not None:
            self.touched = since
        if offset == self.length:
            self.complete = True

    def lost(self, sent: int) -> None:
        """Note that a body got no answer; it was sent up to `sent`."""
        self.sent = max(self.sent, sent)

    def miss(self, *, since: float) -> None:
        """Take a 404 that was answered to a request sent at `since`."""
        self.gone = True
        if self.removing or self.removed:
            return
        # A part may expire, complete or not.
        may_be_gone = self.may_be_gone()
        if self.complete and not (self.partial and may_be_gone):
            raise self.wrong("404 after it was complete")
        if not may_be_gone:
            raise self.wrong(f"404, asked {time.monotonic() - since:.2f} s ago")

    def may_be_gone(self) -> bool:
        """Tell whether it may have expired, or was made in the last seconds before a power cut."""
        if self.cuts and not self.promise.strict and not self.complete:
            return True
        return time.monotonic() - self.touched >= self.promise.expire_after

    def cut(self) -> None:
        """Note a power cut: what was told of an unfinished upload is certain no more."""
        self.joined = False
        if not self.complete:
            self.cuts += 1
            if not self.promise.strict:
                self.told = 0
        if self.removing and not self.promise.strict and not self.settled:
            self.undone = True
