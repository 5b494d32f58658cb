"""Whether the program would start anew, before it is let (floor 5)."""

from __future__ import annotations

import logging
import os
import subprocess
import time

from tusserver.process import handover

logger = logging.getLogger(__name__)

REHEARSAL_SECONDS = 60.0


class Rehearsal:
    """A run of the program that reads its settings and makes its parts, and no more.

    What is wrong it says on stderr, as any start does.
    """

    def __init__(self) -> None:
        """Begin."""
        self._deadline = time.monotonic() + REHEARSAL_SECONDS
        self.succeeded = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - itself, as it was called
                handover.command(),
                env=handover.rehearsal_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except OSError as exc:
            logger.error("%s cannot be run: %s", handover.command()[0], exc.strerror)  # noqa: TRY400

    def is_over(self) -> bool:
        """Tell whether it is over; never waits."""
        if self._process is None:
            return True
        status = self._process.poll()
        if status is None and time.monotonic() > self._deadline:
            logger.error("the new program did not try its start within %.0f s", REHEARSAL_SECONDS)
            self.cancel()
            return True
        self.succeeded = status == 0
        return status is not None

    def cancel(self) -> None:
        """End it now."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """Leave it to the parent, in a worker that was forked meanwhile: it is no child of ours."""
        if self._process is not None:
            # What Popen takes for running it warns of when it is thrown away.
            self._process.returncode = 0
            self._process = None
