"""Servers for the lines of the threat model: one that is open, one that wants credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.auth.conftest import alice, bob, guarded, guarded_server, sign
from tests.support.raw import Tus
from tests.support.server import TusServer
from tests.support.watching import watch
from tusserver import build_engine, tus_app
from tusserver.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["alice", "bob", "guarded", "guarded_server", "sign"]

MAX_SIZE = 10_000_000


def application(directory: Path, **options: object) -> web.Application:
    """Make an application that tus is mounted into, with hooks or a login of its own."""
    app = web.Application()
    settings = Settings(upload_dir=directory, reserve=0)
    app.add_subapp("/files/", tus_app(build_engine(settings, **options)))
    return app


@pytest.fixture(scope="session")
def open_server() -> Iterator[TusServer]:
    with TusServer("--max-size", str(MAX_SIZE), "--body-timeout", "1s") as server:
        yield server
        server.check_log()


@pytest.fixture
def server(request: pytest.FixtureRequest, open_server: TusServer) -> TusServer:
    """The program as it is without settings, but for a limit and less patience."""
    return watch(request, open_server)


@pytest.fixture
def tus(server: TusServer) -> Tus:
    return Tus(server.url)
