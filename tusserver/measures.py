"""What happens, told to whoever counts it (floor 3).

The rooms above tell a `Meter` in words of their own what happened; how that is counted, and
by which library, is known to `tusserver.metrics` alone.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.ports import EventKind
    from tusserver.upload import Kind

OK = "ok"
"""The outcome of what went as it should."""
FAILED = "failed"
REJECTED = "rejected"
"""The outcome of a hook that did not let a request go on."""


class Receiving(Protocol):
    """An append that is receiving its body."""

    def silent_for(self) -> float:
        """Give the seconds since the last byte arrived."""


class Meter(Protocol):
    """Counts what happens. Its methods return at once and raise nothing; times are in seconds."""

    # --- requests

    def request_ended(self, method: str, status: int, seconds: float) -> None:
        """Count a request that is answered; `method` is the one that holds (overrides)."""

    def request_failed(self, code: str) -> None:
        """Count a request that was answered with an error, by the error's code."""

    def bytes_received(self, count: int) -> None:
        """Count bytes of upload data as they come in, kept or not."""

    def bytes_sent(self, count: int) -> None:
        """Count bytes of a download, once it has ended."""

    # --- uploads

    def upload_created(self, kind: Kind) -> None:
        """Count a new upload."""

    def upload_rejected(self, code: str) -> None:
        """Count a creation that was refused or failed, by the error's code."""

    def upload_finished(self, kind: Kind) -> None:
        """Count an upload that is complete; a final one once it is assembled."""

    def upload_terminated(self, kind: Kind) -> None:
        """Count an upload that a request removed."""

    def upload_expired(self, kind: Kind) -> None:
        """Count an upload that was removed because its time was up."""

    # --- appends

    def append_began(self, append: Receiving) -> None:
        """Count a body that begins to be received."""

    def append_ended(self, append: Receiving, reason: str) -> None:
        """Count the end of one, by the reason for which its body ended."""

    def lease_waited(self, seconds: float) -> None:
        """Count a lease that was taken, and how long that took."""

    def took_over(self, outcome: str, seconds: float) -> None:
        """Count a request that found the upload in use and asked for it, and what came of it."""

    # --- what waits for something

    def committed(self, seconds: float, outcome: str) -> None:
        """Count a commit of a record: ledger, then state store."""

    def synced(self, seconds: float, outcome: str) -> None:
        """Count an fdatasync of an upload's data."""

    def hook_called(self, kind: EventKind, seconds: float, outcome: str) -> None:
        """Count a call of a hook: ok, rejected or failed."""

    def state_asked(self, seconds: float, outcome: str) -> None:
        """Count a round trip to the state store (Redis)."""


class Timed(Protocol):
    """One of a meter's methods that take a time and an outcome."""

    def __call__(self, seconds: float, outcome: str) -> None:
        """Count."""


@contextmanager
def timed(tell: Timed) -> Iterator[None]:
    """Tell how long the block took, and whether it came to its end."""
    start, outcome = time.perf_counter(), FAILED
    try:
        yield
        outcome = OK
    finally:
        tell(time.perf_counter() - start, outcome)


class NoMeter:
    """Counts nothing."""

    def request_ended(self, method: str, status: int, seconds: float) -> None:
        """Do nothing."""

    def request_failed(self, code: str) -> None:
        """Do nothing."""

    def bytes_received(self, count: int) -> None:
        """Do nothing."""

    def bytes_sent(self, count: int) -> None:
        """Do nothing."""

    def upload_created(self, kind: Kind) -> None:
        """Do nothing."""

    def upload_rejected(self, code: str) -> None:
        """Do nothing."""

    def upload_finished(self, kind: Kind) -> None:
        """Do nothing."""

    def upload_terminated(self, kind: Kind) -> None:
        """Do nothing."""

    def upload_expired(self, kind: Kind) -> None:
        """Do nothing."""

    def append_began(self, append: Receiving) -> None:
        """Do nothing."""

    def append_ended(self, append: Receiving, reason: str) -> None:
        """Do nothing."""

    def lease_waited(self, seconds: float) -> None:
        """Do nothing."""

    def took_over(self, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def committed(self, seconds: float, outcome: str) -> None:
        """Do nothing."""

    def synced(self, seconds: float, outcome: str) -> None:
        """Do nothing."""

    def hook_called(self, kind: EventKind, seconds: float, outcome: str) -> None:
        """Do nothing."""

    def state_asked(self, seconds: float, outcome: str) -> None:
        """Do nothing."""


NO_METER = NoMeter()
