"""`check --url` against the real nginx and HAProxy: right as documented, and wrong in one thing."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.proxies import (
    PACKAGES,
    PROGRAMS,
    RunningProxy,
    documented,
    exchanged,
    need_proxy,
)
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tusserver.check import Level, check_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.check import Finding

STRICT = ("--cors-origins", "", "--trusted-proxies", "127.0.0.1")
"""Only pages of its own origin may use it: then the origin matters."""

IN_NGINX = "proxy_pass http://tusserver;"
"""A line of the location, below which others can stand."""
IN_HAPROXY = "option forwardfor"
IN_GLOBAL = "maxconn 4096"


@pytest.fixture(scope="module")
def server() -> Iterator[TusServer]:
    with TusServer(*STRICT) as running:
        yield running
        running.check_log()


async def check(program: str, edits: dict[str, str], place: str, path: str = "") -> list[Finding]:
    need_proxy(program)
    config = exchanged(documented(program), edits)
    with RunningProxy(program, config, server=place, tls=True) as proxy:
        url = proxy.url.removesuffix("/files/") + (path or "/files/")
        return await check_url(url, insecure=True, patience=5)


def add(line: str, program: str) -> dict[str, str]:
    anchor = IN_NGINX if program == "nginx" else IN_HAPROXY
    return {anchor: f"{anchor}\n    {line}"}


def codes(findings: list[Finding]) -> dict[str, Level]:
    return {finding.code: finding.level for finding in findings if finding.level is not Level.OK}


@pytest.mark.parametrize("program", PACKAGES)
async def test_what_is_documented_is_right(server, program):
    findings = await check(program, {}, f"127.0.0.1:{server.port}")
    assert [(finding.level, finding.code) for finding in findings] == [(Level.OK, "proxy")]
    uploads = [path for path in server.upload_dir.glob("??/*") if path.suffix != ".meta"]
    assert not uploads, "something was left behind"


E, W = Level.ERROR, Level.WARNING
WRONG = {
    # (a) body limits
    "nginx, its own limit of 1 MiB": (
        "nginx", {"client_max_body_size 0;": ""},
        ("body_limit", E, "2 MiB", "nginx: client_max_body_size 0")),
    "nginx, a limit of 10 MiB": (
        "nginx", {"client_max_body_size 0;": "client_max_body_size 10m;"},
        ("body_limit", E, "16 MiB", "nginx: client_max_body_size 0")),
    "nginx, the limit of a CDN": (
        "nginx", {"client_max_body_size 0;": "client_max_body_size 100m;"},
        ("body_limit", W, "128 MiB", "chunkSize")),
    "haproxy, a limit": (
        "haproxy", add("http-request deny deny_status 413 if { req.hdr_val(content-length) "
                       "gt 1048576 }", "haproxy"),
        ("body_limit", E, "2 MiB", "http-request deny")),
    # (b) buffering
    "nginx, its own buffering": (
        "nginx", {"proxy_request_buffering off;": ""},
        ("buffering", E, "held back", "nginx: proxy_request_buffering off")),
    "nginx, its own version of HTTP": (
        "nginx", {"proxy_http_version 1.1;": ""},
        ("buffering_chunked", E, "in chunks", "nginx: proxy_http_version 1.1")),
    "haproxy, the first bytes": (
        "haproxy", add("option http-buffer-request", "haproxy"),
        ("held_back", W, "4 KiB", "http-buffer-request")),
    "haproxy, whole bodies": (
        "haproxy", add("option http-buffer-request", "haproxy")
        | {IN_GLOBAL: f"{IN_GLOBAL}\n    tune.bufsize 4194304"},
        ("buffering", E, "held back", "option http-buffer-request")),
    # (c) lost headers
    "nginx, Tus-Resumable": (
        "nginx", add('proxy_set_header Tus-Resumable "";', "nginx"),
        ("lost_request_headers", E, "Tus-Resumable", "proxy_set_header")),
    "nginx, Upload-Offset": (
        "nginx", add('proxy_set_header Upload-Offset "";', "nginx"),
        ("lost_request_headers", E, "Upload-Offset", "proxy_set_header")),
    "nginx, X-HTTP-Method-Override": (
        "nginx", add('proxy_set_header X-HTTP-Method-Override "";', "nginx"),
        ("lost_request_headers", E, "X-HTTP-Method-Override", "proxy_set_header")),
    "nginx, Upload-Checksum": (
        "nginx", add('proxy_set_header Upload-Checksum "";', "nginx"),
        ("lost_request_headers", E, "Upload-Checksum", "proxy_set_header")),
    "nginx, Location": (
        "nginx", add("proxy_hide_header Location;", "nginx"),
        ("lost_response_headers", E, "Location", "proxy_hide_header")),
    "nginx, Upload-Offset on the way back": (
        "nginx", add("proxy_hide_header Upload-Offset;", "nginx"),
        ("lost_response_headers", E, "Upload-Offset", "proxy_hide_header")),
    "nginx, Tus-Resumable on the way back": (
        "nginx", add("proxy_hide_header Tus-Resumable;", "nginx"),
        ("lost_response_headers", E, "Tus-Resumable", "proxy_hide_header")),
    "haproxy, all of an upload": (
        "haproxy", add("http-request del-header Upload- -m beg", "haproxy"),
        ("lost_request_headers", E, "Upload-Length", "http-request del-header")),
    "haproxy, all of tus on the way back": (
        "haproxy", add("http-response del-header Tus- -m beg", "haproxy"),
        ("lost_response_headers", E, "Tus-Resumable, Tus-Version", "http-response del-header")),
    # (d) scheme, host, path
    "nginx, no word of the scheme": (
        "nginx", {"proxy_set_header X-Forwarded-Proto $scheme;": ""},
        ("own_origin", E, "https://127.0.0.1", "X-Forwarded-Proto $scheme")),
    "nginx, its own Host": (
        "nginx", {"proxy_set_header Host $http_host;": "",
                  "proxy_set_header X-Forwarded-Host $http_host;": ""},
        ("own_origin", E, "https://127.0.0.1", "Host $http_host")),
    "haproxy, no word of the scheme": (
        "haproxy", {"http-request set-header X-Forwarded-Proto https if { ssl_fc }": ""},
        ("own_origin", E, "https://127.0.0.1", "X-Forwarded-Proto https")),
    "nginx, a redirect": (
        "nginx", {"location ~": "location = /files/ { return 301 https://$http_host/up/; }\n"
                                "    location ~"},
        ("redirect", E, "/up/", "redirect")),
    # (e) methods
    "nginx, only the usual methods": (
        "nginx", add("limit_except GET POST OPTIONS { deny all; }", "nginx"),
        ("methods", E, "PATCH: nginx", "limit_except")),
    "nginx, OPTIONS answered by itself": (
        "nginx", add("if ($request_method = OPTIONS) { return 204; }", "nginx"),
        ("methods", E, "OPTIONS: nginx", "$request_method")),
    "haproxy, no DELETE": (
        "haproxy", add("http-request deny if { method DELETE }", "haproxy"),
        ("methods", E, "DELETE: ", "http-request deny")),
    "haproxy, no HEAD": (
        "haproxy", add("http-request deny if { method HEAD }", "haproxy"),
        ("methods", E, "HEAD: ", "http-request deny")),
}  # fmt: skip


@pytest.mark.parametrize(("program", "edits", "expected"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_found_and_the_setting_named(server, program, edits, expected):
    code, level, text, remedy = expected
    findings = await check(program, edits, f"127.0.0.1:{server.port}")
    assert codes(findings) == {code: level}, findings
    [finding] = [finding for finding in findings if finding.code == code]
    assert text in finding.text
    assert remedy in finding.remedy


HELPFUL = {
    "nginx": ("add_header Access-Control-Allow-Origin * always;", "add_header"),
    "haproxy": ('http-response add-header Access-Control-Allow-Origin "*"', "http-response"),
}


@pytest.mark.parametrize("program", HELPFUL)
async def test_cors_that_a_proxy_adds_to_that_of_the_server_is_found(program):
    line, remedy = HELPFUL[program]
    with TusServer() as server:
        findings = await check(program, add(line, program), f"127.0.0.1:{server.port}")
    assert codes(findings) == {"cors_doubled": E}
    assert remedy in findings[0].remedy


async def test_a_public_url_with_another_scheme_and_port_is_found():
    with TusServer("--public-url", "http://127.0.0.1:81") as server:
        findings = await check("nginx", {}, f"127.0.0.1:{server.port}")
    assert codes(findings) == {"location": E}
    [finding] = findings
    assert "the scheme http instead of https and the port 81" in finding.text
    assert "--public-url" in finding.remedy


async def test_a_path_that_the_proxy_changes_is_found(server):
    edits = {"location ~ ^/files(/|$) {": "location /up/ {", "http://tusserver;":
             "http://tusserver/files/;"}  # fmt: skip
    findings = await check("nginx", edits, f"127.0.0.1:{server.port}", "/up/")
    assert codes(findings) == {"location_path": E}
    assert "proxy_pass" in findings[0].remedy


async def test_a_slash_that_nginx_adds_is_found(server):
    edits = {"location ~ ^/files(/|$) {": "location /files/ {"}
    findings = await check("nginx", edits, f"127.0.0.1:{server.port}", "/files")
    assert codes(findings) == {"redirect": E}
    assert "location ~ ^/files(/|$)" in findings[0].remedy


async def test_a_wrong_path_is_told_from_a_wrong_proxy(server):
    findings = await check("haproxy", {}, f"127.0.0.1:{server.port}", "/elsewhere/")
    assert codes(findings) == {"not_there": E}


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_server_that_is_not_there_is_found(program):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        findings = await check(program, {}, f"127.0.0.1:{nobody.getsockname()[1]}")
    assert codes(findings) == {"not_passed_on": E}


async def test_a_certificate_of_ones_own_is_found(server):
    need_proxy("nginx")
    with RunningProxy(
        "nginx", documented("nginx"), server=f"127.0.0.1:{server.port}", tls=True
    ) as proxy:
        findings = await check_url(proxy.url)
    assert codes(findings) == {"certificate": E}
    assert "--insecure" in findings[0].remedy


async def test_a_proxy_that_hangs_ends_the_check_in_time():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        start = time.monotonic()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/files/"
        findings = await check_url(url, patience=0.5)
        assert time.monotonic() - start < 3
    assert codes(findings) == {"silent": E}


async def test_a_server_that_hangs_later_ends_the_check_in_time(make_server):
    server = make_server()
    server.suspend()
    try:
        start = time.monotonic()
        findings = await check_url(server.url, patience=0.5)
        assert time.monotonic() - start < 3
    finally:
        server.resume()
    assert codes(findings) == {"silent": E}
    assert eventually(lambda: server.is_running)


async def test_a_port_where_nobody_listens_is_found():
    findings = await check_url("http://127.0.0.1:9/files/")
    assert codes(findings) == {"unreachable": E}


async def test_a_server_that_takes_only_some_kinds_of_files_is_told(make_server):
    assert codes(await check_url(make_server("--allowed-types", "image/*").url)) == {"typed": W}


async def test_two_open_uploads_are_enough(make_server):
    server = make_server("--max-open", "2")
    assert codes(await check_url(server.url)) == {}


async def test_a_guarded_server_asks_for_a_credential(make_server):
    secret = "0123456789abcdef" * 4
    server = make_server(environment={"TUSSERVER_JWT_SECRET": secret})
    assert codes(await check_url(server.url)) == {"guarded": E}
    import jwt  # noqa: PLC0415 - only this test signs

    token = jwt.encode({"sub": "me", "exp": int(time.time()) + 60}, secret, "HS256")
    found = await check_url(server.url, headers={"Authorization": f"Bearer {token}"})
    assert codes(found) == {}
