"""What systemd hands over and is told, and the unit files that say how."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.program import ROOT
from tests.support.raw import Tus
from tusserver.config import flag_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.process.program import Program

    Start = Callable[..., Program]

SERVICE = ROOT / "docs" / "deploy" / "tusserver.service"
SOCKET = ROOT / "docs" / "deploy" / "tusserver.socket"
both = pytest.mark.parametrize("workers", [1, 2], ids=["alone", "two workers"])


class Manager:
    """What a service manager hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.bind(str(path))

    def hear(self, word: str, *, within: float = 15.0) -> list[str]:
        """Wait for a message with this line; give its lines."""
        deadline = time.monotonic() + within
        while True:
            self._end.settimeout(max(0.01, deadline - time.monotonic()))
            lines = self._end.recv(4096).decode().split("\n")
            if word in lines:
                return lines

    def falls_silent(self, word: str) -> bool:
        """Tell whether a line that came twice a second comes no more."""
        for _ in range(12):
            try:
                self.hear(word, within=1.5)
            except TimeoutError:
                return True
        return False

    def close(self) -> None:
        self._end.close()


@pytest.fixture
def manager(upload_dir: Path) -> Iterator[Manager]:
    it = Manager(upload_dir / "notify")
    yield it
    it.close()


@pytest.fixture
def activated() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener


@both
def test_systemd_is_told_when_it_is_ready_starts_anew_and_stops(
    start: Start, manager: Manager, workers: int
):
    program = start(f"--workers={workers}", NOTIFY_SOCKET=str(manager.path))
    manager.hear("READY=1")
    assert program.tus.upload(b"hello")
    os.kill(program.pid, signal.SIGHUP)
    reloading = manager.hear("RELOADING=1")
    [since] = [line for line in reloading if line.startswith("MONOTONIC_USEC=")]
    assert abs(int(since.partition("=")[2]) / 1e6 - time.monotonic()) < 10
    assert f"MAINPID={program.pid}" in manager.hear("READY=1")
    program.process.terminate()
    manager.hear("STOPPING=1")
    assert program.process.wait(15) == 0


@both
def test_the_watchdog_hears_of_life(start: Start, manager: Manager, workers: int):
    program = start(
        f"--workers={workers}", NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="1000000"
    )
    manager.hear("READY=1")
    for _ in range(4):
        manager.hear("WATCHDOG=1", within=0.99)
    program.process.send_signal(signal.SIGSTOP)
    assert manager.falls_silent("WATCHDOG=1")


HANG = (
    "import signal, time, tusserver.process.supervisor as s; s.HANG_SECONDS = 1.0; "
    "s.DUMP_SECONDS = 60; signal.signal(signal.SIGUSR2, lambda *_: time.sleep(60))"
)


def test_the_watchdog_is_not_fooled_by_workers_that_all_hang(start: Start, manager: Manager):
    program = start(
        "--workers=2", patch=HANG, NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="1000000"
    )
    manager.hear("READY=1")
    for pid in program.settled(2):
        os.kill(pid, signal.SIGUSR2)
    assert manager.falls_silent("WATCHDOG=1")


@both
def test_the_socket_of_systemd_is_used_and_stays_when_the_service_restarts(
    start: Start, activated: socket.socket, workers: int
):
    first = start(f"--workers={workers}", activated=activated).ready()
    port = activated.getsockname()[1]
    assert first.port == port
    tus = Tus(f"http://127.0.0.1:{port}/files/")
    target = tus.create(10)
    assert first.end(signal.SIGTERM) == 0
    # Between two services, who connects waits.
    with tus.wire() as early:
        early.send(tus.message("HEAD", target))
        assert early.is_silent()
        second = start(f"--workers={workers}", activated=activated).ready()
        assert early.response("HEAD").offset == 0
    # The second life of one process has it too.
    os.kill(second.pid, signal.SIGHUP)
    second.ready(times=2)
    assert tus.patch(target, 0, b"0123456789").status == 204


def test_a_descriptor_that_does_not_listen_is_a_wrong_setting(start: Start):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        program = start(activated=datagrams)
        assert program.process.wait(15) == 2
    assert program.said("LISTEN_FDS=1: descriptor 3 is no listening stream socket"), program.log


# --- the unit files -----------------------------------------------------------------------


def directives(unit: Path) -> dict[str, list[str]]:
    text = re.sub(r"\\\n\s*", " ", unit.read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, flags=re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9]+)(s|min)?", text).groups()
    return int(number) * (60 if unit == "min" else 1)


def test_the_unit_file_starts_the_program_by_flags_that_exist():
    unit = directives(SERVICE)
    [command] = unit["ExecStart"]
    program, *words = command.split()
    assert program.endswith("/tusserver")
    assert set(flag_parser().parse_args(words).__dict__)
    chosen = flag_parser().parse_args(words)
    assert int(chosen.workers) > 1
    assert seconds(unit["TimeoutStopSec"][0]) > seconds(chosen.shutdown_timeout)
    assert unit["Type"] == ["notify"]
    assert unit["KillMode"] == ["mixed"]
    assert unit["Restart"] == ["on-failure"]
    assert "HUP" in unit["ExecReload"][0]
    assert seconds(unit["WatchdogSec"][0]) >= 10
    assert "Requires" in unit
    # Without the boot id each start would be a new life of the machine.
    assert "ProcSubset" not in unit
    for name in ("ProtectSystem", "NoNewPrivileges", "PrivateTmp", "ProtectProc", "StateDirectory"):
        assert name in unit
    assert directives(SOCKET)["ListenStream"]


def test_systemd_understands_the_unit_files(tmp_path: Path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze found; remedy: apt-get install systemd")
    for unit in (SERVICE, SOCKET):
        text = unit.read_text(encoding="utf-8")
        # What it starts need not be installed here.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / SERVICE.name)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in done.stderr.splitlines() if "tusserver" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
