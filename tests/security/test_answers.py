"""Lines of the threat model: what is answered, to whom, and what is written down of it."""

from __future__ import annotations

import base64
import re
import time

import pytest

from tests.metrics.reading import page
from tests.page.conftest import built
from tests.page.test_serving import get as fetch
from tests.page.visit import page_of
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.waiting import eventually

__all__ = ["built"]

INLINE = {"image/png", "video/mp4", "text/plain"}
KINDS = [
    "text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf",
    "application/javascript", "text/css", "TEXT/HTML", "text/html;charset=utf-7", "image/png",
    "video/mp4", "text/plain", "application/x-shockwave-flash", "multipart/mixed", "*/*", "x",
]  # fmt: skip


def kind(name):
    return {"Upload-Metadata": f"filetype {base64.b64encode(name.encode()).decode()}"}


@pytest.mark.parametrize("told", KINDS)
def test_get__script_in_an_upload_never_runs_in_this_origin(tus, told):
    target = tus.upload(b"<script>alert(document.domain)</script>", kind(told))
    answer = tus.get(target)
    assert answer.status == 200
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert "sandbox" in answer.get("Content-Security-Policy")
    assert "allow" not in answer.get("Content-Security-Policy")
    assert "private" in answer.get("Cache-Control")
    how = answer.get("Content-Disposition").partition(";")[0]
    assert how == ("inline" if told in INLINE else "attachment")


def test_the_upload_page__runs_nothing_but_its_own_and_is_in_no_frame(built, server):
    answer, text = fetch(page_of(server))
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|javascript:|<style", text) is None
    assert answer.headers["X-Frame-Options"] == "DENY"


EVIL = {"Origin": "https://evil.example"}


def test_other_origins__a_page_that_is_not_allowed_is_refused_before_it_has_an_effect(make_server):
    server = make_server("--cors-origins", "https://page.example", "--cors-credentials")
    tus = Tus(server.url)
    target = tus.create(10, body=b"abc")
    before = sorted(server.upload_dir.glob("??/*"))
    whole = {"Upload-Length": "5", "Content-Type": OFFSET_STREAM, **EVIL}
    for answer in (
        tus.post(whole, b"hello"),
        tus.patch(target, 3, b"d", EVIL),
        tus.delete(target, EVIL),
        tus.post({**whole, "Origin": "null"}, b"hello"),
        tus.post({**whole, "Origin": "https://page.example.evil.example"}, b"hello"),
    ):
        assert answer.status == 403, answer
        assert answer.get("Access-Control-Allow-Origin") is None
    assert sorted(server.upload_dir.glob("??/*")) == before
    assert tus.offset(target) == 3
    asked = tus.options(None, {**EVIL, "Access-Control-Request-Method": "POST"})
    assert asked.get("Access-Control-Allow-Origin") is None
    allowed = tus.options(None, {"Origin": "https://page.example"})
    assert allowed.get("Access-Control-Allow-Origin") == "https://page.example"


def test_other_origins__a_method_is_overridden_only_beside_the_version(tus):
    """A form of a page can POST, but cannot send the version without asking first."""
    target = tus.upload(b"hello")
    fields = {"X-HTTP-Method-Override": "DELETE", "Tus-Resumable": None, "Content-Length": "0"}
    answer = tus.request("POST", target, fields)
    assert answer.status in {400, 404, 405, 412}, answer
    assert tus.content(target) == b"hello"


INVENTED = [
    {"X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Proto": "gopher"},
    {"Forwarded": "for=1.2.3.4;host=evil.example;proto=gopher"},
    {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Port": "1"},
    {"Host": "evil.example"},
    {"X-Forwarded-Prefix": "/evil"},
    {"X-Original-URL": "/evil", "X-Rewrite-URL": "/evil"},
]


@pytest.mark.parametrize("fields", INVENTED, ids=lambda fields: next(iter(fields)))
def test_proxy_headers__what_a_client_invents_changes_no_location_and_no_log(tus, server, fields):
    answer = tus.post({"Upload-Length": "1", **fields})
    assert answer.status == 201
    assert re.fullmatch(r"/files/[0-9a-f]{32}", answer.get("Location"))
    upload_id = answer.get("Location").rpartition("/")[2]
    assert server.said(upload_id)
    [line] = [line for line in server.log.splitlines() if upload_id in line and "POST" in line]
    assert "remote=127.0.0.1" in line
    assert "evil" not in line
    assert "1.2.3.4" not in line


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_metrics_healthz_readyz__they_name_no_upload_and_no_path(tus, server, path):
    upload_id = tus.upload(b"hello").rpartition("/")[2]
    answer = tus.request("GET", path, {"Tus-Resumable": None})
    assert answer.status == 200
    assert upload_id.encode() not in answer.body
    assert str(server.upload_dir).encode() not in answer.body


def test_metrics_healthz_readyz__metrics_are_not_for_strangers(make_server, server):
    for fields in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1"}):
        answer = page(server, fields)
        assert answer.status == 404
        assert b"tusserver_" not in answer.body
    elsewhere = make_server("--metrics-networks", "10.0.0.0/8")
    assert page(elsewhere).status == 404


def test_connections__many_of_them_and_slow_heads_shut_nobody_out(make_server):
    server = make_server("--max-connections", "40", "--head-timeout", "1s")
    tus = Tus(server.url)
    wires = [tus.wire() for _ in range(60)]
    try:
        for wire in wires:
            # One byte of a head each, and never the rest.
            wire.socket.send(b"P")
        assert eventually(lambda: all(map(is_over, wires[:40])), within=10)
        assert tus.upload(b"hello")
    finally:
        for wire in wires:
            wire.close()


def is_over(wire):
    try:
        return wire.is_closed(within=0.01)
    except Exception:  # noqa: BLE001 - an answer before the end
        wire._buffer = b""
        return False


def test_connections__a_client_that_reads_nothing_is_cut_off(make_server):
    server = make_server("--send-timeout", "1s")
    tus = Tus(server.url)
    target = tus.upload(bytes(8_000_000))
    before = server.rss()
    wires = [tus.wire() for _ in range(20)]
    for wire in wires:
        wire.send(tus.message("GET", target) * 3)
    assert eventually(lambda: server.log.count(f"GET {target}") >= len(wires), within=15)
    assert server.rss() - before < 40_000_000
    for wire in wires:
        wire.close()
    assert tus.content(target) == bytes(8_000_000)


FORGED = "2026-01-01T00:00:00.000Z INFO forged"
LINES = [
    f"%0d%0a{FORGED}", f"%0A{FORGED}", "%1b[2J%1b[31mred", "%E2%80%A8" + FORGED, "\x1b[2J", "%00",
    "%7f%08%08%08",
]  # fmt: skip


@pytest.mark.parametrize("text", LINES, ids=ascii)
def test_logs_and_messages__what_strangers_send_makes_no_line(tus, server, text):
    secret = "a-query-that-is-a-credential"  # noqa: S105 - of nobody
    fields = {"X-Request-ID": f"x\t{text}", "User-Agent": text, "Referer": text}
    with tus.wire() as wire:
        wire.send(tus.message("HEAD", f"{tus.path}{text.replace(' ', '+')}?{secret}", fields))
        assert wire.response("HEAD").status in {400, 404}
    named = f"filename {base64.b64encode(text.encode()).decode()}"
    tus.upload(b"hello", {"Upload-Metadata": named})
    time.sleep(0)
    log = server.whole_log()
    assert not [line for line in log.splitlines() if line.startswith(FORGED[:20])]
    assert secret not in log
    assert not set(log) & set("\x1b\0\x7f\x08\u2028")


@pytest.mark.parametrize("method", ["POST", "PATCH", "GET", "DELETE", "BREW"])
def test_logs_and_messages__errors_name_no_path_and_no_trace(tus, server, method):
    for target in (tus.path, tus.path + "0" * 32, tus.path + "x", "/"):
        with tus.wire() as wire:
            wire.send(tus.message(method, target, {"Upload-Offset": "x", "Content-Length": "0"}))
            answer = wire.response(method)
        assert str(server.upload_dir).encode() not in answer.body
        assert b"Traceback" not in answer.body
        assert b".py" not in answer.body
