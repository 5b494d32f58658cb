"""The upload page when something breaks: the browser, the server, the network, a proxy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.page.cutting import CuttingProxy
from tests.page.visit import Visit, creations, page_of
from tests.support.content import MIB
from tests.support.proxies import RunningProxy, need_proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.browser import Chromium

pytestmark = pytest.mark.timeout(40)

_LIMITED = """
server {
    listen {listen};
    client_max_body_size %s;
    location / {
        proxy_pass http://{server};
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_set_header Host $http_host;
    }
}
"""


def went_on(server) -> bool:
    """Tell whether a PATCH began where an earlier one had ended."""
    starts = [int(start) for start in re.findall(r"PATCH .* offset_before=([0-9]+)", server.log)]
    return any(starts)


def remembers(browser: Chromium) -> bool:
    """Tell whether three URLs are on its disk: it writes what pages store now and then."""
    logs = browser.profile.glob("Default/Local Storage/leveldb/*.log")
    urls = rb'"urls":\["http[^"]+","http[^"]+","http[^"]+"\]'
    return any(re.search(urls, log.read_bytes()) for log in logs)


def test_after_a_reload_the_same_file_goes_on_where_it_was(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    file = a_file("thesis.bin", 8 * MIB)
    seen.choose(file)
    seen.wait_for_bytes("thesis.bin", 30)
    seen.page.reload()
    left = seen.left_over("thesis.bin")
    expect(left.locator(".status")).to_contain_text("% is on the server")
    with seen.page.expect_file_chooser() as chooser:
        seen.press("Choose the file again", "thesis.bin")
    chooser.value.set_files(str(file))
    seen.assert_arrived("thesis.bin", 8 * MIB)
    expect(seen.page.locator("#unfinished")).to_be_hidden()
    assert creations(server) == 1
    assert went_on(server)
    seen.assert_clean()


def test_after_a_crash_of_the_browser_the_parts_of_a_file_go_on(
    built, browser, make_server, a_file
):
    server = make_server("--page-parallel-from=1MiB")
    seen = Visit(browser, page_of(server))
    seen.limit(MIB)
    file = a_file("backup.bin", 9 * MIB)
    seen.choose(file)
    seen.wait_for_bytes("backup.bin", 20)
    assert eventually(lambda: remembers(browser), within=6)
    browser.kill()
    browser.start()
    seen = Visit(browser, page_of(server))
    expect(seen.left_over("backup.bin")).to_be_visible()
    seen.choose(file)
    seen.assert_arrived("backup.bin", 9 * MIB)
    assert creations(server) == 3 + 1
    assert went_on(server)


def test_another_file_is_not_taken_for_the_unfinished_one(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    seen.choose(a_file("diary.bin", 8 * MIB))
    seen.wait_for_bytes("diary.bin")
    seen.page.reload()
    with seen.page.expect_file_chooser() as chooser:
        seen.press("Choose the file again", "diary.bin")
    chooser.value.set_files(str(a_file("diary.bin", 8 * MIB - 1)))
    expect(seen.page.locator("#refusal")).to_contain_text("This is not the file")
    expect(seen.page.locator("#uploads")).to_be_hidden()
    seen.press("Discard", "diary.bin")
    expect(seen.page.locator("#unfinished")).to_be_hidden()
    assert eventually(lambda: not [*server.upload_dir.glob("??/*")])


def test_a_server_that_is_killed_and_comes_back_gets_the_rest(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    seen.choose(a_file("album.bin", 10 * MIB))
    seen.wait_for_bytes("album.bin", 50)
    server.kill()
    seen.expect("album.bin", "There is no connection to the server. It tries again")
    server.start()
    seen.assert_arrived("album.bin", 10 * MIB)
    assert creations(server) == 1
    assert went_on(server)
    seen.assert_clean()


def test_without_a_network_it_waits_and_goes_on_by_itself(server, visit, a_file):
    seen = visit(server)
    seen.browser.go_offline()
    try:
        seen.choose(a_file("train.bin", MIB))
        seen.expect("train.bin", "This device is offline. It tries again")
        expect(seen.page.get_by_role("status")).to_contain_text("It tries again by itself")
    finally:
        seen.browser.go_online()
    seen.assert_arrived("train.bin", MIB)


def test_a_proxy_that_refuses_large_bodies_gets_small_ones(make_server, visit, a_file):
    need_proxy("nginx")
    server = make_server()
    with RunningProxy(
        "nginx", _LIMITED % "1m", server=f"127.0.0.1:{server.port}", tls=False
    ) as proxy:
        seen = visit(server, proxy.url.removesuffix("files/"))
        seen.choose(a_file("big.bin", 9 * MIB))
        seen.assert_arrived("big.bin", 9 * MIB)
        assert creations(server) == 1
        sizes = {int(size) for size in re.findall("PATCH .* received=([0-9]+)", server.whole_log())}
        assert max(sizes) == MIB
        seen.choose(a_file("next.bin", 9 * MIB))
        seen.assert_arrived("next.bin", 9 * MIB)
        # What was learned once is not learned again.
        refusals = [one for one in seen.browser.errors if "413" in one]
        assert 1 <= len(refusals) <= 3
        seen.assert_clean()


def test_a_proxy_that_hangs_up_on_large_bodies_gets_small_ones(make_server, visit, a_file):
    server = make_server()
    with CuttingProxy(server.port, most=5 * MIB) as proxy:
        seen = visit(server, proxy.url)
        seen.choose(a_file("cut.bin", 9 * MIB))
        seen.assert_arrived("cut.bin", 9 * MIB)
    # The page asks where it is after each of two failures; the browser sends by itself again, too.
    assert server.whole_log().count("HEAD /files/") == 2
    assert creations(server) == 1
    sizes = [int(size) for size in re.findall("PATCH .* received=([0-9]+)", server.whole_log())]
    assert sizes == [4 * MIB, 4 * MIB, MIB]


def test_a_proxy_that_refuses_everything_is_named(make_server, visit, a_file):
    need_proxy("nginx")
    server = make_server()
    with RunningProxy(
        "nginx", _LIMITED % "1k", server=f"127.0.0.1:{server.port}", tls=False
    ) as proxy:
        seen = visit(server, proxy.url.removesuffix("files/"))
        seen.choose(a_file("big.bin", MIB))
        seen.expect("big.bin", "^A proxy between here and the server refuses even small pieces")
        expect(seen.page.get_by_role("alert")).to_contain_text("big.bin: A proxy between")
        expect(seen.page.get_by_role("button", name="Try again: big.bin")).to_be_visible()


def test_an_upload_that_the_server_has_lost_begins_anew_and_says_so(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    seen.choose(a_file("lost.bin", 5 * MIB))
    seen.wait_for_bytes("lost.bin")
    seen.press("Pause", "lost.bin")
    [data] = [path for path in server.upload_dir.glob("??/*") if not path.suffix]
    seen.page.evaluate(
        "url => fetch(url, {method: 'DELETE', headers: {'Tus-Resumable': '1.0.0'}})",
        f"{server.url}{data.name}",
    )
    seen.press("Resume", "lost.bin")
    seen.assert_arrived("lost.bin", 5 * MIB)
    expect(seen.card("lost.bin")).to_contain_text("it began anew")


def test_two_tabs_do_not_send_the_same_file(make_server, visit, a_file):
    server = make_server()
    one = visit(server, slow=True)
    file = a_file("shared.bin", 6 * MIB)
    one.choose(file)
    one.wait_for_bytes("shared.bin")
    other = visit(server)
    expect(other.page.locator("#unfinished")).to_be_hidden()
    other.choose(file)
    other.expect("shared.bin", "^This file is being uploaded in another tab")
    one.assert_arrived("shared.bin", 6 * MIB)
    assert creations(server) == 1
