"""Chromium, headless, with a profile that outlives it, driven by Playwright.

A room that uses it imports the fixtures into its conftest, `driver` among them: `browser` is one
Chromium with an empty profile, `module_browser` one for all tests of a module, `make_browser`
starts more, or one with options (`make_browser(viewport=..., color_scheme="dark",
has_touch=True)`, those of Playwright's `launch_persistent_context`). `browser.page` is the
Playwright page. In a module that uses it no test is `async`: the loop of Playwright's
synchronous interface is the one that runs in this thread until the module is done.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from playwright.sync_api import Error, sync_playwright

from tests.support.node import give_up
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright

REMEDY = "remedy: apt-get install chromium"
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGE_MILLISECONDS = 15_000
"""How long Playwright waits for anything; less than a test's own time-out."""


def need_chromium() -> str:
    """Give the path of Chromium; skip the test where there is none, in CI fail it."""
    found = shutil.which("chromium")
    if found is None:
        give_up(f"no Chromium found; {REMEDY}")
    assert found is not None
    return found


class Chromium:
    """One headless Chromium with a profile of its own, from its making until `close`.

    After `kill` or `stop` it can be started again and finds what its pages have stored.
    """

    def __init__(self, playwright: Playwright, **options) -> None:
        """Start it; `options` are those of Playwright's `launch_persistent_context`."""
        self.profile = Path(tempfile.mkdtemp(prefix="chromium-"))
        self.errors: list[str] = []
        """What pages wrote to the console as errors, and exceptions that nobody caught."""
        self._playwright = playwright
        self._options = options
        self._context: BrowserContext | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- life

    def start(self) -> None:
        """Start it with what the profile holds; it shows an empty page."""
        assert self._context is None, "it runs already"
        self._context = self._playwright.chromium.launch_persistent_context(
            self.profile,
            executable_path=need_chromium(),
            args=FLAGS,
            headless=True,
            # Root cannot have the sandbox.
            chromium_sandbox=os.geteuid() != 0,
            **self._options,
        )
        self._context.set_default_timeout(PAGE_MILLISECONDS)
        self._context.on("console", self._note)
        self._context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def kill(self) -> None:
        """Kill it with SIGKILL, as the system does when memory is short."""
        os.kill(self._pid(), signal.SIGKILL)
        self.stop()
        # The next one would hand its page over to this one, were it still believed alive.
        (self.profile / "SingletonLock").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it in an orderly way; the profile stays. Does nothing the second time."""
        context, self._context = self._context, None
        if context is not None:
            with suppress(Error):
                context.close()

    def close(self) -> None:
        """End it and delete its profile. Does nothing the second time."""
        self.stop()
        # Its helpers may write for a moment more.
        eventually(self._is_removed, within=5.0)

    def _is_removed(self) -> bool:
        shutil.rmtree(self.profile, ignore_errors=True)
        return not self.profile.exists()

    def _pid(self) -> int:
        # The link names the machine and the process that holds the profile.
        return int(str((self.profile / "SingletonLock").readlink()).rpartition("-")[2])

    # --- what a test does with it

    @property
    def context(self) -> BrowserContext:
        """Give Playwright's context: pages, permissions, routes."""
        assert self._context is not None, "the browser does not run"
        return self._context

    @property
    def page(self) -> Page:
        """Give the first page (tab)."""
        return self.context.pages[0]

    def go_offline(self) -> None:
        """Take the network away from all pages: requests fail, `navigator.onLine` is false."""
        self.context.set_offline(True)

    def go_online(self) -> None:
        """Give the network back."""
        self.context.set_offline(False)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            place = message.location
            self.errors.append(f"{message.text} ({place.get('url')}:{place.get('lineNumber')})")


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    """What starts browsers."""
    need_chromium()
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture
def make_browser(driver: Playwright) -> Iterator[Callable[..., Chromium]]:
    """Start Chromiums: `make_browser(**options of Playwright)`; they end with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Chromium(driver, **options))


@pytest.fixture
def browser(make_browser: Callable[..., Chromium]) -> Chromium:
    """One Chromium with an empty profile."""
    return make_browser()


@pytest.fixture(scope="module")
def module_browser(driver: Playwright) -> Iterator[Chromium]:
    """One Chromium for the tests of a module, which share its profile."""
    with Chromium(driver) as chromium:
        yield chromium
