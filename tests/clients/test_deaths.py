"""Servers, connections and clients that die or freeze in the middle of a PATCH."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import tus_js, tuspy
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.lateness import Lateness
from tests.support.proxy import FIN, Proxy
from tests.support.raw import Tus
from tests.support.waiting import check_time, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clients import ClientRun
    from tests.support.server import TusServer

RATE = 8 * MIB
SIZE = 20 * MIB
MOST = 15 * MIB
"""Where things die: the commit due a second after the begin may be late by most of another.

All of it is more than may be lost, so a commit that is left out shows.
"""
SLACK = 2 * MIB
"""What lies in buffers on the way, with the heads of some requests."""
SOON = 1.0
PATIENT = {
    "tus-js-client": partial(tus_js, retryDelays=[50] * 300),
    "tuspy": partial(tuspy, retries=300, retry_delay=0.05),
}


@pytest.fixture(params=PATIENT)
def patient(request: pytest.FixtureRequest) -> Callable[..., ClientRun]:
    """A client that tries again for as long as a server needs to start."""
    return PATIENT[request.param]


@pytest.fixture
def three(
    make_server: Callable[..., TusServer], upload_dir: Path, state_url: str
) -> dict[int, TusServer]:
    """Three servers that share directory and state, by their ports."""
    servers = [make_server(upload_dir=upload_dir, state=state_url) for _ in range(3)]
    return {server.port: server for server in servers}


@pytest.mark.timeout(60)
@pytest.mark.clause("CLI-01", "CORE-PATCH-17")
def test_a_killed_server_is_sent_little_again(
    make_server: Callable[..., TusServer],
    tmp_path: Path,
    state_url: str,
    patient: Callable[..., ClientRun],
) -> None:
    server = make_server(state=state_url)
    file = make_file(tmp_path / "file", SIZE)
    with Proxy(server.port, rate=RATE) as proxy, patient(proxy.url, file) as run:
        proxy.wait_until_forwarded(MOST)
        server.kill()
        server.start()
        run.finish()
        assert len(run.urls) == 1
        # No more than what came in the second before the death.
        assert proxy.forwarded - SIZE <= RATE + SLACK
        assert_arrived(run.url, SIZE)


@pytest.mark.timeout(60)
def test_a_killed_server_is_sent_little_again_at_a_high_rate(
    make_server: Callable[..., TusServer], tmp_path: Path, state_url: str
) -> None:
    server = make_server(state=state_url)
    size, rate = 96 * MIB, 48 * MIB
    file = make_file(tmp_path / "file", size)
    with (
        Proxy(server.port, rate=rate) as proxy,
        tus_js(proxy.url, file, retryDelays=[50] * 300) as run,
    ):
        proxy.wait_until_forwarded(48 * MIB)
        with Lateness() as late:
            proxy.wait_until_forwarded(60 * MIB)
            server.kill()
        server.start()
        run.finish()
        # No more than 16 MiB, and what came while these were being committed.
        more = 16 * MIB + rate // 10 + SLACK
        assert proxy.forwarded - size <= more + late.leeway * rate
        assert_arrived(run.url, size)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", ["program", "mounted"])
def test_a_stopped_server_is_sent_nothing_again(
    make_server: Callable[..., TusServer],
    tmp_path: Path,
    patient: Callable[..., ClientRun],
    mode: str,
) -> None:
    server = make_server(mode=mode)
    file = make_file(tmp_path / "file", SIZE)
    with Proxy(server.port, rate=RATE) as proxy, patient(proxy.url, file) as run:
        proxy.wait_until_forwarded(MOST)
        with Lateness() as late:
            assert server.terminate() == 0
        server.start()
        run.finish()
        assert len(run.urls) == 1
        assert proxy.forwarded - SIZE <= SLACK + late.leeway * RATE
        assert_arrived(run.url, SIZE)


@pytest.mark.timeout(60)
def test_a_killed_worker_does_not_delay_the_client(
    three: dict[int, TusServer], tmp_path: Path, patient: Callable[..., ClientRun]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    with Proxy(*three, rate=RATE) as proxy, patient(proxy.url, file) as run:
        proxy.wait_until_forwarded(MOST)
        three[proxy.carrier()].kill()
        at_death = proxy.forwarded
        with Lateness() as late:
            took = proxy.wait_until_forwarded(at_death + 256 * KIB)
        check_time(took, SOON + late.leeway)
        run.finish()
        assert len(run.urls) == 1
        assert proxy.forwarded - SIZE <= RATE + SLACK
        assert_arrived(run.url, SIZE)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [1, 3], ids=["one server", "three servers"])
def test_a_half_open_connection_does_not_delay_the_client(
    three: dict[int, TusServer], tmp_path: Path, patient: Callable[..., ClientRun], number: int
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    with Proxy(*list(three)[:number], rate=RATE) as proxy, patient(proxy.url, file) as run:
        for size in (4 * MIB, MOST):
            proxy.wait_until_forwarded(size)
            assert proxy.lose() >= 1
            at_loss = proxy.forwarded
            with Lateness() as late:
                took = proxy.wait_until_forwarded(at_loss + 256 * KIB)
            check_time(took, SOON + late.leeway)
        run.finish()
        assert len(run.urls) == 1
        # Nothing was lost: what arrived before the silence counts.
        assert proxy.forwarded - SIZE <= SLACK
        assert_arrived(run.url, SIZE)


@pytest.mark.timeout(60)
def test_a_frozen_worker_locks_the_upload_and_harms_no_byte(
    three: dict[int, TusServer], tmp_path: Path
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    with (
        Proxy(*three, rate=RATE) as proxy,
        tus_js(proxy.url, file, retryDelays=[50] * 300) as run,
    ):
        proxy.wait_until_forwarded(MOST)
        frozen = three[proxy.carrier()]
        frozen.suspend()
        proxy.ports.remove(frozen.port)
        proxy.cut_all(FIN)
        assert eventually(lambda: {"HEAD", "PATCH"} & _methods(run, 423), within=10)
        frozen.resume()
        run.finish()
        assert len(run.urls) == 1
        assert_arrived(run.url, SIZE)
        statuses = {answer["status"] for answer in run.told("answer")}
        assert statuses <= {200, 201, 204, 409, 423}


def _methods(run: ClientRun, status: int) -> set[str]:
    return {answer["method"] for answer in run.told("answer") if answer["status"] == status}


@pytest.mark.clause("CORE-PATCH-20")
def test_bytes_that_reach_a_frozen_worker_late_are_not_mixed_with_newer_ones(
    three: dict[int, TusServer],
) -> None:
    size = 8 * MIB
    older, newer, _ = three.values()
    old, new = Tus(older.url), Tus(newer.url)
    target = old.create(size)
    with old.wire() as wire:
        wire.send(old.append_message(target, 0, b"A" * MIB, {"Content-Length": str(size)}))
        assert eventually(lambda: older.data_file(target).read_bytes()[:MIB] == b"A" * MIB)
        older.suspend()
        # These lie in the frozen worker's socket, and may be read or dropped when it wakes.
        wire.send(b"A" * 100_000)
        assert new.patch(target, 0, b"B" * size).status == 423
        older.resume()
    offset = new.offset(target)
    assert MIB <= offset <= MIB + 100_000
    assert new.patch(target, offset, b"B" * (size - offset)).status == 204
    assert new.content(target) == b"A" * offset + b"B" * (size - offset)


@pytest.mark.timeout(60)
def test_a_killed_client_goes_on_where_it_was(three: dict[int, TusServer], tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", SIZE)
    storage = tmp_path / "urls.json"
    with Proxy(*three, rate=RATE) as proxy:
        with tus_js(proxy.url, file, storage=storage) as run:
            proxy.wait_until_forwarded(MOST)
            run.kill()
            url = run.url
        with tus_js(proxy.url, file, storage=storage, resume=True) as run:
            run.finish()
            assert run.urls == [url]
        assert proxy.forwarded - SIZE <= SLACK
        assert_arrived(url, SIZE)
