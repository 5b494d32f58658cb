"""SIGHUP: new code and new settings in the same process, and nobody is refused."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Self

import pytest

from tests.process.program import is_gone
from tests.support.raw import OFFSET_STREAM, WireError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.program import Program
    from tests.support.raw import Tus

    Start = Callable[..., Program]

both = pytest.mark.parametrize("workers", [1, 2], ids=["alone", "two workers"])


class Visitors:
    """Small uploads, each on a connection of its own, until the block ends."""

    def __init__(self, tus: Tus) -> None:
        self._tus = tus
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._come)
        self.refused = 0
        self.failed: list[str] = []
        self.served = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _come(self) -> None:
        fields = {"Upload-Length": "5", "Content-Type": OFFSET_STREAM}
        while not self._over.is_set():
            try:
                answer = self._tus.post(fields, b"hello")
            except ConnectionRefusedError:
                self.refused += 1
            except (WireError, OSError) as exc:
                self.failed.append(repr(exc))
            else:
                if answer.status == 201:
                    self.served += 1
                else:
                    self.failed.append(f"{answer.status} {answer.code}")


@both
def test_a_restart_takes_new_settings_and_refuses_nobody(
    start: Start, upload_dir: Path, workers: int
):
    file = upload_dir / "tusserver.toml"
    file.write_text('max-size = "1MiB"\n')
    program = start(f"--workers={workers}", f"--config={file}").ready()
    tus, port, before = program.tus, program.port, program.workers()
    assert tus.options().get("Tus-Max-Size") == str(2**20)
    file.write_text('max-size = "2MiB"\n')
    with Visitors(tus) as visitors:
        os.kill(program.pid, signal.SIGHUP)
        program.ready(times=2)
        assert all(eventually(lambda pid=pid: is_gone(pid), within=8.0) for pid in before)
        served = visitors.served
        assert eventually(lambda: visitors.served > served + 3, within=8.0)
    assert (visitors.refused, visitors.failed) == (0, [])
    assert program.port == port
    assert tus.options().get("Tus-Max-Size") == str(2 * 2**20)
    assert program.end(signal.SIGTERM) == 0
    assert "Traceback" not in program.log


@both
def test_what_an_upload_received_is_kept_over_a_restart(start: Start, workers: int):
    program = start(f"--workers={workers}").ready()
    tus = program.tus
    target = tus.create(100)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"x" * 60, {"Content-Length": "100"}))
        assert wire.is_silent()
        os.kill(program.pid, signal.SIGHUP)
        assert wire.response("PATCH").code == "shutting_down"
    program.ready(times=2)
    assert tus.offset(target) == 60
    assert tus.patch(target, 60, b"x" * 40).status == 204


@both
def test_wrong_settings_leave_the_running_server_as_it_is(
    start: Start, upload_dir: Path, workers: int
):
    file = upload_dir / "tusserver.toml"
    file.write_text('max-size = "1MiB"\n')
    program = start(f"--workers={workers}", f"--config={file}").ready()
    before = program.workers()
    file.write_text('max-size = "much"\n')
    os.kill(program.pid, signal.SIGHUP)
    assert program.said("the program would not start anew")
    assert program.said("max-size=much: not a size"), program.log
    assert program.workers() == before
    assert program.tus.upload(b"hello")
    # It is not for ever: corrected, they are taken.
    file.write_text('max-size = "3MiB"\n')
    os.kill(program.pid, signal.SIGHUP)
    program.ready(times=2)
    assert program.tus.options().get("Tus-Max-Size") == str(3 * 2**20)


def test_workers_of_before_go_on_while_new_ones_cannot_start(start: Start, upload_dir: Path):
    file = upload_dir / "tusserver.toml"
    file.write_text("")
    program = start("--workers=2", f"--config={file}").ready()
    before = program.settled(2)
    # That this directory belongs to another state is found only when a worker opens it.
    file.write_text('state = "redis://127.0.0.1:1/0"\n')
    program.process.send_signal(signal.SIGHUP)
    assert program.said("ended with exit status 2: another one takes its place", times=2)
    assert program.said("tusserver adopt"), program.log
    assert set(before) <= set(program.workers())
    assert program.tus.upload(b"hello")
    file.write_text("")
    program.process.send_signal(signal.SIGHUP)
    program.ready(times=2)
    assert all(eventually(lambda pid=pid: is_gone(pid), within=8.0) for pid in before)
    assert program.end(signal.SIGTERM) == 0


def test_a_new_number_of_workers_is_taken(start: Start, upload_dir: Path):
    file = upload_dir / "tusserver.toml"
    file.write_text("workers = 1\n")
    program = start(f"--config={file}").ready()
    assert program.workers() == []
    file.write_text("workers = 3\n")
    program.process.send_signal(signal.SIGHUP)
    program.ready(times=2)
    program.settled(3)
    file.write_text("workers = 1\n")
    program.process.send_signal(signal.SIGHUP)
    program.ready(times=3)
    program.settled(1)
    assert program.tus.upload(b"hello")
    assert program.end(signal.SIGTERM) == 0


def test_a_place_that_cannot_be_had_leaves_the_server_where_it_was(start: Start, upload_dir: Path):
    file = upload_dir / "tusserver.toml"
    file.write_text("")
    program = start("--workers=2", f"--config={file}").ready()
    port = program.port
    file.write_text('unix-socket = "/proc/x"\n')
    program.process.send_signal(signal.SIGHUP)
    program.ready(times=2)
    assert program.said("/proc/x cannot be listened on"), program.log
    assert program.port == port
    assert program.tus.upload(b"hello")


@both
def test_who_ends_the_program_while_it_starts_anew_is_heard(start: Start, workers: int):
    late = (
        "import os, signal; from tusserver.process.notify import Notifier; "
        "Notifier.reloading = lambda self: os.kill(os.getpid(), signal.SIGTERM)"
    )
    program = start(f"--workers={workers}", patch=late).ready()
    assert program.end(signal.SIGHUP) == 0
    assert program.log.count("try it with") == 1


def test_a_worker_that_begins_while_a_restart_is_tried_ends_without_a_word(start: Start):
    program = start("--workers=2").ready()
    first, _ = before = program.settled(2)
    os.kill(program.pid, signal.SIGHUP)
    assert eventually(lambda: len(program.workers()) == 3), "the rehearsal is a child too"
    os.kill(first, signal.SIGKILL)
    program.ready(times=2)
    assert all(eventually(lambda pid=pid: is_gone(pid), within=8.0) for pid in before)
    assert program.end(signal.SIGTERM) == 0
    assert "is still running" not in program.log, program.log
