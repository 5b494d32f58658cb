"""The real tus-java-client: what it sends, and what it does with the answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import tus_java
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.java import need_java
from tests.support.raw import Tus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import TusServer

REQUEST = 10 * MIB
CREATED = (
    b"HTTP/1.1 201 Created\r\nTus-Resumable: 1.0.0\r\nContent-Length: 0\r\n"
    b"Connection: close\r\nLocation: /files/one\r\n\r\n"
)
REFUSED = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _create_and_refuse(listener: socket.socket, heads: list[str]) -> None:
    """Answer 201, and 404 to all that comes then; note what was asked."""
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                connection.sendall(REFUSED if heads else CREATED)
            heads.append(head.decode())


@pytest.mark.clause("CLI-04")
def test_it_sends_what_it_is_known_for(tmp_path: Path) -> None:
    need_java()
    file = make_file(tmp_path / "file", KIB)
    heads: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_create_and_refuse, args=(listener, heads), daemon=True)
        answering.start()
        with tus_java(f"http://127.0.0.1:{listener.getsockname()[1]}/files/", file) as run:
            assert run.fail()["status"] == 404
        listener.shutdown(socket.SHUT_RDWR)
        answering.join()
    # If it does it another way one day, the tests below no longer try what they are there for.
    # The JDK itself asks a second and a third time when it is refused.
    created, appended, *_ = heads
    assert created.startswith("POST /files/ HTTP/1.1\r\n")
    lines = appended.split("\r\n")
    assert lines[0] == "POST /files/one HTTP/1.1"
    assert {
        "X-HTTP-Method-Override: PATCH",
        "Expect: 100-continue",
        "Transfer-Encoding: chunked",
    } <= set(lines)
    assert lines[-2:] == ["", ""], "the body did not wait for 100 Continue"


@pytest.mark.clause("CLI-04", "CORE-MO-05", "CORE-MO-01")
@pytest.mark.parametrize(
    "size",
    [REQUEST, REQUEST + 1, 25 * MIB + 3],
    ids=["one request", "one and a byte", "three requests"],
)
def test_it_sends_ten_mebibytes_a_request(
    make_server: Callable[..., TusServer], tmp_path: Path, state_url: str, size: int
) -> None:
    server = make_server(state=state_url)
    file = make_file(tmp_path / "file", size)
    with tus_java(server.url, file) as run:
        assert_arrived(run.finish().url, size)
        assert not run.told("retry"), run.account()


def test_it_makes_another_upload_where_the_old_one_is_gone(
    server: TusServer, tmp_path: Path
) -> None:
    file = make_file(tmp_path / "file", KIB)
    storage = tmp_path / "urls"
    with tus_java(server.url, file, storage=storage) as run:
        old = run.finish().url
    # It forgets no URL by itself when it is done.
    assert Tus(server.url).delete(Tus(server.url).target(old)).status == 204
    with tus_java(server.url, file, storage=storage) as run:
        run.finish()
        assert run.url != old
        assert server.said(f"HEAD /files/{old.rpartition('/')[2]} 404"), server.log
        assert_arrived(run.url, KIB)
