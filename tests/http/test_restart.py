"""Servers that die or stop in the middle of things."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.served import Served
from tests.support.waiting import eventually, soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer
    from tests.support.server import TusServer

DATA = bytes(range(256)) * 8192
CHECKSUM = {"Upload-Checksum": "sha1 " + "A" * 27 + "="}


@pytest.fixture(params=["program", "mounted", "program on Redis"])
def mortal(request: pytest.FixtureRequest, make_server: Callable[..., TusServer]) -> TusServer:
    mode, _, has_redis = request.param.partition(" on ")
    state = request.getfixturevalue("redis_server").url if has_redis else "local"
    return make_server(mode=mode, state=state)


@pytest.mark.clause("CORE-PATCH-17", "CORE-PATCH-16", "CHK-08", "CHK-09")
def test_a_server_killed_in_the_middle_of_patches_comes_back_at_true_offsets(
    mortal: TusServer,
) -> None:
    tus = Tus(mortal.url)
    plain, digested = tus.create(len(DATA)), tus.create(len(DATA), body=DATA[:1000])
    with tus.wire() as first, tus.wire() as second:
        fields = {"Content-Length": str(len(DATA))}
        first.send(tus.append_message(plain, 0, DATA[:1_500_000], fields))
        fields = {"Content-Length": str(len(DATA) - 1000), **CHECKSUM}
        second.send(tus.append_message(digested, 1000, DATA[1000:1_500_000], fields))
        # A checkpoint is made each second, but never of bytes whose digest is not known.
        assert first.is_silent(for_=1.4)
        # On a busy machine it comes later.
        assert mortal.commits(plain, 1_500_000)
        mortal.kill()
    mortal.start()
    tus = Tus(mortal.url)
    for target, offset in ((plain, 1_500_000), (digested, 1000)):
        assert tus.offset(target) == offset
        assert tus.patch(target, offset, DATA[offset:]).status == 204
        assert tus.content(target) == DATA


@pytest.mark.clause("CORE-PATCH-16", "CORE-PATCH-17", "CORE-VER-01")
def test_a_server_that_is_stopped_keeps_what_it_received_and_says_so(mortal: TusServer) -> None:
    tus = Tus(mortal.url)
    target = tus.create(len(DATA))
    with tus.wire() as wire:
        wire.send(
            tus.append_message(target, 0, DATA[:1_500_000], {"Content-Length": str(len(DATA))})
        )
        assert wire.is_silent()
        # What is not read from the socket by then is dropped.
        data = mortal.data_file(target)
        sent = DATA[:1_500_000]
        assert eventually(lambda: data.read_bytes()[: len(sent)] == sent, within=10.0)
        stopper = threading.Thread(target=mortal.terminate)
        stopper.start()
        answer = wire.response("PATCH")
        stopper.join()
    assert (answer.status, answer.code) == (503, "shutting_down")
    assert answer.closes
    assert answer.get("Retry-After")
    assert answer.get("Tus-Resumable") == "1.0.0"
    mortal.start()
    assert Tus(mortal.url).offset(target) == 1_500_000


@pytest.fixture
def two(
    make_server: Callable[..., TusServer], upload_dir: Path, state_url: str
) -> Iterator[tuple[TusServer, TusServer]]:
    first, second = (make_server(upload_dir=upload_dir, state=state_url) for _ in range(2))
    yield first, second
    if first.is_running:
        first.resume()


@pytest.mark.clause("CORE-PATCH-20", "CORE-PATCH-17")
def test_the_client_of_a_killed_process_goes_on_at_another_at_once(
    two: tuple[TusServer, TusServer],
) -> None:
    first, second = (Tus(server.url) for server in two)
    target = first.create(100)
    with first.wire() as wire:
        wire.send(first.append_message(target, 0, b"x" * 60, {"Content-Length": "100"}))
        assert two[0].commits(target, 60)
        assert wire.is_silent(for_=0)
        two[0].kill()
        with soon():
            offset = second.offset(target)
            assert offset == 60
            assert second.patch(target, offset, b"y" * 39).status == 204
        # The last byte waits for the disk, which takes its time.
        assert second.patch(target, 99, b"y").status == 204
    assert second.content(target) == b"x" * 60 + b"y" * 40


@pytest.mark.clause("CORE-HEAD-11", "CORE-PATCH-21", "CORE-HEAD-10")
def test_a_process_that_is_stopped_costs_423_and_no_byte(two: tuple[TusServer, TusServer]) -> None:
    first, second = (Served(server) for server in two)
    target = first.create(100)
    with first.wire() as wire:
        fields = {"Content-Length": "100", "Expect": "100-continue"}
        wire.send(first.append_message(target, 0, b"", fields))
        # It comes once the append has the upload to itself.
        assert wire.interim().status == 100
        wire.send(b"x" * 60)
        assert first.holds(target, b"x" * 60)
        two[0].suspend()
        asked = [
            ("HEAD", {}, b""),
            ("PATCH", {"Upload-Offset": "60", "Content-Type": OFFSET_STREAM}, b"y" * 40),
            ("DELETE", {}, b""),
        ]
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda ask: second.request(ask[0], target, *ask[1:]), asked))
        for answer in answers:
            assert answer.status == 423
            assert answer.offset is None
            assert answer.get("Retry-After")
        assert two[1].said(f"process {two[0].pid} holds it")
        two[0].resume()
        wire.send(b"x" * 40)
        assert wire.response("PATCH").status in {204, 423}
    assert eventually(lambda: second.head(target).status == 200)
    offset = second.offset(target)
    if offset < 100:
        assert second.patch(target, offset, b"x" * (100 - offset)).status == 204
    assert second.content(target) == b"x" * 100


@pytest.mark.clause("CORE-HEAD-11", "CORE-VER-01", "CORS-04")
@pytest.mark.parametrize("mode", ["program", "mounted"])
def test_without_redis_head_says_423_and_nothing_is_lost(
    make_server: Callable[..., TusServer], redis_server: RedisServer, mode: str
) -> None:
    tus = Tus(make_server(mode=mode, state=redis_server.url).url)
    target = tus.create(10, body=b"abc")
    page = {"Origin": "https://page.example"}
    redis_server.kill()
    head, patch, post = (
        tus.head(target, page),
        tus.patch(target, 3, b"def", page),
        tus.post({"Upload-Length": "5", **page}),
    )
    assert [answer.status for answer in (head, patch, post)] == [423, 503, 503]
    for answer in (head, patch, post):
        assert answer.get("Retry-After")
        assert answer.offset is None
        assert answer.get("Tus-Resumable") == "1.0.0"
        assert answer.get("Access-Control-Allow-Origin")
    assert tus.options().status == 204
    redis_server.start()
    assert tus.offset(target) == 3
    assert tus.patch(target, 3, b"defghij").status == 204
    assert tus.content(target) == b"abcdefghij"
