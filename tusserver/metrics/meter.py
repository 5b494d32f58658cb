"""The `Meter` that counts in metrics of prometheus_client (floor 4).

Children of labelled metrics are looked up once: then a count costs a microsecond or two.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from tusserver.measures import FAILED
from tusserver.metrics import catalogue as lines
from tusserver.metrics.catalogue import FAST, MEDIUM, SLOW, Maker
from tusserver.metrics.tallies import Tallier
from tusserver.ports import EventKind
from tusserver.upload import Kind

if TYPE_CHECKING:
    from typing import TypeAlias

    from prometheus_client import Counter, Histogram

    from tusserver.measures import Receiving
    from tusserver.metrics.tallies import Number, Numbers, Spread, Spreads

    _Making: TypeAlias = Maker | Tallier
    _Counters: TypeAlias = Counter | Numbers
    Counting: TypeAlias = Counter | Number
    Observing: TypeAlias = Histogram | Spread

STALLED_AFTER = 5.0
"""Seconds without a byte after which an append counts as stalled."""
LOOK_EVERY = 1.0

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Stands for every method that clients may make up: a label must not grow without end."""
OUTCOMES = ("taken", "locked", "overtaken")
REASONS = (
    "complete",
    "disconnected",
    "malformed",
    "timeout",
    "superseded",
    "shutdown",
    "refused",
    "failed",
)


class PrometheusMeter:
    """Counts what happens; made once in a process. Used in the thread of the event loop."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, is_alone: bool = False
    ) -> None:
        """Register the metrics in `registry`, by default in one of their own.

        `is_alone`: no other process counts together with this one, and series that tell when a
        metric was made are not wanted (`Exposition` leaves them out). Counting costs less then.

        Raises: ValueError when they are registered there already.
        """
        self.registry = registry or CollectorRegistry()
        make = (Tallier if is_alone else Maker)(self.registry)
        self._make_uploads(make)
        self._requests = make.counter(lines.REQUESTS)
        self._request_of: dict[tuple[str, int], Counting] = {}
        seconds = make.histogram(lines.REQUEST_SECONDS, SLOW)
        self._request_seconds = _times_by("method", (*METHODS, OTHER), seconds)
        self._errors = _Codes(make.counter(lines.ERRORS))
        self._received = make.counter(lines.RECEIVED)
        self._sent = make.counter(lines.SENT)
        self._lease_wait = make.histogram(lines.LEASE_WAIT, FAST)
        self._takeovers = _by("outcome", OUTCOMES, make.counter(lines.TAKEOVERS))
        self._takeover_seconds = make.histogram(lines.TAKEOVER_SECONDS, MEDIUM)
        self._commit_seconds = make.histogram(lines.COMMIT_SECONDS, FAST)
        self._commit_failures = make.counter(lines.COMMIT_FAILURES)
        self._sync_seconds = make.histogram(lines.SYNC_SECONDS, MEDIUM)
        self._sync_failures = make.counter(lines.SYNC_FAILURES)
        names = tuple(kind.value for kind in EventKind)
        self._hook_seconds = _times_by("hook", names, make.histogram(lines.HOOK_SECONDS, MEDIUM))
        self._hooks = make.counter(lines.HOOKS)
        self._state_seconds = make.histogram(lines.STATE_SECONDS, FAST)
        self._state_failures = make.counter(lines.STATE_FAILURES)
        make.total(lines.WORKERS).set(1)
        make.least(lines.START_TIME).set(time.time())
        self._appends = _Appends(make)

    def _make_uploads(self, make: _Making) -> None:
        kinds = tuple(kind.value for kind in Kind)
        self._created = _by("kind", kinds, make.counter(lines.CREATED))
        self._finished = _by("kind", kinds, make.counter(lines.FINISHED))
        self._terminated = _by("kind", kinds, make.counter(lines.TERMINATED))
        self._expired = _by("kind", kinds, make.counter(lines.EXPIRED))
        self._rejected = _Codes(make.counter(lines.REJECTED))

    # --- requests

    def request_ended(self, method: str, status: int, seconds: float) -> None:
        """Count a request that is answered."""
        if method not in METHODS:
            method = OTHER
        counter = self._request_of.get((method, status))
        if counter is None:
            counter = self._requests.labels(method=method, status=str(status))
            self._request_of[method, status] = counter
        counter.inc()
        self._request_seconds[method].observe(seconds)

    def request_failed(self, code: str) -> None:
        """Count a request that was answered with an error."""
        self._errors.count(code)

    def bytes_received(self, count: int) -> None:
        """Count bytes of upload data."""
        self._received.inc(count)

    def bytes_sent(self, count: int) -> None:
        """Count bytes of a download."""
        self._sent.inc(count)

    # --- uploads

    def upload_created(self, kind: Kind) -> None:
        """Count a new upload."""
        self._created[kind.value].inc()

    def upload_rejected(self, code: str) -> None:
        """Count a creation that was refused or failed."""
        self._rejected.count(code)

    def upload_finished(self, kind: Kind) -> None:
        """Count an upload that is complete."""
        self._finished[kind.value].inc()

    def upload_terminated(self, kind: Kind) -> None:
        """Count an upload that a request removed."""
        self._terminated[kind.value].inc()

    def upload_expired(self, kind: Kind) -> None:
        """Count an upload whose time was up."""
        self._expired[kind.value].inc()

    # --- appends

    def append_began(self, append: Receiving) -> None:
        """Count a body that begins to be received."""
        self._appends.begin(append)

    def append_ended(self, append: Receiving, reason: str) -> None:
        """Count the end of one."""
        self._appends.end(append, reason)

    def lease_waited(self, seconds: float) -> None:
        """Count a lease that was taken."""
        self._lease_wait.observe(seconds)

    def took_over(self, outcome: str, seconds: float) -> None:
        """Count a take-over."""
        self._takeovers[outcome].inc()
        self._takeover_seconds.observe(seconds)

    # --- what waits for something

    def committed(self, seconds: float, outcome: str) -> None:
        """Count a commit."""
        self._commit_seconds.observe(seconds)
        if outcome == FAILED:
            self._commit_failures.inc()

    def synced(self, seconds: float, outcome: str) -> None:
        """Count an fdatasync."""
        self._sync_seconds.observe(seconds)
        if outcome == FAILED:
            self._sync_failures.inc()

    def hook_called(self, kind: EventKind, seconds: float, outcome: str) -> None:
        """Count a call of a hook."""
        self._hook_seconds[kind.value].observe(seconds)
        self._hooks.labels(hook=kind.value, outcome=outcome).inc()

    def state_asked(self, seconds: float, outcome: str) -> None:
        """Count a round trip to the state store."""
        self._state_seconds.observe(seconds)
        if outcome == FAILED:
            self._state_failures.inc()


class _Codes:
    """A counter by error code."""

    def __init__(self, counter: _Counters) -> None:
        self._counter = counter
        self._of: dict[str, Counting] = {}

    def count(self, code: str) -> None:
        counter = self._of.get(code)
        if counter is None:
            counter = self._of[code] = self._counter.labels(code=code)
        counter.inc()


class _Appends:
    """The appends of this process that run, looked at each second while there are any."""

    def __init__(self, make: _Making) -> None:
        self._running = make.total(lines.APPENDS_RUNNING)
        self._stalled = make.total(lines.APPENDS_STALLED)
        self._ended = _by("reason", REASONS, make.counter(lines.APPENDS_ENDED))
        self._present: set[Receiving] = set()
        self._shown = 0
        self._timer: asyncio.TimerHandle | None = None
        self._running.set(0)
        self._stalled.set(0)

    def begin(self, append: Receiving) -> None:
        self._present.add(append)
        self._running.inc()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def end(self, append: Receiving, reason: str) -> None:
        self._present.discard(append)
        self._running.dec()
        self._ended[reason].inc()
        if not self._present:
            self._stop()

    def _look(self) -> None:
        self._show(sum(append.silent_for() >= STALLED_AFTER for append in self._present))
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._show(0)

    def _show(self, count: int) -> None:
        if count != self._shown:
            self._shown = count
            self._stalled.set(count)


def _by(label: str, values: tuple[str, ...], metric: _Counters) -> dict[str, Counting]:
    """Give the children of a metric with one label: all are there from the start, with 0."""
    return {value: metric.labels(**{label: value}) for value in values}


def _times_by(
    label: str, values: tuple[str, ...], metric: Histogram | Spreads
) -> dict[str, Observing]:
    """Do the same for a histogram."""
    return {value: metric.labels(**{label: value}) for value in values}
