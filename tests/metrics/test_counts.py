"""After known traffic the counts are exactly what happened."""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.metrics.reading import read
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.metrics.reading import Metrics

UNKNOWN = "0" * 32


@pytest.fixture(scope="module")
def module_server() -> Iterator[TusServer]:
    with TusServer("--max-size", "1000000") as server:
        yield server
        server.check_log()


@pytest.fixture
def count(server: TusServer) -> Callable[[], Metrics]:
    """Read what was counted since the test began."""
    before = read(server)
    return lambda: read(server).since(before)


@pytest.fixture
def tus(server) -> Tus:
    return Tus(server.url)


def test_a_new_server_has_counted_nothing(make_server):
    metrics = read(make_server())
    assert metrics("workers") == 1
    assert metrics("uploads_created_total", kind="single") == 0
    assert metrics("received_bytes_total") == 0
    assert abs(metrics("start_time_seconds") - time.time()) < 20


def test_requests_are_counted_by_method_and_status(count, tus):
    target = tus.upload(b"hello")
    for _ in range(3):
        tus.head(target)
    tus.head(tus.path + UNKNOWN)
    tus.options()
    tus.request("POST", target, {"X-HTTP-Method-Override": "DELETE"})
    tus.request("PUT", target)
    metrics = count()
    assert metrics("requests_total", method="POST", status="201") == 1
    assert metrics("requests_total", method="PATCH", status="204") == 1
    assert metrics("requests_total", method="HEAD", status="200") == 3
    assert metrics("requests_total", method="HEAD", status="404") == 1
    assert metrics("requests_total", method="OPTIONS", status="204") == 1
    assert metrics("requests_total", method="DELETE", status="204") == 1
    assert metrics("requests_total", method="other", status="405") == 1
    assert metrics("request_duration_seconds_count", method="HEAD") == 4
    assert metrics("request_errors_total", code="upload_not_found") == 1


def test_bytes_are_counted_both_ways(count, tus):
    target = tus.upload(bytes(70_000))
    tus.content(target)
    tus.get(target, {"Range": "bytes=0-9"})
    metrics = count()
    assert metrics("received_bytes_total") == 70_000
    assert metrics("sent_bytes_total") == 70_010


def test_uploads_are_counted_by_kind(count, tus):
    first = tus.upload(b"abc", {"Upload-Concat": "partial"})
    second = tus.upload(b"def", {"Upload-Concat": "partial"})
    tus.post({"Upload-Concat": f"final;{first} {second}"})
    tus.upload(b"")
    tus.delete(tus.create(5))
    assert eventually(lambda: count()("uploads_finished_total", kind="final") == 1)
    metrics = count()
    assert metrics("uploads_created_total", kind="partial") == 2
    assert metrics("uploads_created_total", kind="final") == 1
    assert metrics("uploads_created_total", kind="single") == 2
    assert metrics("uploads_finished_total", kind="partial") == 2
    assert metrics("uploads_finished_total", kind="single") == 1
    assert metrics("uploads_terminated_total", kind="single") == 1


def test_refused_creations_are_counted_by_their_reason(count, tus):
    for _ in range(2):
        assert tus.post({"Upload-Length": "1000001"}).status == 413
    metrics = count()
    assert metrics("uploads_rejected_total", code="max_size_exceeded") == 2
    assert metrics("request_errors_total", code="max_size_exceeded") == 2
    assert metrics("uploads_created_total", kind="single") == 0


def test_bytes_count_while_they_come_and_an_append_counts_as_running(count, tus):
    target = tus.create(1000)
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "1000"}
    with tus.wire() as wire:
        wire.send(tus.message("PATCH", target, fields) + bytes(400))
        assert eventually(lambda: count()("received_bytes_total") == 400)
        assert count()("appends_running") == 1
        assert count()("appends_stalled") == 0
    assert eventually(lambda: count()("appends_running") == 0)
    assert count()("appends_total", reason="disconnected") == 1


def test_an_append_that_brings_nothing_for_long_is_stalled(count, tus):
    target = tus.create(1000)
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "1000"}
    with tus.wire() as wire:
        wire.send(tus.message("PATCH", target, fields) + bytes(400))
        assert eventually(lambda: count()("appends_stalled") == 1, within=8)
        wire.send(bytes(600))
        assert wire.response("PATCH").status == 204
        metrics = count()
        assert metrics("appends_stalled") == 0
        assert metrics("appends_total", reason="complete") == 1


def test_take_overs_are_counted(count, tus):
    target = tus.create(1000)
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "1000"}
    with tus.wire() as wire:
        wire.send(tus.message("PATCH", target, fields) + bytes(400))
        assert eventually(lambda: count()("received_bytes_total") == 400)
        assert tus.patch(target, 400, bytes(600)).status == 204
    metrics = count()
    assert metrics("takeovers_total", outcome="taken") == 1
    assert metrics("takeover_duration_seconds_count") == 1
    assert metrics("appends_total", reason="superseded") == 1
    assert metrics("lease_wait_seconds_count") == 2


def test_commits_and_syncs_are_timed(count, tus):
    tus.upload(b"hello")
    metrics = count()
    assert metrics("commit_duration_seconds_count") == 1
    assert metrics("sync_duration_seconds_count") == 1
    assert metrics("commit_failures_total") == 0
    assert 0 < metrics("sync_duration_seconds_sum") < 10


def test_a_refused_checksum_counts_as_an_error(count, tus):
    target = tus.create(5)
    wrong = b64encode(hashlib.sha256(b"other").digest()).decode()
    assert tus.patch(target, 0, b"hello", {"Upload-Checksum": f"sha256 {wrong}"}).status == 460
    metrics = count()
    assert metrics("request_errors_total", code="checksum_mismatch") == 1
    assert metrics("received_bytes_total") == 5


def test_expired_uploads_are_counted(make_server):
    server = make_server(
        "--expire-after", "100ms", "--sweep-interval", "200ms", "--sweep-grace", "0"
    )
    tus = Tus(server.url)
    for _ in range(2):
        tus.create(5)
    assert eventually(lambda: read(server)("uploads_expired_total", kind="single") == 2, within=8)
    assert read(server)("uploads_terminated_total", kind="single") == 0


def test_the_space_is_that_of_the_file_system(make_server):
    server = make_server("--reserve", "12345")
    metrics = read(server)
    assert metrics("space_reserve_bytes") == 12345
    assert 0 < metrics("space_free_bytes") < metrics("space_total_bytes")


def test_round_trips_to_redis_are_counted_and_their_failures(make_server, redis_server):
    server = make_server(state=redis_server.url)
    tus = Tus(server.url)
    tus.upload(b"hello")
    metrics = read(server)
    assert metrics("state_duration_seconds_count") >= 3
    assert metrics("state_failures_total") == 0
    redis_server.kill()
    tus.head(tus.path + UNKNOWN)
    assert read(server)("state_failures_total") >= 1


def test_events_that_no_receiver_takes_are_counted(make_server):
    url = "http://127.0.0.1:9/nobody"
    server = make_server("--webhook-url", url, "--webhook-events", "post-create,pre-create")
    assert read(server)("events", state="waiting") == 0
    tus = Tus(server.url)
    assert tus.post({"Upload-Length": "5"}).status >= 500  # Nobody can be asked.
    metrics = read(server)
    assert metrics("hook_calls_total", hook="pre-create", outcome="failed") == 1
    assert metrics("events", state="dead") == 0


def test_events_that_wait_for_a_receiver_are_counted(make_server):
    url = "http://127.0.0.1:9/nobody"
    server = make_server("--webhook-url", url, "--webhook-events", "post-create")
    Tus(server.url).create(5)
    assert eventually(lambda: read(server)("events", state="waiting") == 1)
    assert read(server)("events", state="dead") == 0


def test_a_server_that_is_told_so_counts_nothing(make_server):
    server = make_server("--no-metrics")
    tus = Tus(server.url)
    tus.upload(b"hello")
    assert tus.request("GET", "/metrics").status == 404
