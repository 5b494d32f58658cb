"""What all clients of a run share: where the server is, when it is struck, what was found."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING

from tests.support.raw import Tus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.client import Client
    from tests.faults.model import Promise, Upload
    from tests.faults.slowness import Slowness

PATIENCE = 60.0
"""Seconds without a server after which a client gives up: the run itself went wrong."""


class Over(Exception):
    """The run is over, or has failed."""


class World:
    """Shared by the threads of the clients and the one that breaks the server."""

    def __init__(self, promise: Promise, upload_dir: Path) -> None:
        self.promise = promise
        self.upload_dir = upload_dir
        self.tus: Tus | None = None
        self.ending = threading.Event()
        """Nothing new is to be begun."""
        self.failures: list[BaseException] = []
        self.counts: Counter[str] = Counter()
        self.most: dict[str, float] = defaultdict(float)
        self.uploads: list[Upload] = []
        """Every upload whose creation was answered."""
        self.turned = threading.Event()
        """The server was struck."""
        self.slowness: Slowness | None = None
        """Of the disk, where it is known."""
        self._lock = threading.Lock()
        self._lasted: dict[str, list[float]] = defaultdict(list)
        self._armed: tuple[str, float, Callable[[], None]] | None = None
        self._open = threading.Event()
        self._open.set()
        self._parked = 0

    # --- where the server is

    def begin(self, url: str) -> None:
        """Tell clients where the server listens."""
        self.tus = Tus(url)

    def fail(self, error: BaseException) -> None:
        """End the run."""
        with self._lock:
            self.failures.append(error)
        self.ending.set()
        self.turned.set()

    def check(self) -> None:
        """Raise what a client found."""
        if self.failures:
            raise self.failures[0]

    # --- a gate, at which clients wait while the machine has no power

    def pass_gate(self) -> None:
        """Wait while the gate is closed."""
        if not self._open.is_set():
            with self._lock:
                self._parked += 1
            self._open.wait(PATIENCE)
            with self._lock:
                self._parked -= 1

    def close_gate(self) -> None:
        """Let no client send anything."""
        self._open.clear()

    def all_parked(self, clients: list[Client]) -> bool:
        """Tell whether all clients have read their last answers and wait at the gate."""
        return self._parked >= sum(client.thread.is_alive() for client in clients)

    def open_gate(self) -> None:
        """Let clients go on."""
        self._open.set()

    # --- what only the disk tells

    def ledger(self, upload_id: str) -> str:
        """Give the record of an upload beside its data, as text; empty if there is none."""
        path = self.upload_dir / upload_id[:2] / f"{upload_id}.meta"
        try:
            return path.read_text(errors="replace")
        except OSError:  # Removed, or on a disk that has just lost its power.
            return ""

    # --- counting

    def figures(self) -> dict[str, float]:
        """Give all that was counted."""
        return {**dict(sorted(self.counts.items())), **self.most}

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def most_of(self, what: str, value: float) -> None:
        with self._lock:
            self.most[what] = max(self.most[what], value)

    def add(self, upload: Upload) -> Upload:
        with self._lock:
            self.uploads.append(upload)
        return upload

    def forget(self, upload: Upload) -> None:
        with self._lock:
            self.uploads.remove(upload)

    def known(self) -> list[Upload]:
        with self._lock:
            return list(self.uploads)

    # --- the moment

    def arm(self, moment: str, share: float, strike: Callable[[], None]) -> None:
        """Strike when the next request of a kind has gone through a share of its usual time."""
        self.turned.clear()
        with self._lock:
            self._armed = (moment, share, strike)

    def disarm(self) -> bool:
        """Take it back; tell whether it was still waiting."""
        with self._lock:
            was, self._armed = self._armed, None
        return was is not None

    def sent(self, moment: str) -> None:
        """Tell that a request of a kind is on its way, whole; it may be struck right now."""
        with self._lock:
            armed = self._armed
            if armed is None or armed[0] != moment:
                return
            self._armed = None
            lasted = self._lasted[moment][-50:]
        _, share, strike = armed
        time.sleep(share * (median(lasted) if lasted else 0.005))
        strike()
        self.turned.set()

    def lasted(self, moment: str, seconds: float) -> None:
        """Tell how long the server took for a request of a kind."""
        with self._lock:
            self._lasted[moment].append(seconds)
            del self._lasted[moment][:-100]
