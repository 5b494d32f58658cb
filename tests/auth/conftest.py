"""Servers that want credentials, one for all tests of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.auth.credentials import SECRET, Bearer, Signed, token
from tests.support.server import TusServer
from tests.support.watching import watch
from tusserver import sign_upload_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GUARDED = {"TUSSERVER_JWT_SECRET": SECRET, "TUSSERVER_URL_SECRET": SECRET}


@pytest.fixture(scope="session")
def guarded_server() -> Iterator[TusServer]:
    with TusServer("--max-size", "1MB", environment=GUARDED) as server:
        yield server
        server.check_log()


@pytest.fixture
def guarded(request: pytest.FixtureRequest, guarded_server: TusServer) -> TusServer:
    """The program, with bearer tokens and signed URLs."""
    return watch(request, guarded_server)


@pytest.fixture
def alice(guarded: TusServer) -> Bearer:
    return Bearer(guarded.url, token())


@pytest.fixture
def bob(guarded: TusServer) -> Bearer:
    return Bearer(guarded.url, token(sub="bob"))


@pytest.fixture
def sign(guarded: TusServer) -> Callable[..., Signed]:
    """Make the verbs of a signed URL: `sign(owner=, max_size=, ...)`."""

    def make(**options) -> Signed:
        return Signed(sign_upload_url(SECRET, guarded.url, **options))

    return make


@pytest.fixture
def stored(guarded: TusServer) -> Callable[[], set[str]]:
    """Name the uploads that have files."""
    return lambda: {path.name.partition(".")[0] for path in guarded.upload_dir.glob("??/*")}
