"""What a browser lets pages of other origins send to the server, read and do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error

from tests.browser.site import Tab
from tests.support.faults import UNKNOWN
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.server import TusServer
from tests.support.watching import watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.site import Site
    from tests.support.browser import Chromium

ASK = """async ([method, url, headers, body]) => {
    const credentials = 'include'
    const answer = await fetch(url, { method, headers, body: body ?? undefined, credentials })
    return { status: answer.status, names: [...answer.headers.keys()], body: await answer.text() }
}"""
TUS = {"Tus-Resumable": "1.0.0"}
BODY = {"Content-Type": OFFSET_STREAM}
SENT_BY_CLIENTS = (
    *("Authorization", "Content-Type", "X-Requested-With", "X-Request-ID"),
    *("X-HTTP-Method-Override", "Tus-Resumable", "Upload-Length", "Upload-Offset"),
    *("Upload-Metadata", "Upload-Defer-Length", "Upload-Concat", "Upload-Checksum"),
    # tus-js-client, for the drafts of the IETF.
    *("Upload-Draft-Interop-Version", "Upload-Complete"),
)
WITHOUT_MEANING_FOR_PAGES = {
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "connection",
    "content-security-policy",
    "date",
    "server",
    "vary",
    "x-content-type-options",
    "x-request-id",
}
"""What the browser itself uses, or what tells of the connection alone."""


@pytest.fixture(scope="module")
def module_server(site: Site) -> Iterator[TusServer]:
    """A server that one origin may use, with cookies and the like."""
    flags = ("--cors-origins", site.url.rstrip("/"), "--cors-credentials")
    with TusServer(*flags, "--expire-after", "1h", "--max-size", "1000") as server:
        yield server
        server.check_log()


@pytest.fixture
def server(request: pytest.FixtureRequest, module_server: TusServer) -> TusServer:
    return watch(request, module_server)


@pytest.fixture
def tus(server: TusServer) -> Tus:
    return Tus(server.url)


def ask(tab: Tab, tus: Tus, *request: Any) -> dict[str, Any]:
    """Have a page send a request: method, path, headers and perhaps a body.

    Give the status, the names of the headers that the page sees, and the body.
    """
    method, path, headers, *body = request
    url = f"http://{tus.authority}{path}"
    return tab.page.evaluate(ASK, [method, url, headers, *body])


@pytest.mark.clause("CORS-03", "CORS-04")
def test_a_page_sees_every_header_that_other_clients_see(tus: Tus, tus_tab: Tab) -> None:
    known = tus.create(10, {"Upload-Metadata": "filename eA==", "Upload-Concat": "partial"})
    deferred = tus.create(None)
    unknown = tus.path + UNKNOWN
    requests = {
        "what the server can": ("OPTIONS", tus.path, {}, None),
        "a creation": ("POST", tus.path, TUS | {"Upload-Length": "10"}, None),
        "an append": ("PATCH", deferred, TUS | BODY | {"Upload-Offset": "0"}, ""),
        "a look": ("HEAD", known, TUS, None),
        "a look at a deferred length": ("HEAD", deferred, TUS, None),
        "a wrong offset": ("PATCH", known, TUS | BODY | {"Upload-Offset": "7"}, "x"),
        "an unknown upload": ("HEAD", unknown, TUS, None),
        "another version": ("HEAD", known, {"Tus-Resumable": "0.2.2"}, None),
        "too long an upload": ("POST", tus.path, TUS | {"Upload-Length": "1001"}, None),
        "another type": ("PATCH", known, TUS | {"Upload-Offset": "0"}, "x"),
        "a download": ("GET", tus.upload(b"hello"), {}, None),
    }
    for name, (method, target, headers, body) in requests.items():
        seen = ask(tus_tab, tus, method, target, headers, body)
        origin = {"Origin": tus_tab.page.evaluate("location.origin")}
        sent = tus.request(method, target, {"Tus-Resumable": None} | headers | origin, b"")
        assert seen["status"] == sent.status, name
        there = {field.lower() for field, _ in sent.fields} - WITHOUT_MEANING_FOR_PAGES
        assert there <= set(seen["names"]), name


@pytest.mark.clause("CORS-02")
def test_a_page_may_send_every_header_that_clients_send(tus: Tus, tus_tab: Tab) -> None:
    for name in SENT_BY_CLIENTS:
        assert ask(tus_tab, tus, "OPTIONS", tus.path, {name: "1.0.0"})["status"] == 204
    assert tus_tab.browser.errors == []
    with pytest.raises(Error, match="Failed to fetch"):
        ask(tus_tab, tus, "OPTIONS", tus.path, {"X-Of-Nobody": "1"})


@pytest.mark.clause("CORS-06")
def test_a_page_of_an_origin_that_was_not_allowed_does_and_reads_nothing(
    tus: Tus, server: TusServer, module_browser: Chromium, tus_page: str
) -> None:
    # The same page by another name of this machine: another origin.
    tab = Tab(module_browser, tus_page.replace("127.0.0.1", "localhost"), headers={})
    target = tus.create(5)
    for method, path, headers, body in [
        ("POST", tus.path, TUS | {"Upload-Length": "5"}, None),
        ("POST", tus.path, {}, "no preflight is needed for this"),
        ("GET", tus.upload(b"hello"), {}, None),
        ("PATCH", target, TUS | BODY | {"Upload-Offset": "0"}, "hello"),
        ("DELETE", target, TUS, None),
    ]:
        stored = sorted(server.upload_dir.glob("??/*"))
        with pytest.raises(Error, match="Failed to fetch"):
            ask(tab, tus, method, path, headers, body)
        assert sorted(server.upload_dir.glob("??/*")) == stored
    assert tus.offset(target) == 0
