"""Whether the server still answers: asked after a check that got no answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from conformance.wire import WireError

if TYPE_CHECKING:
    from conformance.target import Target

RESTART = 3.0
"""Seconds in which a server that ended may come back, as under a supervisor."""


class Pulse:
    """Asks the server for its options, and remembers for all checks that it is silent."""

    def __init__(self, target: Target) -> None:
        """Ask this target."""
        self._gone = ""
        self._target = target
        self._lock = threading.Lock()

    def gone(self) -> str:
        """Say why the server is taken for gone; empty while it is not."""
        return self._gone

    def feel(self) -> bool:
        """Ask, unless the answer is known; tell whether it was found to be gone just now."""
        with self._lock:
            if self._gone:
                return False
            self._gone = self._ask()
            return bool(self._gone)

    def _ask(self) -> str:
        """Give the reason for which there is no answer, or nothing."""
        deadline = time.monotonic() + RESTART
        while True:
            try:
                self._target.fork().options()
            except (WireError, OSError) as error:
                if time.monotonic() > deadline:
                    return str(error)
            else:
                return ""
            time.sleep(0.2)
