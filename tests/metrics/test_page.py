"""Who may read the page of metrics, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.metrics.reading import page, read
from tests.support.raw import Tus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import TusServer


@pytest.fixture(scope="module")
def server() -> Iterator[TusServer]:
    from tests.support.server import TusServer  # noqa: PLC0415 - as a fixture of the module

    with TusServer() as server:
        yield server


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
    ],
)
def test_what_came_through_a_proxy_finds_nothing(server, name, value):
    answer = page(server, {name: value})
    assert answer.status == 404
    assert b"tusserver_" not in answer.body
    assert answer.body == Tus(server.url).request("GET", "/nothing").body


def test_other_networks_find_nothing(make_server: Callable[..., TusServer]):
    server = make_server("--metrics-networks", "10.0.0.0/8,::1")
    assert page(server).status == 404


def test_old_and_new_readers_get_what_they_ask_for(server):
    assert (page(server).get("Content-Type") or "").startswith("text/plain")
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = page(server, {"Accept": accept})
    assert (answer.get("Content-Type") or "").startswith("application/openmetrics-text")
    families = {one.name for one in text_string_to_metric_families(answer.body.decode())}
    assert {"tusserver_requests", "tusserver_build", "tusserver_space_free_bytes"} <= families


def test_several_workers_speak_openmetrics_too(make_server):
    server = make_server("--workers", "2")
    Tus(server.url).upload(b"hello")
    answer = page(server, {"Accept": "application/openmetrics-text;version=1.0.0"})
    families = {one.name for one in text_string_to_metric_families(answer.body.decode())}
    assert {"tusserver_requests", "tusserver_build", "tusserver_workers"} <= families


def test_the_page_is_there_when_uploads_lie_at_the_root(make_server):
    server = make_server("--base-path", "/")
    Tus(server.url).upload(b"hello")
    assert read(server)("uploads_created_total", kind="single") == 1


def test_the_page_is_not_changed_by_other_methods(server):
    assert Tus(server.url).request("DELETE", "/metrics").status in {404, 405}
