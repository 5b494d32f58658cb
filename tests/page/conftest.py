"""What the tests of the upload page share: a browser, and proof that the page was built."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.page.visit import Visit, page_of
from tests.support.browser import browser, driver, make_browser, module_browser
from tests.support.content import make_file
from tests.support.node import give_up
from tusserver.compose import has_page
from tusserver.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.browser import Chromium
    from tests.support.server import TusServer

__all__ = ["browser", "driver", "make_browser", "module_browser"]


@pytest.fixture(scope="session")
def built() -> None:
    """The page, which the installation of this package builds."""
    if not has_page(Settings()):
        give_up("the upload page is not built; remedy: python3 -m tests, with npm in reach")


@pytest.fixture
def visit(built: None, module_browser: Chromium) -> Iterator[Callable[..., Visit]]:
    """Look at the page of a server, in a tab of its own, or at one that is somewhere else."""
    with ExitStack() as stack:

        def look(server: TusServer, url: str = "", *, slow: bool = False) -> Visit:
            seen = Visit(module_browser, url or page_of(server), slow=slow)
            stack.callback(seen.page.close)
            return seen

        yield look


@pytest.fixture
def server(make_server: Callable[..., TusServer]) -> TusServer:
    """A server as it is by default."""
    return make_server()


@pytest.fixture
def a_file(tmp_path: Path) -> Callable[..., Path]:
    """Make files of so many bytes: `a_file("name", size)`."""
    return lambda name, size: make_file(tmp_path / name, size)
