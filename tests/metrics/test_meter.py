"""In an embedding application: nothing is counted unless it asks, and then everything."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from tests.metrics.reading import Metrics
from tests.support.hosted import hosted
from tests.support.raw import Tus
from tusserver import CallableHooks, Decision, Settings, build_engine, tus_app
from tusserver.errors import StorageFault
from tusserver.measures import NO_METER
from tusserver.metrics import PrometheusMeter
from tusserver.metrics.exposition import Exposition
from tusserver.ports import EventKind
from tusserver.upload import Kind

if TYPE_CHECKING:
    from pathlib import Path


def metrics_of(registry: CollectorRegistry) -> Metrics:
    return Metrics(generate_latest(registry).decode())


def test_an_engine_counts_nothing_unless_it_is_asked_to(upload_dir: Path):
    engine = build_engine(Settings(upload_dir=upload_dir))
    assert engine.parts.meter is NO_METER


def test_calls_of_hooks_are_counted_by_their_outcome(upload_dir):
    async def pre_create(event):
        if event.upload.length == 13:
            return Decision(reject=(403, "No."))
        if event.upload.length == 99:
            raise RuntimeError("broken")
        return None

    async def post_finish(event):
        del event

    registry = CollectorRegistry()

    def make() -> web.Application:
        app = web.Application()
        engine = build_engine(
            Settings(upload_dir=upload_dir, reserve=0),
            CallableHooks(pre_create=pre_create, post_finish=post_finish),
            meter=PrometheusMeter(registry),
        )
        app.add_subapp("/files/", tus_app(engine))
        return app

    with hosted(make) as port:
        tus = Tus(f"http://127.0.0.1:{port}/files/")
        tus.upload(b"hello")
        assert tus.post({"Upload-Length": "13"}).status == 403
        assert tus.post({"Upload-Length": "99"}).status == 503
    metrics = metrics_of(registry)
    assert metrics("hook_calls_total", hook="pre-create", outcome="ok") == 1
    assert metrics("hook_calls_total", hook="pre-create", outcome="rejected") == 1
    assert metrics("hook_calls_total", hook="pre-create", outcome="failed") == 1
    assert metrics("hook_calls_total", hook="post-finish", outcome="ok") == 1
    assert metrics("hook_duration_seconds_count", hook="pre-create") == 3
    assert metrics("uploads_rejected_total", code="rejected") == 1
    assert metrics("uploads_rejected_total", code="hook_failed") == 1


async def test_failing_commits_and_syncs_are_counted(upload_dir):
    registry = CollectorRegistry()
    engine = build_engine(
        Settings(upload_dir=upload_dir, reserve=0), meter=PrometheusMeter(registry)
    )
    await engine.start()
    try:
        with pytest.raises(StorageFault):
            await engine.parts.storage.sync("0" * 32)  # There is no such file.
    finally:
        await engine.close()
    metrics = metrics_of(registry)
    assert metrics("sync_failures_total") == 1
    assert metrics("sync_duration_seconds_count") == 1


def test_what_fails_is_told_apart():
    registry = CollectorRegistry()
    meter = PrometheusMeter(registry)
    meter.committed(0.001, "failed")
    meter.committed(0.001, "ok")
    metrics = metrics_of(registry)
    assert metrics("commit_failures_total") == 1
    assert metrics("commit_duration_seconds_count") == 2


class Append:
    """An append that has just brought a byte."""

    def silent_for(self) -> float:
        return 0.0


def tell_everything(meter: PrometheusMeter) -> None:
    for seconds in (0.0, 0.0001, 0.00011, 0.004, 2.0, 15.0, 4000.0):
        for method in ("GET", "BREW", "PATCH"):
            meter.request_ended(method, 204, seconds)
        for outcome in ("ok", "failed"):
            meter.committed(seconds, outcome)
            meter.synced(seconds, outcome)
            meter.state_asked(seconds, outcome)
            meter.hook_called(EventKind.PRE_CREATE, seconds, outcome)
        meter.lease_waited(seconds)
        meter.took_over("taken", seconds)
    for code in ("upload_not_found", "upload_locked", "upload_not_found"):
        meter.request_failed(code)
        meter.upload_rejected(code)
    for kind in Kind:
        meter.upload_created(kind)
    meter.upload_finished(Kind.FINAL)
    meter.upload_terminated(Kind.PARTIAL)
    meter.upload_expired(Kind.SINGLE)
    meter.bytes_received(2**53)
    meter.bytes_sent(7)


async def test_who_counts_alone_tells_the_same(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.125)
    told = []
    for is_alone in (False, True):
        meter = PrometheusMeter(is_alone=is_alone)
        tell_everything(meter)
        first, second = Append(), Append()
        meter.append_began(first)
        meter.append_began(second)
        meter.append_ended(first, "complete")
        exposition = Exposition(meter.registry, directory=None, version="1")
        told.append(await exposition.write(""))
        told.append(await exposition.write("application/openmetrics-text; version=1.0.0"))
        meter.append_ended(second, "timeout")
    assert told[:2] == told[2:]
    assert b'tusserver_request_duration_seconds_bucket{le="0.005",method="other"} 4.0' in told[0][0]


@pytest.mark.parametrize("is_alone", [False, True])
def test_metrics_are_registered_once(is_alone):
    meter = PrometheusMeter(is_alone=is_alone)
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusMeter(meter.registry, is_alone=is_alone)
