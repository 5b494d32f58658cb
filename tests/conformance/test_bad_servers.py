"""Servers that are none, that hang or that end: the suite says so, soon and in one line."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    b"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nTus-Version: 1.0.0\r\n"
    b"Tus-Extension: creation,termination\r\n\r\n"
)


@contextmanager
def server(answer: bytes, good: int, *, ends: bool) -> Iterator[int]:
    """Answer the first `good` connections so, then end, or take connections in silence."""
    held: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for count in range(10_000):
            if count == good and ends:
                break
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            if count < good:
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        if not ends:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        thread.join()
        for connection in held:
            connection.close()


def run(port: int, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    command = [sys.executable, "-m", "conformance", f"http://127.0.0.1:{port}/files/"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--timeout", "1", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, time.monotonic() - begun


@pytest.mark.parametrize(
    ("answer", "good"), [(b"", 0), (b"SSH-2.0-OpenSSH_9.2\r\n", 99)], ids=["silent", "no HTTP"]
)
def test_what_is_no_server_is_said_to_be_none(answer: bytes, good: int) -> None:
    with server(answer, good, ends=False) as port:
        done, seconds = run(port)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("conformance: ")
    assert done.stdout == ""
    assert seconds < 5


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "hung"])
def test_a_server_that_is_gone_is_not_blamed_for_every_row(ends: bool) -> None:
    with server(OPTIONS, 9, ends=ends) as port:
        done, seconds = run(port, "--jobs", "2")

    assert done.returncode == 2
    assert done.stderr.startswith("conformance: the server answers no more: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout.count("not looked at, the server answers no more") > 100
    assert len([line for line in done.stdout.splitlines() if line.startswith("fail ")]) < 15
    assert seconds < 15


def test_a_server_that_comes_back_is_looked_at_on() -> None:
    with server(OPTIONS, 9, ends=True) as port:
        back: list[socket.socket] = []

        def restart() -> None:
            deadline = time.monotonic() + 10
            while not back and time.monotonic() < deadline:
                try:
                    back.append(socket.create_server(("127.0.0.1", port)))
                except OSError:
                    time.sleep(0.05)
            try:
                while True:
                    connection, _ = back[0].accept()
                    connection.recv(65536)
                    connection.sendall(OPTIONS)
                    connection.close()
            except OSError:
                return

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            done, _ = run(port, "--jobs", "1", "--only", "CORE-OPT,CORE-VER")
        finally:
            back[0].shutdown(socket.SHUT_RDWR)
            back[0].close()
            thread.join()

    assert "answers no more" not in done.stdout + done.stderr
    assert done.returncode == 1
