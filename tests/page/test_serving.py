"""How the upload page is served: with which headers, where, and when not."""

from __future__ import annotations

import http.client
import json
import re
from html import unescape
from urllib.parse import urlsplit

from tests.auth.credentials import SECRET
from tests.page.visit import page_of
from tests.support.raw import Tus


def get(url: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
    """Ask for something; give the answer and its body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request("GET", parts.path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def told(page: str) -> dict[str, object]:
    """Read the settings that the page is given."""
    [settings] = re.findall(r'data-settings="([^"]*)"', page)
    return json.loads(unescape(settings))


def test_the_page_may_run_and_load_nothing_but_its_own(built, make_server):
    server = make_server()
    answer, page = get(page_of(server))
    assert answer.status == 200
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "worker-src": "'self'",
        "connect-src": "'self'",
        "trusted-types": "tusserver",
        "require-trusted-types-for": "'script'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "This page needs JavaScript" in page
    assert "<style" not in page
    assert " style=" not in page
    assert not re.search(r"<script(?! type=\"module\" src=\")", page)
    assert "//" not in page.replace("<!--", "")
    again, body = get(page_of(server), **{"If-None-Match": answer.headers["ETag"]})
    assert (again.status, body) == (304, "")


def test_what_the_page_loads_may_be_kept_for_ever(built, make_server):
    root = page_of(make_server())
    paths = re.findall(r'(?:src|href|worker)="(page/[^"]+)"', get(root)[1])
    assert len(paths) == 5
    for path in paths:
        answer, _ = get(root + path)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert re.search("-[0-9a-f]{16}[.]", path)
    missing, text = get(f"{root}page/app-0000.js")
    assert missing.status == 404
    assert missing.headers["Cache-Control"] == "no-store"
    assert text == "not_found: Nothing is served at this path.\n"


def test_the_page_is_told_what_it_needs_and_no_secret(built, make_server):
    server = make_server(
        "--max-size=10MB",
        "--page-chunk-size=5MiB",
        "--page-parallel-from=none",
        "--allowed-types=image/*",
        "--disable=termination",
        "--public-url=https://up.example.org/files/",
        environment={"TUSSERVER_JWT_SECRET": SECRET, "TUSSERVER_URL_SECRET": SECRET},
    )
    answer, page = get(page_of(server))
    settings = told(page)
    assert settings["endpoint"] == "https://up.example.org/files/"
    assert (
        "connect-src 'self' https://up.example.org;" in (answer.headers["Content-Security-Policy"])
    )
    assert settings["maxSize"] == 10_000_000
    assert settings["chunkSize"] == 5 * 2**20
    assert settings["parallelFrom"] is None
    assert settings["types"] == ["image/*"]
    assert settings["wantsToken"] is True
    assert settings["takesLinks"] is True
    assert "termination" not in settings["extensions"]
    assert SECRET not in page


def test_one_setting_switches_the_page_off(make_server):
    server = make_server("--no-page")
    answer, text = get(page_of(server))
    assert answer.status == 404
    assert text == "not_found: Nothing is served at this path.\n"
    assert "upload page" not in server.log


def test_the_page_and_uploads_share_the_path_when_the_base_path_is_the_root(built, make_server):
    server = make_server("--base-path=/")
    answer, page = get(server.url)
    assert answer.status == 200
    assert told(page)["endpoint"] == "./"
    tus = Tus(server.url)
    url = tus.create(5)
    assert tus.patch(url, 0, b"hello").status == 204
    assert get(f"http://127.0.0.1:{server.port}{urlsplit(url).path}")[1] == "hello"


def test_the_page_is_served_by_workers(built, make_server):
    server = make_server("--workers=2")
    assert {get(page_of(server))[0].status for _ in range(6)} == {200}
    assert server.log.count(f"upload page at       {page_of(server)}\n") == 1
