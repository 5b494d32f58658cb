"""The page behind proxies, with the lines that docs/page.md adds to the files of docs/deploy/."""

from __future__ import annotations

import http.client
import re
import ssl
from urllib.parse import urlsplit

import pytest

from tests.support.proxies import RunningProxy, documented, exchanged, need_proxy
from tests.support.server import ROOT

PLACES = {
    "nginx": '    # Not "location /files/"',
    "haproxy": "    http-request deny deny_status 404",
    "caddy": "\t@tus path",
}
"""Where the lines come: before a line for nginx, in the place of one for the others."""


def configuration(program: str) -> str:
    """Give the documented configuration with the lines for the page."""
    text = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    [lines] = re.findall(rf"^```{program}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    config = documented(program)
    [place] = [line for line in config.splitlines() if line.startswith(PLACES[program])]
    own = lines.rstrip("\n")
    return exchanged(config, {place: f"{own}\n{place}" if program == "nginx" else own})


def fetch(url: str, path: str) -> tuple[int, str]:
    """Ask a proxy, whose certificate nobody knows, for something."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=10, context=context
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("program", PLACES)
def test_the_documented_lines_let_the_page_through(built, make_server, program):
    need_proxy(program)
    server = make_server("--trusted-proxies=127.0.0.1")
    config = configuration(program)
    with RunningProxy(program, config, server=f"127.0.0.1:{server.port}", tls=True) as proxy:
        status, page = fetch(proxy.url, "/")
        assert status == 200
        assert "<h1>Upload files</h1>" in page
        for path in re.findall(r'(?:src|href|worker)="(page/[^"]+)"', page):
            assert fetch(proxy.url, f"/{path}")[0] == 200
        # What lies beside is not let through.
        assert fetch(proxy.url, "/healthz")[1] != "ok\n"
