"""Somebody who looks at the upload page: what they see and press."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from playwright.sync_api import expect

from tests.support.content import MIB, assert_arrived
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.support.browser import Chromium
    from tests.support.server import TusServer

SLOW = 3 * MIB
"""Bytes a second of a line on which uploads last long enough to do something with them."""

_WATCH = """
window.violations = []
addEventListener('securitypolicyviolation', (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`))
"""
_DROP = """
(sizes) => {
  const transfer = new DataTransfer()
  for (const [name, size] of sizes) transfer.items.add(new File([new Uint8Array(size)], name))
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    const target = document.querySelector('#drop')
    target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true}))
  }
}
"""


class Visit:
    """The page of a server in a browser, watched for violations of its policy."""

    def __init__(self, browser: Chromium, url: str, *, slow: bool = False) -> None:
        """Look at the page at `url`, perhaps over a slow line."""
        self.browser = browser
        self.url = url
        self.page: Page = browser.context.new_page()
        self.page.bring_to_front()
        browser.errors.clear()
        self.page.add_init_script(_WATCH)
        # It asks before it is left while uploads run.
        self.page.on("dialog", lambda dialog: dialog.accept())
        if slow:
            self.limit(SLOW)
        self.page.goto(url)

    def limit(self, speed: int) -> None:
        """Let no more than so many bytes a second out; -1: as many as come."""
        session = self.browser.context.new_cdp_session(self.page)
        conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", conditions | {"uploadThroughput": speed})

    def choose(self, *files: Path) -> None:
        """Choose files."""
        self.page.set_input_files("#files", [str(file) for file in files])

    def drop(self, sizes: Sequence[tuple[str, int]]) -> None:
        """Drop files of zeros, by name and size."""
        self.page.evaluate(_DROP, sizes)

    def card(self, name: str) -> Locator:
        """Find the upload of a file."""
        heading = self.page.get_by_role("heading", name=name, exact=True)
        return self.page.locator("#uploads .card").filter(has=heading)

    def left_over(self, name: str) -> Locator:
        """Find what an earlier life of the page left of an upload."""
        return self.page.locator("#unfinished .card").filter(has_text=name)

    def press(self, what: str, name: str) -> None:
        """Press a button of an upload."""
        self.page.get_by_role("button", name=f"{what}: {name}").click()

    def expect(self, name: str, text: str, *, seconds: float = 12.0) -> None:
        """Wait until an upload's line says something."""
        status = self.card(name).locator(".status")
        expect(status).to_contain_text(re.compile(text), timeout=seconds * 1000)

    def wait_for_bytes(self, name: str, percent: int = 15) -> None:
        """Wait until so much has gone."""
        bar = self.card(name).locator("progress")
        assert eventually(lambda: float(bar.evaluate("bar => bar.value")) >= percent * 10, within=9)

    def link(self, name: str) -> str:
        """Give where a finished file is."""
        link = self.page.get_by_role("link", name=f"Open: {name}")
        return urljoin(self.url, link.get_attribute("href"))

    def assert_arrived(self, name: str, size: int) -> None:
        """Compare what is behind the link, byte by byte, with what was sent."""
        self.expect(name, "^Finished$")
        assert_arrived(self.link(name), size)

    def assert_clean(self) -> None:
        """Prove that the page broke none of its rules, and that nothing was thrown."""
        assert self.page.evaluate("window.violations") == []
        # What a browser notes of answers and lost connections is no fault of the page.
        faults = [one for one in self.browser.errors if "Failed to load resource" not in one]
        assert faults == []


def creations(server: TusServer) -> int:
    """Count the uploads that a server has made, by its log."""
    return len(re.findall(r"POST \S+ 201", server.whole_log()))


def page_of(server: TusServer) -> str:
    """Give where a server's page is."""
    return server.url.removesuffix("files/")
