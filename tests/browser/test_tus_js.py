"""tus-js-client in a browser, on a page of another origin, with a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.auth.credentials import token
from tests.browser.site import Tab, wait_for_silence
from tests.support.content import KIB, MIB, make_file
from tests.support.proxy import Proxy, seeded_cuts
from tests.support.raw import Tus
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.browser import Chromium
    from tests.support.server import TusServer

SMALL = 3 * MIB + 7
SIZE = 24 * MIB + 7
RATE = 16 * MIB
A_THIRD = 8 * MIB
"""So early that a good deal is left when what a system buffers (4 MiB a socket) is through."""
SLACK = 2 * MIB
"""What lies in buffers on the way, with the heads of some requests."""
AMOUNTS = {"whole": {}, "in parts": {"parallelUploads": 2}}
amounts = pytest.mark.parametrize("own", AMOUNTS.values(), ids=AMOUNTS)

WAYS = {
    "whole": ([], {}),
    "in chunks": ([], {"chunkSize": MIB}),
    "with data in the creation": ([], {"uploadDataDuringCreation": True}),
    "by POST alone": ([], {"overridePatchMethod": True}),
    "with ids of requests": ([], {"addRequestId": True}),
    "in parts at once": ([], {"parallelUploads": 3}),
    "of a length known at the end": (
        ["stream"],
        {"uploadLengthDeferred": True, "chunkSize": 512 * KIB},
    ),
}


@pytest.mark.parametrize(("ways", "own"), WAYS.values(), ids=WAYS)
def test_a_page_uploads(guarded: TusServer, tus_tab: Tab, tmp_path: Path, ways, own) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SMALL))
    tus_tab.begin(guarded.url, *ways, **own)
    tus_tab.wait_for("success")
    tus_tab.assert_arrived(tus_tab.url, SMALL)
    assert tus_tab.browser.errors == []


@pytest.mark.clause("CORS-01")
def test_a_browser_asks_once_for_all_chunks(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path
) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SMALL))
    tus_tab.begin(guarded.url, chunkSize=256 * KIB)
    tus_tab.wait_for("success")
    assert len(tus_tab.statuses("PATCH")) == 13
    path = urlsplit(tus_tab.url).path
    assert guarded.log.count(f" OPTIONS {path} 204 ") == 1


# --- pausing and resuming


@amounts
def test_a_paused_upload_goes_on_where_it_was(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path, own
) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SIZE))
    with Proxy(guarded.port, rate=RATE) as proxy:
        tus_tab.begin(proxy.url, **own)
        proxy.wait_until_forwarded(A_THIRD)
        tus_tab.do("pause")
        wait_for_silence(proxy)
        assert proxy.forwarded < SIZE
        assert not tus_tab.told("success")

        tus_tab.do("proceed")
        tus_tab.wait_for("success")
        assert proxy.forwarded - SIZE <= SLACK
        tus_tab.assert_arrived(tus_tab.url, SIZE)
        assert tus_tab.browser.errors == []


@amounts
def test_a_page_loaded_again_finds_its_upload_by_the_fingerprint_of_the_file(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path, own
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    with Proxy(guarded.port, rate=RATE) as proxy:
        tus_tab.choose(file)
        tus_tab.begin(proxy.url, **own)
        proxy.wait_until_forwarded(A_THIRD)
        tus_tab.load()
        wait_for_silence(proxy)
        assert proxy.forwarded < SIZE

        _resume(tus_tab, proxy, file, **own)
        assert proxy.forwarded - SIZE <= SLACK
        assert tus_tab.browser.errors == []


def test_a_page_may_resume_while_its_old_requests_are_still_under_way(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path
) -> None:
    own = AMOUNTS["in parts"]
    file = make_file(tmp_path / "file", SIZE)
    with Proxy(guarded.port, rate=RATE) as proxy:
        tus_tab.choose(file)
        tus_tab.begin(proxy.url, **own)
        proxy.wait_until_forwarded(A_THIRD)
        tus_tab.load()
        _resume(tus_tab, proxy, file, **own)


@pytest.mark.timeout(60)
def test_a_browser_that_was_killed_finds_its_upload_when_started_again(
    guarded: TusServer, browser: Chromium, tus_page: str, tmp_path: Path, alice: dict[str, str]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    tab = Tab(browser, tus_page, headers=alice)
    with Proxy(guarded.port, rate=MIB) as proxy:
        tab.choose(file)
        tab.begin(proxy.url)
        # Chromium takes its time to write down what a page stored.
        assert eventually(lambda: _is_stored(browser.profile), within=15)
        browser.kill()
        at_death = proxy.forwarded
        assert MIB < at_death < SIZE // 2

        proxy.rate = None
        browser.start()
        tab.load()
        _resume(tab, proxy, file)
        assert proxy.forwarded - SIZE <= SLACK


def _resume(tab: Tab, proxy: Proxy, file: Path, **own: Any) -> None:
    tab.choose(file)
    tab.begin(proxy.url, "resume", **own)
    tab.wait_for("success")
    found = tab.told("previous")[0]["urls"]
    assert found
    # All that is made is the whole of the parts, at the end.
    assert tab.statuses("POST") == ([201] if own else [])
    assert own or tab.url == found[0]
    tab.assert_arrived(tab.url, SIZE)


def _is_stored(profile: Path) -> bool:
    logs = (profile / "Default" / "Local Storage" / "leveldb").glob("*.log")
    return any(b"tus::" in log.read_bytes() for log in logs)


# --- trouble


def test_a_server_that_is_killed_and_starts_again_is_sent_little_again(
    mortal: TusServer, tus_tab: Tab, tmp_path: Path
) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SIZE))
    with Proxy(mortal.port, rate=RATE) as proxy:
        tus_tab.begin(proxy.url, retryDelays=[50] * 300)
        proxy.wait_until_forwarded(A_THIRD)
        mortal.kill()
        mortal.start()
        tus_tab.wait_for("success")
        assert tus_tab.statuses("POST") == [201]
        # No more than what came in the second before the death.
        assert proxy.forwarded - SIZE <= SLACK + RATE
        tus_tab.assert_arrived(tus_tab.url, SIZE)


@amounts
def test_no_byte_is_wrong_through_a_network_that_cuts(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path, own
) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SIZE))
    cuts = seeded_cuts(1, count=8, mean=MIB)
    with Proxy(guarded.port, cuts=cuts, rate=2 * RATE) as proxy:
        tus_tab.begin(proxy.url, **own)
        tus_tab.wait_for("success")
        assert proxy.cuts_made == len(cuts)
        tus_tab.assert_arrived(tus_tab.url, SIZE)


# --- the rest


def test_a_terminated_upload_is_gone_and_forgotten(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path, alice: dict[str, str]
) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SIZE))
    with Proxy(guarded.port, rate=RATE) as proxy:
        tus_tab.begin(proxy.url)
        proxy.wait_until_forwarded(A_THIRD)
        url = tus_tab.url
        assert url in tus_tab.page.evaluate("JSON.stringify(localStorage)")
        tus_tab.do("terminate")
        assert tus_tab.statuses("DELETE") == [204]
    assert Tus(guarded.url).head(urlsplit(url).path, alice).status == 404
    stored = tus_tab.page.evaluate("JSON.stringify(localStorage)")
    assert url not in stored
    assert tus_tab.browser.errors == []


def test_a_page_reads_why_its_token_is_refused_and_goes_on_with_a_better_one(
    guarded: TusServer, tus_tab: Tab, tmp_path: Path
) -> None:
    tus_tab.choose(make_file(tmp_path / "file", SMALL))
    old = {"Authorization": f"Bearer {token(sub='alice', exp=1)}"}
    tus_tab.begin(guarded.url, headers=old)
    error = tus_tab.wait_for("error")
    assert error["status"] == 401
    assert "expired" in error["body"]
    # It is not tried again and again.
    assert tus_tab.statuses("POST") == [401]

    tus_tab.load()
    tus_tab.choose(tmp_path / "file")
    tus_tab.begin(guarded.url)
    tus_tab.wait_for("success")
    tus_tab.assert_arrived(tus_tab.url, SMALL)
