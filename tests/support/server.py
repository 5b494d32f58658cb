"""Real server processes: the program itself, or an application that tus is mounted into."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.ports import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
WAY = "TUSSERVER_INGEST"
"""What the servers of a run take from its environment: how they receive bodies."""
PROGRAM = "program"
MOUNTED = "mounted"
MODULES = {PROGRAM: "tusserver", MOUNTED: "tests.support.host"}
START_SECONDS = 40.0
STOP_SECONDS = 15.0
QUIET_SECONDS = 0.2

_LISTENS = re.compile(r"http://127\.0\.0\.1:([0-9]+)(/\S*)\n")
_MEMORY = re.compile(r"^VmRSS:\s+([0-9]+) kB$", re.MULTILINE)


class TusServer:
    """One server process on 127.0.0.1, from its making until `close`.

    After `kill` or `terminate` it can be started again: same port, same directory. `flags` are
    those of the command line; `--reserve 0` is given unless they say otherwise. Without an
    `upload_dir` it has one of its own, deleted with it.
    """

    start_seconds = START_SECONDS
    process_group: int | None = None
    """0: a group of its own, so that all its processes can be killed at once."""

    def __init__(
        self,
        *flags: str,
        upload_dir: Path | None = None,
        state: str = "local",
        mode: str = PROGRAM,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.mode = mode
        self.state = state
        # Not below pytest's own folders: the address of a unix socket holds 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="tus-"))
        self.upload_dir = upload_dir or self._folder / "uploads"
        self.port = free_port()
        self.url = ""
        """The creation URL."""
        self.may_fail = False
        """Whether tracebacks in the log are what the test is about."""
        self._flags = flags
        self._environment = environment or {}
        self._log = self._folder / "log"
        self._begin = 0
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- life

    def start(self) -> None:
        """Start it; return when it listens."""
        self.launch()
        self.await_start()

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        assert not self.is_running, "it runs already"
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self.process_group,
            )

    def await_start(self) -> None:
        """Wait until it listens. Raises: RuntimeError."""
        deadline = time.monotonic() + self.start_seconds
        while (found := _LISTENS.search(self._tail())) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server did not start:\n{self.log[-4000:]}")
            time.sleep(0.01)
        self.port = int(found[1])
        self.url = found[0].strip()

    def _tail(self) -> str:
        """Give the log of this life."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", MODULES[self.mode], "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--upload-dir", str(self.upload_dir)]
        command += ["--state", self.state]
        if "--reserve" not in self._flags:
            command += ["--reserve", "0"]
        return [*command, *self._flags]

    def _variables(self) -> dict[str, str]:
        own = {
            name: value
            for name, value in os.environ.items()
            if "TUSSERVER_" not in name or name == WAY
        }
        return own | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"} | self._environment

    def kill(self) -> None:
        """Kill it with SIGKILL; all its connections die with it."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Stop it in an orderly way (SIGTERM); give its exit status."""
        return self._end(signal.SIGTERM)

    def suspend(self) -> None:
        """Stop the process (SIGSTOP): its connections and locks stay, it does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and delete what is its own. Does nothing the second time."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None

    # --- looking at it

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Give the running process."""
        assert self._process is not None, "the server does not run"
        return self._process

    @property
    def is_running(self) -> bool:
        """Tell whether the process is there, suspended or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Give the process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Give everything it has printed and logged, over all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def whole_log(self) -> str:
        """Give the log once nothing has been added to it for a while."""
        before, now = "", self.log
        while now != before:
            time.sleep(QUIET_SECONDS)
            before, now = now, self.log
        return now

    def said(self, text: str, *, times: int = 1) -> bool:
        """Wait until the log has a text so many times: it is written after the answer."""
        return eventually(lambda: self.log.count(text) >= times, within=START_SECONDS)

    def check_log(self) -> None:
        """Prove that nothing went wrong that nobody looked at."""
        if not self.may_fail:
            before, traceback, after = self.log.partition("Traceback (most recent call last)")
            assert not traceback, before[-2000:] + traceback + after[:6000]

    def rss(self) -> int:
        """Give the memory that the process holds now, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = _MEMORY.search(status)
        assert found is not None, status
        return int(found[1]) * 1024

    def data_file(self, url: str) -> Path:
        """Give the file that holds the bytes of the upload with this URL."""
        upload_id = url.rstrip("/").rpartition("/")[2]
        return self.upload_dir / upload_id[:2] / upload_id

    def commits(self, url: str, offset: int, *, within: float = 10.0) -> bool:
        """Wait until the record beside the data tells this offset, whoever writes it."""
        ledger = self.data_file(url).with_suffix(".meta")
        told = f" offset={offset} "
        return eventually(lambda: told in ledger.read_text(errors="replace"), within=within)
