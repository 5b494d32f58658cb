"""Every metric that there is: its name, its labels, and what it says (floor 4).

docs/metrics.md lists the same, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Seconds: what takes microseconds to milliseconds when all is well."""
MEDIUM = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
"""Seconds: disks, other processes, the application."""
SLOW = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Seconds: requests, which last as long as their bodies."""


@dataclass(frozen=True, slots=True)
class Line:
    """One metric."""

    name: str
    """As it is exposed; of a histogram without `_bucket`, `_sum` and `_count`."""
    labels: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        """Name the kind of metric, which its name shows."""
        if self.name.endswith("_total"):
            return "counter"
        if self.name.endswith("_info"):
            return "info"
        is_time = self.name.endswith("_seconds") and self.name != "tusserver_start_time_seconds"
        return "histogram" if is_time else "gauge"


REQUESTS = Line(
    "tusserver_requests_total",
    ("method", "status"),
    "Requests below the base path, by method (overrides count) and status of the answer.",
)
REQUEST_SECONDS = Line(
    "tusserver_request_duration_seconds",
    ("method",),
    "Time from the head of a request to its answer; includes the body, or the download.",
)
ERRORS = Line(
    "tusserver_request_errors_total",
    ("code",),
    "Requests that were answered with an error, by its code (docs/errors.md).",
)
RECEIVED = Line(
    "tusserver_received_bytes_total",
    (),
    "Bytes of upload data, counted while they come in, kept or not.",
)
SENT = Line("tusserver_sent_bytes_total", (), "Bytes of downloads, counted when they end.")
CREATED = Line("tusserver_uploads_created_total", ("kind",), "New uploads.")
REJECTED = Line(
    "tusserver_uploads_rejected_total",
    ("code",),
    "Creations that the server or a hook refused, or that failed, by the error's code.",
)
FINISHED = Line(
    "tusserver_uploads_finished_total",
    ("kind",),
    "Uploads that became complete; final ones once they are assembled.",
)
TERMINATED = Line(
    "tusserver_uploads_terminated_total", ("kind",), "Uploads that a request removed."
)
EXPIRED = Line(
    "tusserver_uploads_expired_total", ("kind",), "Uploads removed because their time was up."
)
APPENDS_RUNNING = Line("tusserver_appends_running", (), "Bodies that are being received now.")
APPENDS_STALLED = Line(
    "tusserver_appends_stalled", (), "Those of them that brought no byte for 5 seconds."
)
APPENDS_ENDED = Line(
    "tusserver_appends_total",
    ("reason",),
    "Bodies that were received, by the reason for which they ended.",
)
LEASE_WAIT = Line(
    "tusserver_lease_wait_seconds", (), "Time until a request had the lock of its upload."
)
TAKEOVERS = Line(
    "tusserver_takeovers_total",
    ("outcome",),
    "Requests that found their upload in use and asked for it: taken, locked (423) or overtaken.",
)
TAKEOVER_SECONDS = Line(
    "tusserver_takeover_duration_seconds", (), "Time that take-overs took, whatever their outcome."
)
COMMIT_SECONDS = Line(
    "tusserver_commit_duration_seconds",
    (),
    "Time to commit a record: ledger, then state store; includes the sync of a finish.",
)
COMMIT_FAILURES = Line("tusserver_commit_failures_total", (), "Commits that failed.")
SYNC_SECONDS = Line("tusserver_sync_duration_seconds", (), "Time of an fdatasync of upload data.")
SYNC_FAILURES = Line(
    "tusserver_sync_failures_total", (), "Syncs that failed: the disk lost data it had taken."
)
HOOK_SECONDS = Line(
    "tusserver_hook_duration_seconds", ("hook",), "Time of a call of a hook of the application."
)
HOOKS = Line(
    "tusserver_hook_calls_total",
    ("hook", "outcome"),
    "Calls of hooks: ok, rejected (the hook refused) or failed (an error, or too slow).",
)
STATE_SECONDS = Line(
    "tusserver_state_duration_seconds", (), "Time of a round trip to the state store (Redis)."
)
STATE_FAILURES = Line(
    "tusserver_state_failures_total", (), "Round trips to the state store that failed."
)
WORKERS = Line("tusserver_workers", (), "Processes that serve.")
START_TIME = Line(
    "tusserver_start_time_seconds",
    (),
    "When the oldest of the processes that serve was started, in seconds since 1970.",
)

SPACE_FREE = Line(
    "tusserver_space_free_bytes", (), "Free bytes of the file system that holds the uploads."
)
SPACE_RESERVE = Line(
    "tusserver_space_reserve_bytes", (), "Free bytes that uploads never get (--reserve)."
)
SPACE_TOTAL = Line("tusserver_space_total_bytes", (), "Size of that file system in bytes.")
EVENTS = Line(
    "tusserver_events",
    ("state",),
    "Events for webhook receivers that are kept: waiting, or dead (no receiver took them in time).",
)
BUILD = Line("tusserver_build_info", ("version", "python"), "Always 1; the labels say what runs.")

LINES = tuple(line for line in list(globals().values()) if isinstance(line, Line))
"""All of them, in the order in which people read them."""


class Maker:
    """Makes metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register what is made here."""
        self._registry = registry

    def counter(self, line: Line) -> Counter:
        """Make a counter."""
        return Counter(line.name, line.text, line.labels, registry=self._registry)

    def histogram(self, line: Line, buckets: tuple[float, ...]) -> Histogram:
        """Make a histogram of seconds."""
        return Histogram(
            line.name, line.text, line.labels, buckets=buckets, registry=self._registry
        )

    def total(self, line: Line) -> Gauge:
        """Make a gauge whose values of all living processes are added."""
        return Gauge(
            line.name,
            line.text,
            line.labels,
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def least(self, line: Line) -> Gauge:
        """Make a gauge that shows the smallest value of all living processes."""
        return Gauge(
            line.name,
            line.text,
            line.labels,
            registry=self._registry,
            multiprocess_mode="livemin",
        )
