"""The upload page where not everybody may upload everything."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.auth.credentials import SECRET, token
from tests.support.content import MIB, assert_arrived
from tests.support.proxies import RunningProxy, need_proxy
from tests.support.server import TusServer
from tusserver import sign_upload_url

pytestmark = pytest.mark.timeout(40)

_STORED = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])"


def test_a_token_is_asked_for_used_and_kept_nowhere(make_server, visit, a_file):
    server = make_server(environment={"TUSSERVER_JWT_SECRET": SECRET})
    seen = visit(server, slow=True)
    seen.choose(a_file("secret.bin", 2 * MIB))
    seen.expect("secret.bin", "enter your token above")
    field = seen.page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("nonsense")
    field.press("Enter")
    seen.expect("secret.bin", "^(?!.*enter your token above).*(credential|token)")
    mine = token()
    field.fill(mine)
    field.press("Enter")
    seen.wait_for_bytes("secret.bin", 30)
    assert mine not in seen.page.evaluate(_STORED)
    seen.expect("secret.bin", "^Finished$")
    # A link would not carry the token.
    expect(seen.page.get_by_role("link", name="Open: secret.bin")).to_be_hidden()
    expect(seen.card("secret.bin").get_by_role("button", name="Copy link")).to_be_visible()
    [finished] = json.loads(seen.page.evaluate(_STORED))[1].values()
    url = json.loads(finished)[0]["url"]
    assert_arrived(url, 2 * MIB, headers={"Authorization": f"Bearer {mine}"})
    assert mine not in seen.page.evaluate(_STORED)
    seen.assert_clean()


def test_a_link_to_the_page_gives_the_right_to_one_upload(make_server, visit, a_file):
    server = make_server(environment={"TUSSERVER_URL_SECRET": SECRET})
    signed = sign_upload_url(SECRET, server.url, owner="alice", expires_in=600)
    grant = signed.partition("grant=")[2]
    seen = visit(server, f"{server.url.removesuffix('files/')}#grant={grant}")
    assert grant not in seen.page.evaluate(_STORED)
    expect(seen.page.get_by_text("Uploads go to whoever gave you the link.")).to_be_visible()
    seen.choose(a_file("gift.bin", MIB))
    seen.assert_arrived("gift.bin", MIB)
    assert grant not in seen.page.evaluate(_STORED)
    assert f"?grant={grant}" in seen.link("gift.bin")
    seen.choose(a_file("more.bin", MIB))
    seen.expect("more.bin", "not allowed")
    seen.assert_clean()


def test_what_the_server_will_not_take_is_said_in_plain_words(make_server, visit, a_file):
    server = make_server("--max-size=1MiB", "--allowed-extensions=png,bin", "--no-download")
    seen = visit(server)
    expect(seen.page.locator("#limits")).to_contain_text("Files up to 1 MiB. Names ending in .png")
    seen.choose(a_file("huge.bin", MIB + 1), a_file("tool.exe", 10), a_file("fine.bin", 10))
    seen.expect("huge.bin", "^The file is too large: this server takes files up to 1 MiB.$")
    seen.expect("tool.exe", "^Files of this kind are not accepted here.$")
    seen.expect("fine.bin", "^Finished$")
    expect(seen.page.get_by_role("button", name="Try again")).to_have_count(0)
    expect(seen.page.get_by_role("link", name="Open: fine.bin")).to_be_hidden()
    seen.press("Remove", "huge.bin")
    expect(seen.card("huge.bin")).to_have_count(0)
    seen.assert_clean()


def test_a_page_that_the_server_does_not_know_as_its_own_is_told_why(make_server, visit, a_file):
    need_proxy("nginx")
    server = make_server("--cors-origins=https://example.org")
    config = "server { listen {listen}; location / { proxy_pass http://{server}; } }"
    with RunningProxy("nginx", config, server=f"127.0.0.1:{server.port}", tls=False) as proxy:
        seen = visit(server, proxy.url.removesuffix("files/"))
        seen.choose(a_file("file.bin", 10))
        seen.expect("file.bin", "does not know this page as its own")
    seen = visit(server)
    seen.choose(a_file("own.bin", 10))
    seen.assert_arrived("own.bin", 10)


def test_behind_a_proxy_that_adds_a_prefix_the_page_works(make_server, visit, a_file):
    need_proxy("nginx")
    server = make_server()
    config = """
    server {
        listen {listen};
        location /up/ {
            proxy_pass http://{server}/;
            proxy_request_buffering off;
            proxy_http_version 1.1;
            client_max_body_size 0;
        }
    }
    """
    with RunningProxy("nginx", config, server=f"127.0.0.1:{server.port}", tls=False) as proxy:
        root = proxy.url.removesuffix("files/")
        # Its port is known only now.
        server.terminate()
        with TusServer(f"--port={server.port}", f"--public-url={root}up/files/"):
            seen = visit(server, f"{root}up/")
            seen.choose(a_file("far.bin", MIB))
            seen.assert_arrived("far.bin", MIB)
            assert seen.link("far.bin").startswith(f"{root}up/files/")
            seen.assert_clean()
