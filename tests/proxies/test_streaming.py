"""The program behind the real nginx and HAProxy, with the files of the deployment page."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.content import KIB, MIB
from tests.support.hosted import hosted
from tests.support.proxies import (
    PROGRAMS,
    RunningProxy,
    TlsTus,
    documented,
    exchanged,
    need_proxy,
)
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tusserver import CallableHooks, Settings, build_engine, tus_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.raw import Wire
    from tusserver.ports import Event

FLAGS = ("--trusted-proxies", "127.0.0.1", "--cors-origins", "", "--max-size", "64MiB")
PIECE = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def program_server() -> Iterator[TusServer]:
    with TusServer(*FLAGS) as server:
        yield server
        server.check_log()


@pytest.fixture(scope="module", params=PROGRAMS)
def front(request, program_server) -> Iterator[RunningProxy]:
    need_proxy(request.param)
    server = f"127.0.0.1:{program_server.port}"
    with RunningProxy(request.param, documented(request.param), server=server, tls=True) as proxy:
        yield proxy


@pytest.fixture
def tus(front) -> Tus:
    return TlsTus(front.url)


def test_an_upload_arrives(tus):
    data = PIECE * 64
    answer = tus.post({"Upload-Length": str(len(data))})
    location = answer.get("Location")
    assert location.startswith("/files/")
    assert tus.patch(location, 0, data).status == 204
    assert tus.content(location) == data
    assert tus.delete(location).status == 204


def test_the_creation_url_needs_no_slash_at_its_end(tus):
    assert tus.request("POST", "/files", {"Upload-Length": "1"}).status == 201


def _append_in_pieces(wire: Wire, head: bytes, pieces: list[bytes]) -> threading.Thread:
    def send() -> None:
        wire.send(head)
        for piece in pieces:
            wire.trickle(piece, size=len(piece), pause=0.03)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("in_chunks", [False, True], ids=["with its length", "in chunks"])
def test_the_offset_grows_while_the_body_streams(tus, in_chunks):
    pieces = [PIECE] * 48
    size = sum(map(len, pieces))
    target = tus.create(size)
    framing = {"Content-Length": str(size)}
    sent = pieces
    if in_chunks:
        framing = {"Content-Length": None, "Transfer-Encoding": "chunked"}
        sent = [*(chunked(piece, end=False) for piece in pieces), chunked()]
    with tus.wire() as wire:
        thread = _append_in_pieces(wire, tus.append_message(target, 0, b"", framing), sent)
        told: list[int] = []
        while thread.is_alive():
            told.append(tus.offset(target))
        thread.join()
        assert wire.response("PATCH").status == 204
    half_way = sorted({offset for offset in told if 0 < offset < size})
    assert len(half_way) >= 2, told
    assert half_way[0] <= size / 2
    assert told == sorted(told)
    assert tus.content(target) == b"".join(pieces)


def test_an_upload_goes_on_after_a_cut(tus):
    data = PIECE * 32
    half = len(data) // 2
    target = tus.create(len(data))
    with tus.wire() as wire:
        head = tus.append_message(target, 0, b"", {"Content-Length": str(len(data))})
        wire.send(head + data[:half])
        assert eventually(lambda: tus.offset(target) > 0)
        wire.reset()
    assert eventually(lambda: tus.offset(target) == half)
    assert tus.patch(target, half, data[half:]).status == 204
    assert tus.content(target) == data


def _refused(tus: Tus, target: str | None, fields: dict[str, str]) -> tuple[int, str]:
    """Send the begin of a body that never ends; give status and code of the answer."""
    size = 1024 * MIB
    with tus.wire() as wire:
        method = "POST" if target is None else "PATCH"
        fields = {"Content-Type": OFFSET_STREAM, "Content-Length": str(size), **fields}
        wire.send(tus.message(method, target, fields))
        wire.flood(32 * MIB, piece=PIECE)
        answer = wire.response(method)
    return answer.status, answer.code


def test_an_early_refusal_reaches_the_client(tus):
    target = tus.create(33 * MIB)
    assert _refused(tus, target, {"Upload-Offset": "7"}) == (409, "offset_mismatch")
    small = tus.create(KIB)
    assert _refused(tus, small, {"Upload-Offset": "0"})[0] == 413
    assert _refused(tus, None, {"Upload-Length": str(65 * MIB)}) == (413, "max_size_exceeded")
    assert _refused(tus, "/files/" + "0" * 32, {"Upload-Offset": "0"})[0] == 404


def test_an_append_that_was_taken_over_is_told_so(tus):
    target = tus.create(MIB)
    with tus.wire() as wire:
        head = tus.append_message(target, 0, b"", {"Content-Length": str(MIB)})
        wire.send(head + PIECE)
        assert eventually(lambda: tus.offset(target) == len(PIECE))
        assert wire.response("PATCH").status == 423
    assert tus.patch(target, len(PIECE), bytes(MIB - len(PIECE))).status == 204


def test_a_client_that_waits_for_100_is_told_to_go_on(tus):
    target = tus.create(5)
    with tus.wire() as wire:
        expect = {"Expect": "100-continue", "Content-Length": "5"}
        wire.send(tus.append_message(target, 0, b"", expect))
        assert wire.interim().status == 100
        wire.send(b"hello")
        assert wire.response("PATCH").status == 204
    assert tus.content(target) == b"hello"


def test_the_origin_of_its_own_pages_is_the_one_of_the_proxy(tus, front):
    length = {"Upload-Length": "1"}
    own = front.url.removesuffix("/files/")
    assert tus.post({**length, "Origin": own}).status == 201
    assert tus.post({**length, "Origin": own.replace("https", "http")}).status == 403
    lie = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "1"}
    assert tus.post({**length, **lie, "Origin": own}).status == 201
    assert tus.post({**length, **lie, "Origin": "https://evil.example"}).status == 403
    lie = {"Forwarded": "for=192.0.2.9;host=evil.example"}
    assert tus.post({**length, **lie, "Origin": own}).status == 201


@pytest.mark.parametrize("program", PROGRAMS)
def test_hooks_see_the_address_of_the_client(upload_dir: Path, program: str):
    need_proxy(program)
    seen: list[Event] = []

    async def note(event: Event) -> None:
        seen.append(event)

    def make_app() -> web.Application:
        settings = Settings(upload_dir=upload_dir, reserve=0, trusted_proxies="127.0.0.1")
        app = web.Application()
        engine = build_engine(settings, CallableHooks(pre_create=note))
        app.add_subapp("/files/", tus_app(engine))
        return app

    with hosted(make_app) as port:
        # Plain, so that the connection can be made from another address of this machine.
        config = exchanged(documented(program), {_TLS[program]: _PLAIN[program]})
        with RunningProxy(program, config, server=f"127.0.0.1:{port}", tls=False) as proxy:
            request = Tus(proxy.url).message(
                "POST", None, {"Upload-Length": "1", "X-Forwarded-For": "192.0.2.1"}
            )
            with socket.create_connection(
                ("127.0.0.1", proxy.port), 5, source_address=("127.0.0.2", 0)
            ) as connection:
                connection.sendall(request)
                assert b" 201 " in connection.recv(100)
    assert [event.request.remote for event in seen] == ["127.0.0.2"]


_TLS = {"nginx": "{listen} ssl;", "haproxy": "{listen} ssl crt {certificate}"}
_PLAIN = {"nginx": "{listen};", "haproxy": "{listen}"}


def test_two_proxies_in_a_row_tell_scheme_and_client(program_server):
    for program in PROGRAMS:
        need_proxy(program)
    server = f"127.0.0.1:{program_server.port}"
    # As the page says for an nginx that stands behind another proxy.
    inner = exchanged(
        documented("nginx"),
        {
            _TLS["nginx"]: _PLAIN["nginx"],
            "X-Forwarded-Proto $scheme;": "X-Forwarded-Proto $http_x_forwarded_proto;",
            "X-Forwarded-Host $http_host;": "X-Forwarded-Host $http_x_forwarded_host;",
        },
    )
    with RunningProxy("nginx", inner, server=server, tls=False) as near:
        place = f"127.0.0.1:{near.port}"
        with RunningProxy("haproxy", documented("haproxy"), server=place, tls=True) as far:
            own = far.url.removesuffix("/files/")
            answer = TlsTus(far.url).post({"Upload-Length": "1", "Origin": own})
    assert answer.status == 201
