"""Connections that are too many, too slow, or read nothing: cut off, and nobody else suffers."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.raw import Tus, WireError
from tests.support.waiting import eventually
from tests.web.sites import drain, head, site
from tusserver.process.descriptors import connections_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.program import Program

    Start = Callable[..., Program]

both = pytest.mark.parametrize("workers", [1, 2], ids=["alone", "two workers"])


async def test_a_head_that_dribbles_is_cut_off_and_one_that_comes_in_time_is_not():
    async with site(head_timeout=0.5) as it:
        it.may_answer.set()
        client = await it.connect()
        began = time.monotonic()

        async def dribble() -> None:
            for byte in head("X: " + "x" * 1000):
                await client.send(bytes([byte]))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(dribble())
        status, fields = await client.head()
        assert status == "HTTP/1.1 408 Request Timeout"
        assert fields["connection"] == "close"
        assert 0.4 < time.monotonic() - began < 1.5
        task.cancel()
        # An idle connection has more time, and each head its own.
        other = await it.connect()
        for _ in range(3):
            await asyncio.sleep(0.35)
            await other.send(head("Content-Length: 0")[:20])
            await asyncio.sleep(0.2)
            await other.send(head("Content-Length: 0")[20:])
            assert (await other.answer())[0] == "HTTP/1.1 200 OK"


async def test_a_slow_body_is_no_slow_head():
    async with site(head_timeout=0.3) as it:
        client, body = await it.upload(head("Content-Length: 20") + b"x")
        for _ in range(6):
            await client.send(b"xx", pause=0.15)
        await client.send(b"x" * 7)
        assert await drain(body) == b"x" * 20
        it.may_answer.set()
        assert (await client.answer())[0] == "HTTP/1.1 200 OK"


def test_the_head_time_out_is_a_setting(start: Start):
    program = start("--head-timeout=300ms").ready()
    with program.tus.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost:")
        assert wire.response().status == 408
        assert wire.is_closed()


@both
def test_connections_beyond_the_limit_are_answered_503_and_the_others_go_on(
    start: Start, workers: int
):
    program = start(f"--workers={workers}", "--max-connections=5").ready()
    if workers > 1:
        program.settled(workers)
    tus = program.tus
    wires = [tus.wire() for _ in range(5 * workers)]
    for wire in wires:
        assert tus.request("OPTIONS", wire=wire).status in {200, 204}
    for _ in range(20):
        with tus.wire() as late:
            late.send(tus.message("HEAD", "/files/x"))
            answer = late.response("GET")
            assert (answer.status, answer.code) == (503, "overloaded")
            assert answer.get("Retry-After") == "5"
            assert answer.closes
            assert late.is_closed()
    assert program.log.count("others are answered 503; raise --max-connections") <= workers
    for wire in wires:
        assert tus.request("OPTIONS", wire=wire).status in {200, 204}
    wires.pop().close()
    assert eventually(lambda: tus.options().status in {200, 204})
    for wire in wires:
        wire.close()


LITTLE = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))"
FEW = f"{LITTLE}; import tusserver.process.descriptors as d; d.KEPT = -1000"


def test_the_limit_of_open_files_limits_connections(start: Start):
    program = start(patch=LITTLE).ready()
    assert program.said("at most 3 connections at once instead of 10000"), program.log
    assert connections_within(2**20, 10_000) == 10_000


def test_a_lack_of_descriptors_neither_kills_nor_spins(start: Start):
    program = start(patch=FEW).ready()
    tus = program.tus
    wires = [tus.wire() for _ in range(130)]
    assert program.said("no connection can be accepted (Too many open files)", within=5.0)
    before = _cpu(program.pid)
    time.sleep(1.0)
    assert _cpu(program.pid) - before < 0.5
    assert program.log.count("Too many open files") < 4
    for wire in wires:
        wire.close()
    assert eventually(lambda: _answers(tus), within=5.0)
    assert "Traceback" not in program.log


def _answers(tus: Tus) -> bool:
    try:
        return tus.options().status in {200, 204}
    except (OSError, WireError):
        return False


def _cpu(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("way", ["plain", "unix"])
def test_a_client_that_reads_nothing_is_cut_off_and_one_that_reads_slowly_is_not(
    start: Start, upload_dir, way: str
):
    path = upload_dir / "http"
    words = [f"--unix-socket={path}"] if way == "unix" else []
    program = start("--send-timeout=1s", *words).ready()

    def connect() -> socket.socket:
        if way == "plain":
            return socket.create_connection(("127.0.0.1", program.port), timeout=5)
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end.settimeout(5)
        end.connect(str(path))
        return end

    size = 24 * 2**20
    with connect() as end:
        fields = f"Tus-Resumable: 1.0.0\r\nUpload-Length: {size}\r\nContent-Length: {size}\r\n"
        typed = "Content-Type: application/offset+octet-stream\r\n"
        end.sendall(f"POST /files/ HTTP/1.1\r\nHost: x\r\n{fields}{typed}\r\n".encode())
        end.sendall(bytes(size))
        target = re.search(rb"Location: (\S+)", end.recv(4096))[1]
    ask = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect() as silent, connect() as slow:
        silent.sendall(ask)
        slow.sendall(ask)
        received, began = 0, time.monotonic()
        while time.monotonic() - began < 3.0:
            received += len(slow.recv(65_536))
            time.sleep(0.2)
        assert 0 < received < size
        while data := slow.recv(2**20):
            received += len(data)
        assert received > size
        assert _drained(silent) < size
    assert program.end(signal.SIGTERM) == 0
    assert "Traceback" not in program.log


def _drained(end: socket.socket) -> int:
    """Read what is left of a connection that was cut off."""
    total = 0
    try:
        while data := end.recv(2**20):
            total += len(data)
    except ConnectionError:
        pass
    return total


def test_the_soft_limit_of_open_files_is_raised(start: Start):
    soft = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (200, r.getrlimit(7)[1]))"
    program = start(patch=soft).ready()
    found = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    assert found[0] == found[1] > 200


def test_a_worker_that_hangs_keeps_nobody_waiting_when_the_others_are_full(start: Start):
    program = start("--workers=2", "--max-connections=3").ready()
    frozen, _ = program.settled(2)
    os.kill(frozen, signal.SIGSTOP)
    wires = [program.tus.wire() for _ in range(3)]
    try:
        for wire in wires:
            wire.send(program.tus.message("OPTIONS"))
            assert wire.response("OPTIONS").status in {200, 204}
        began = time.monotonic()
        assert program.tus.options().status == 503
        assert time.monotonic() - began < 3.0
    finally:
        os.kill(frozen, signal.SIGCONT)
    # Who has room again is left to take what comes.
    assert eventually(lambda: program.tus.options().status in {200, 204})
    assert [program.tus.options().status for _ in range(5)].count(503) == 0
    for wire in wires:
        wire.close()
    assert program.end(signal.SIGTERM) == 0
