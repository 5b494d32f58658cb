"""Uppy's Dashboard in a browser, on a page of another origin, with a token, used by its buttons."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser.site import wait_for_silence
from tests.support.content import MIB, make_file
from tests.support.proxy import Proxy, seeded_cuts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.site import Tab
    from tests.support.server import TusServer

SIZES = {f"{number}.bin": 7 * MIB + number for number in range(3)}
TOTAL = sum(SIZES.values())
RATE = 12 * MIB
A_QUARTER = TOTAL // 4
SLACK = 2 * MIB
UPLOAD = "Upload 3 files"


def choose(tab: Tab, folder: Path) -> None:
    tab.choose(*(make_file(folder / name, size) for name, size in SIZES.items()))


def press(tab: Tab, name: str) -> None:
    # The bar below has a button for all files, after those of each.
    tab.page.get_by_role("button", name=name, exact=True).last.click()


def assert_all_arrived(tab: Tab) -> None:
    complete = tab.wait_for("complete")
    assert complete == {"event": "complete", "successful": 3, "failed": 0}
    urls = {event["name"]: event["url"] for event in tab.told("success")}
    assert len(set(urls.values())) == 3
    for name, size in SIZES.items():
        tab.assert_arrived(urls[name], size)


def test_several_files_are_uploaded_at_once(
    guarded: TusServer, uppy_tab: Tab, tmp_path: Path
) -> None:
    uppy_tab.begin(guarded.url)
    choose(uppy_tab, tmp_path)
    press(uppy_tab, UPLOAD)
    assert_all_arrived(uppy_tab)
    uppy_tab.page.get_by_title("Complete", exact=True).wait_for()
    assert uppy_tab.browser.errors == []


def test_paused_files_go_on_where_they_were(
    guarded: TusServer, uppy_tab: Tab, tmp_path: Path
) -> None:
    with Proxy(guarded.port, rate=RATE) as proxy:
        uppy_tab.begin(proxy.url)
        choose(uppy_tab, tmp_path)
        press(uppy_tab, UPLOAD)
        proxy.wait_until_forwarded(A_QUARTER)
        press(uppy_tab, "Pause")
        wait_for_silence(proxy)
        assert proxy.forwarded < TOTAL
        assert not uppy_tab.told("success")

        press(uppy_tab, "Resume")
        assert_all_arrived(uppy_tab)
        assert uppy_tab.statuses("POST") == [201] * 3
        assert proxy.forwarded - TOTAL <= SLACK
        assert uppy_tab.browser.errors == []


def test_files_go_on_after_the_page_was_loaded_again(
    guarded: TusServer, uppy_tab: Tab, tmp_path: Path
) -> None:
    with Proxy(guarded.port, rate=4 * MIB) as proxy:
        uppy_tab.begin(proxy.url, "remember")
        choose(uppy_tab, tmp_path)
        press(uppy_tab, UPLOAD)
        # Golden Retriever writes down what happens twice a second.
        proxy.wait_until_forwarded(4 * MIB)
        uppy_tab.load()
        proxy.rate = None
        wait_for_silence(proxy)
        assert proxy.forwarded < TOTAL

        uppy_tab.begin(proxy.url, "remember")
        uppy_tab.wait_for("restored")
        press(uppy_tab, UPLOAD)
        assert_all_arrived(uppy_tab)
        assert uppy_tab.statuses("POST") == []
        assert proxy.forwarded - TOTAL <= SLACK
        assert uppy_tab.browser.errors == []


def test_files_that_failed_are_uploaded_when_retry_is_pressed(
    mortal: TusServer, uppy_tab: Tab, tmp_path: Path
) -> None:
    with Proxy(mortal.port, rate=RATE) as proxy:
        uppy_tab.begin(proxy.url, retryDelays=[])
        choose(uppy_tab, tmp_path)
        press(uppy_tab, UPLOAD)
        proxy.wait_until_forwarded(A_QUARTER)
        mortal.kill()
        uppy_tab.page.get_by_text("Upload failed").first.wait_for()
        mortal.start()
        uppy_tab.do("forget")
        press(uppy_tab, "Retry upload")
        assert_all_arrived(uppy_tab)
        assert uppy_tab.statuses("POST") == []
        # No more than what came in the second before the death.
        assert proxy.forwarded - TOTAL <= SLACK + RATE


def test_files_go_on_by_themselves_when_the_network_is_back(
    mortal: TusServer, uppy_tab: Tab, tmp_path: Path
) -> None:
    with Proxy(mortal.port, rate=RATE) as proxy:
        uppy_tab.begin(proxy.url)
        choose(uppy_tab, tmp_path)
        press(uppy_tab, UPLOAD)
        proxy.wait_until_forwarded(A_QUARTER)
        uppy_tab.browser.go_offline()
        proxy.cut_all()
        wait_for_silence(proxy)
        assert not uppy_tab.told("error")

        uppy_tab.browser.go_online()
        assert_all_arrived(uppy_tab)
        assert uppy_tab.statuses("POST") == [201] * 3
    # Chromium itself repeats what was cut, which is refused: nothing was stored twice.
    assert sum(map(int, re.findall(" received=([0-9]+)", mortal.log))) == TOTAL


def test_no_byte_is_wrong_through_a_network_that_cuts(
    guarded: TusServer, uppy_tab: Tab, tmp_path: Path
) -> None:
    cuts = seeded_cuts(2, count=10, mean=MIB)
    with Proxy(guarded.port, cuts=cuts, rate=2 * RATE) as proxy:
        uppy_tab.begin(proxy.url)
        choose(uppy_tab, tmp_path)
        press(uppy_tab, UPLOAD)
        assert_all_arrived(uppy_tab)
        assert proxy.cuts_made == len(cuts)
