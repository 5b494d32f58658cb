"""What the tests in a browser share: servers that want tokens, and pages of another origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.auth.credentials import SECRET, token
from tests.browser.site import Site, Tab, bundle
from tests.support.browser import browser, driver, make_browser, module_browser
from tests.support.node import need_node
from tests.support.server import TusServer
from tests.support.watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.browser import Chromium

__all__ = ["browser", "driver", "make_browser", "module_browser"]

GUARDED = {"TUSSERVER_JWT_SECRET": SECRET}


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


@pytest.fixture(scope="module")
def module_guarded() -> Iterator[TusServer]:
    """A server that answers only to those who bear a token, for the tests of a module."""
    with TusServer(environment=GUARDED) as server:
        yield server
        server.check_log()


@pytest.fixture
def guarded(request: pytest.FixtureRequest, module_guarded: TusServer) -> TusServer:
    """The server of the module; its log is shown if the test fails."""
    return watch(request, module_guarded)


@pytest.fixture
def mortal(make_server: Callable[..., TusServer]) -> TusServer:
    """A server of the same kind that the test may kill."""
    return make_server(environment=GUARDED)


@pytest.fixture(scope="session")
def alice() -> dict[str, str]:
    """The headers with which alice comes."""
    return {"Authorization": f"Bearer {token(sub='alice')}"}


@pytest.fixture
def tus_page(site: Site) -> str:
    """The address of the page with tus-js-client."""
    return f"{site.url}tus.html"


@pytest.fixture
def tus_tab(module_browser: Chromium, tus_page: str, alice: dict[str, str]) -> Tab:
    """The page with tus-js-client, in the browser of the module."""
    module_browser.errors.clear()
    return Tab(module_browser, tus_page, headers=alice)


@pytest.fixture
def uppy_tab(module_browser: Chromium, site: Site, alice: dict[str, str]) -> Tab:
    """The page with Uppy, in the browser of the module."""
    module_browser.errors.clear()
    return Tab(module_browser, f"{site.url}uppy.html", headers=alice)
