"""The program as whoever runs it sees it: started in any way, with its processes and its log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.raw import Tus, Wire
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 15.0
# As systemd does it: the socket is descriptor 3, and the variable names the process.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
_URL = re.compile(r"listens on https?://127\.0\.0\.1:([0-9]+)/")


class Program:
    """One run of the program, from its start to the end of the block."""

    def __init__(
        self,
        *words: str,
        directory: Path,
        activated: socket.socket | None = None,
        patch: str = "",
        **variables: str,
    ) -> None:
        self.directory = directory
        self.uploads = directory / "uploads"
        self._log = directory / "log"
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        command = ["-m", "tusserver", "--port=0", f"--upload-dir={self.uploads}", *words]
        if not any(word.startswith("--reserve") for word in words):
            command.append("--reserve=0")
        if patch:
            run = "import sys; from tusserver.cli import main; sys.exit(main())"
            command = ["-c", f"{patch}; {run}", *command[2:]]
        given: Sequence[int] = ()
        if activated is not None:
            given = (activated.fileno(),)
            command = ["-c", ACTIVATE, str(activated.fileno()), *command]
        own = {name: value for name, value in os.environ.items() if "TUSSERVER_" not in name}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=own | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"} | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=given,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    # --- what it says

    @property
    def log(self) -> str:
        """Give what this run has printed and logged."""
        return self._log.read_bytes()[self._begin :].decode(errors="replace")

    def said(self, text: str, *, times: int = 1, within: float = SECONDS) -> bool:
        """Wait until the log has a text so many times."""
        return eventually(lambda: self.log.count(text) >= times, within=within)

    def ready(self, *, times: int = 1) -> Self:
        """Wait until it has greeted so many times."""
        assert self.said("try it with", times=times), self.log
        return self

    @property
    def port(self) -> int:
        return int(_URL.findall(self.log)[-1])

    @property
    def tus(self) -> Tus:
        return Tus(f"http://127.0.0.1:{self.port}/files/")

    # --- its processes

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        """Name the processes that it has started and that live."""
        return [pid for pid in children(self.pid) if _is_alive(pid)]

    def settled(self, count: int) -> list[int]:
        """Wait until there are so many workers that accept; give them."""
        found: list[int] = []

        def accept() -> bool:
            found[:] = self.workers()
            return len(found) == count and all(
                f"(process {pid}) accepts" in self.log for pid in found
            )

        assert eventually(accept, within=SECONDS), self.log
        return found

    def end(self, *numbers: signal.Signals) -> int:
        """Send signals, give the exit status."""
        for number in numbers:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def is_gone(pid: int) -> bool:
    return not _is_alive(pid)


@contextmanager
def spread(tus: Tus, workers: Sequence[int], *, count: int = 0) -> Iterator[dict[int, list[Wire]]]:
    """Open connections until each worker has accepted one, or `count`; give them by worker."""
    found: dict[int, list[Wire]] = {pid: [] for pid in workers}
    deadline = time.monotonic() + SECONDS
    with ExitStack() as stack:
        while sum(map(len, found.values())) < count or not all(found.values()):
            assert time.monotonic() < deadline, {pid: len(wires) for pid, wires in found.items()}
            before = {pid: _sockets(pid) for pid in workers}
            wire = stack.enter_context(tus.wire())
            # The first answer shows that somebody has accepted.
            wire.send(tus.message("OPTIONS"))
            assert wire.response("OPTIONS").status in {200, 204}
            [owner] = [pid for pid in workers if _sockets(pid) - before[pid]]
            found[owner].append(wire)
        yield found


def _sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
