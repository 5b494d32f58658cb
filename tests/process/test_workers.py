"""Several workers at one socket: any of them serves anything, and none is missed."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.process.program import is_gone, spread
from tests.support.ports import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.program import Program
    from tests.support.redis_server import RedisServer

    Start = Callable[..., Program]


def test_a_killed_worker_takes_nobody_elses_connection_with_it_and_is_replaced(start: Start):
    program = start("--workers=2").ready()
    first, second = program.settled(2)
    tus = program.tus
    doomed, other = tus.create(100), tus.create(100)
    with spread(tus, [first, second]) as wires:
        dying, living = wires[first][0], wires[second][0]
        dying.send(tus.append_message(doomed, 0, b"x" * 60, {"Content-Length": "100"}))
        living.send(tus.append_message(other, 0, b"y" * 60, {"Content-Length": "100"}))
        assert dying.is_silent(for_=1.2)  # A checkpoint is made each second.
        os.kill(first, signal.SIGKILL)
        assert dying.is_closed()
        living.send(b"y" * 40)
        assert living.response("PATCH").status == 204
    # Whoever is asked goes on with what the dead one had.
    assert tus.offset(doomed) == 60
    assert tus.patch(doomed, 60, b"x" * 40).status == 204
    assert tus.content(doomed) == b"x" * 100
    assert second in program.settled(2)
    assert program.said(f"(process {first}) was ended by SIGKILL: another one takes its place"), (
        program.log
    )
    assert program.said("dmesg"), program.log


def test_any_worker_may_get_any_request_of_an_upload(start: Start, state_url: str):
    program = start("--workers=2", f"--state={state_url}").ready()
    workers = program.settled(2)
    tus = program.tus
    with spread(tus, workers) as wires:
        one, two = (wires[pid][0] for pid in workers)
        created = tus.post({"Upload-Length": "30"}, wire=one)
        target = tus.target(created.get("Location"))
        for offset, wire in ((0, two), (10, one), (20, two)):
            assert tus.head(target, wire=one).offset == offset
            assert tus.head(target, wire=two).offset == offset
            assert tus.patch(target, offset, b"0123456789", wire=wire).status == 204
        assert tus.request("GET", target, wire=one).body == b"0123456789" * 3


def test_connections_that_stay_are_shared_out_evenly(start: Start):
    # A worker waits a moment for one that has fewer, and no longer: a busy machine makes it uneven.
    program = start("--workers=3").ready()
    with spread(program.tus, program.settled(3), count=30) as wires:
        counts = sorted(map(len, wires.values()))
    assert counts[-1] - counts[0] <= 3, counts


def test_a_worker_that_dies_again_and_again_is_replaced_ever_later(
    start: Start, redis_server: RedisServer
):
    program = start("--workers=2", f"--state={redis_server.url}").ready()
    first, second = program.settled(2)
    redis_server.kill()
    os.kill(first, signal.SIGKILL)
    # What takes its place cannot start, and says why.
    assert program.said("does not answer: start it, or correct --state", times=3)
    waits = re.findall(r"exit status 1: another one takes its place in ([0-9.]+) s", program.log)
    assert [float(wait) for wait in waits[:2]] == [0.2, 0.5]
    redis_server.start()
    assert second in program.settled(2)


HANG = (
    "import signal, time, tusserver.process.supervisor as s; s.HANG_SECONDS = 2.5; "
    "signal.signal(signal.SIGUSR2, lambda *_: time.sleep(60))"
)
"""Lets SIGUSR2 block the event loop."""


def test_a_worker_that_hangs_is_replaced_and_says_where_it_hangs(start: Start):
    program = start("--workers=2", patch=HANG).ready()
    first, second = program.settled(2)
    os.kill(first, signal.SIGUSR2)
    assert program.said(f"process {first} has not shown a sign of life", within=8.0)
    assert program.said(f"(process {first}) was ended by SIGKILL")
    assert program.said("in <lambda>"), program.log
    now = program.settled(2)
    assert first not in now
    # What somebody stops on purpose, to look at it, is let alone.
    os.kill(second, signal.SIGSTOP)
    time.sleep(3.5)
    assert second in program.workers()
    os.kill(second, signal.SIGCONT)
    assert program.settled(2) == now


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--upload-dir=/proc/x"], 2, "tusserver: --upload-dir=/proc/x: cannot be used"),
        (["--state=redis://127.0.0.1:{free}/0"], 1, "does not answer: start it, or correct"),
        (["--workers=65"], 2, "tusserver: --workers=65: not such a number"),
    ],
    ids=["directory", "state", "number"],
)
def test_workers_that_cannot_start_end_the_program_with_one_line(start: Start, words, status, line):
    program = start("--workers=3", *(word.format(free=free_port()) for word in words))
    assert program.process.wait(15) == status
    lines = [said for said in program.log.splitlines() if said.startswith("tusserver: ")]
    assert len(lines) == 1, program.log
    assert line in lines[0]
    assert "Traceback" not in program.log


def test_workers_end_in_good_order_when_their_parent_is_killed(start: Start):
    program = start("--workers=2").ready()
    workers = program.settled(2)
    tus = program.tus
    target = tus.create(100)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"x" * 60, {"Content-Length": "100"}))
        assert wire.is_silent()
        port = program.port
        program.process.kill()
        program.process.wait()
        # Another one can listen there at once.
        again = start(f"--port={port}").ready()
        assert wire.response("PATCH").code == "shutting_down"
    for pid in workers:
        assert eventually(lambda pid=pid: is_gone(pid), within=5.0)
    # The byte was committed at the end, not by chance before it.
    assert again.tus.offset(target) == 60


def test_the_program_ends_its_workers_in_good_order(start: Start):
    program = start("--workers=2").ready()
    program.settled(2)
    tus = program.tus
    target = tus.create(100)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"x" * 60, {"Content-Length": "100"}))
        assert wire.is_silent()
        assert program.end(signal.SIGTERM) == 0
        assert wire.response("PATCH").code == "shutting_down"
    assert "Traceback" not in program.log
    with suppress(ConnectionRefusedError):
        tus.wire()
        raise AssertionError("somebody listens still")
    assert start().ready().tus.offset(target) == 60


@pytest.mark.parametrize("workers", [1, 2])
def test_what_does_not_end_in_time_is_cut_off_and_a_second_signal_ends_at_once(
    start: Start, workers: int
):
    def reading(program: Program):
        """Read a large file too slowly, so that no stop is in good order."""
        tus = program.tus
        target = tus.upload(bytes(32 * 2**20))
        wire = tus.wire()
        wire.send(tus.message("GET", target))
        assert wire.socket.recv(100)
        return wire

    program = start(f"--workers={workers}", "--shutdown-timeout=1500ms").ready()
    with reading(program):
        began = time.monotonic()
        assert program.end(signal.SIGTERM) == 0
        assert 0.5 < time.monotonic() - began < 3.0
    patient = start(f"--workers={workers}", "--shutdown-timeout=1h").ready()
    with reading(patient):
        patient.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert patient.process.poll() is None
        left = patient.workers()
        assert patient.end(signal.SIGTERM) == 1
        assert all(eventually(lambda pid=pid: is_gone(pid)) for pid in left)


def test_an_interrupt_before_it_listens_is_told_by_the_status(
    start: Start, redis_server: RedisServer
):
    redis_server.pause()
    program = start("--workers=2", f"--state={redis_server.url}")
    assert eventually(lambda: len(program.workers()) == 1, within=10.0)
    assert program.end(signal.SIGINT) == 130
    assert "listens on" not in program.log
    assert "Traceback" not in program.log
