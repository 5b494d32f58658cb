"""What the tests in a browser share: a server that wants tokens, and pages of another origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.auth.credentials import SECRET, token
from tests.browser.site import AT_ONCE, Site, Tab, bundle
from tests.support.browser import browser, driver, make_browser, module_browser
from tests.support.content import assert_arrived
from tests.support.node import need_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.browser import Chromium
    from tests.support.server import TusServer

__all__ = ["browser", "driver", "make_browser", "module_browser"]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what is bundled for browsers."""
    need_node()
    folder = tmp_path_factory.mktemp("bundles")
    bundle(folder)
    return folder


@pytest.fixture(scope="session")
def site(bundles: Path) -> Iterator[Site]:
    """The origin of the pages."""
    with Site(bundles) as site:
        yield site


@pytest.fixture
def guarded(make_server: Callable[..., TusServer]) -> TusServer:
    """A server that answers only to those who bear a token."""
    return make_server(environment={"TUSSERVER_JWT_SECRET": SECRET})


@pytest.fixture(scope="session")
def alice() -> dict[str, str]:
    """The headers with which alice comes."""
    return {"Authorization": f"Bearer {token(sub='alice')}"}


@pytest.fixture
def options(alice: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Give options of the clients: alice's token, hardly any delay, and what a test wants."""

    def make(endpoint: str, **own: Any) -> dict[str, Any]:
        return {"endpoint": endpoint, "headers": alice, "retryDelays": AT_ONCE} | own

    return make


@pytest.fixture
def arrived(guarded: TusServer, alice: dict[str, str]) -> Callable[[str, int], None]:
    """Compare an upload with what was sent, byte by byte."""

    def compare(url: str, size: int) -> None:
        assert_arrived(url, size, headers=alice)

    return compare


@pytest.fixture
def tus_tab(browser: Chromium, site: Site) -> Tab:
    """A page with tus-js-client."""
    tab = Tab(browser, f"{site.url}tus.html")
    tab.load()
    return tab


@pytest.fixture
def uppy_tab(browser: Chromium, site: Site) -> Tab:
    """A page with Uppy."""
    tab = Tab(browser, f"{site.url}uppy.html")
    tab.load()
    return tab
