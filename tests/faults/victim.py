"""A server that is killed: all of it at once, one worker, at a step of its own, while it starts."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.process.program import children, is_gone
from tests.support.server import STOP_SECONDS, TusServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import random


class Victim(TusServer):
    """One server, in one life after the other."""

    start_seconds = 60.0
    process_group = 0

    def __init__(self, *flags: str, workers: int = 1, **options) -> None:
        self.workers = workers
        self._dies_at = 0
        self._alone = False
        super().__init__(*flags, "--workers", str(workers), **options)

    def _command(self) -> list[str]:
        command = super()._command()
        if self._dies_at:
            command[1:3] = ["-m", "tests.faults.dying"]
        return command

    def _variables(self) -> dict[str, str]:
        own = {"DIES_AT": str(self._dies_at), "DIES_ALONE": str(int(self._alone))}
        return super()._variables() | (own if self._dies_at else {})

    # --- life and death

    def begin(self, *, dies_at: int = 0, alone: bool = False) -> bool:
        """Start it; tell whether it came to listen. It may be told to die at a step."""
        self._dies_at, self._alone = dies_at, alone
        self.launch()
        if dies_at:
            # A parent whose very first worker dies ends too.
            process, said = self.process, lambda: "listens on" in self._tail()
            if not eventually(lambda: said() or process.poll() is not None, within=60):
                raise RuntimeError(f"it neither starts nor dies:\n{self.log[-4000:]}")
            if not said():
                self.kill()
                return False
        self.await_start()
        return True

    def strike_all(self) -> None:
        """Kill every process of it at the same moment."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def striking_one(self, dice: random.Random):
        """Give what kills one worker, chosen now."""
        chosen = dice.choice(children(self.pid))

        def strike() -> None:
            with suppress(ProcessLookupError):
                os.kill(chosen, signal.SIGKILL)

        return strike

    def kill(self) -> None:
        """Make sure that no process of it is left."""
        process = self._process
        if process is None:
            return
        left = [process.pid, *children(process.pid)]
        self.strike_all()
        process.wait(STOP_SECONDS)
        assert eventually(lambda: all(map(is_gone, left)), within=STOP_SECONDS)
        self._process = None

    def await_death(self, within: float) -> bool:
        """Wait until it has died by itself."""
        return eventually(lambda: not self.is_running, within=within)

    def await_worker_death(self, within: float) -> bool:
        """Wait until the parent says that a worker was killed."""
        return eventually(lambda: "SIGKILL" in self._tail(), within=within)

    def start_and_kill(self, dice: random.Random, usual: float) -> None:
        """Kill it at any moment of its start."""
        self._dies_at = 0
        self.launch()
        time.sleep(dice.random() * usual)
        self.kill()
