"""Servers with settings of their own, kept for the whole session, and looks at their files."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.conftest import watch
from tests.support.raw import Tus
from tests.support.redis_fixture import need_redis_server
from tests.support.redis_server import RedisServer
from tests.support.served import Served
from tests.support.server import MOUNTED, PROGRAM, TusServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    ServerOf = Callable[..., TusServer]

MODES = [PROGRAM, MOUNTED]
OUR_TRACES = re.compile(r'File ".*/tusserver/|^ERROR:tusserver', re.MULTILINE)
"""In the log of a mounted server: aiohttp's own runner logs traces of what is not HTTP."""


def check_log(server: TusServer) -> None:
    """Prove that nothing of ours went wrong."""
    if server.mode == PROGRAM:
        server.check_log()
    else:
        assert OUR_TRACES.search(server.log) is None, server.log[-8000:]


@pytest.fixture(scope="module", params=MODES)
def module_server(request: pytest.FixtureRequest) -> Iterator[TusServer]:
    """One server for the tests of a module; those on a host's runner may send it rubbish."""
    with TusServer(mode=request.param) as server:
        yield server
        check_log(server)


@pytest.fixture(scope="session")
def pool() -> Iterator[ServerOf]:
    """Start servers by mode and flags; one of a kind is shared by all tests."""
    servers: dict[tuple[str, ...], TusServer] = {}
    with ExitStack() as stack:

        def get(mode: str, *flags: str) -> TusServer:
            if (mode, *flags) not in servers:
                servers[mode, *flags] = stack.enter_context(TusServer(*flags, mode=mode))
            return servers[mode, *flags]

        yield get
        for server in servers.values():
            check_log(server)


@pytest.fixture
def with_flags(request: pytest.FixtureRequest, pool: ServerOf) -> Callable[..., Tus]:
    def get(mode: str, *flags: str) -> Tus:
        return Tus(watch(request, pool(mode, *flags)).url)

    return get


@pytest.fixture
def tus(server: TusServer) -> Served:
    return Served(server)


@pytest.fixture
def is_program(server: TusServer) -> bool:
    """Tell whether the server has its own runner: only then all settings are in its hands."""
    return server.mode == PROGRAM


@pytest.fixture
def stored(server: TusServer) -> Callable[[], set[str]]:
    """Name the uploads that have files."""

    def look() -> set[str]:
        files = server.upload_dir.glob("??/*")
        return {path.name.partition(".")[0] for path in files}

    return look


@pytest.fixture
def files_of(server: TusServer) -> Callable[[str], list[str]]:
    """Name every file that has to do with an upload."""

    def look(target: str) -> list[str]:
        upload_id = target.rpartition("/")[2]
        return [path.name for path in server.upload_dir.rglob(f"*{upload_id}*")]

    return look


@pytest.fixture(params=MODES)
def limited(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    return with_flags(request.param, "--max-size", "1000")


@pytest.fixture(params=MODES)
def expiring(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    sweep = ("--sweep-interval", "1s", "--sweep-grace", "1s")
    return with_flags(request.param, "--expire-after", "2s", *sweep)


@pytest.fixture(params=MODES)
def impatient(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    return with_flags(request.param, "--body-timeout", "1s")


@pytest.fixture(params=MODES)
def undownloadable(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    return with_flags(request.param, "--no-download")


@pytest.fixture(params=MODES)
def choosy(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    pages = ("--cors-origins", "https://page.example,https://*.example.org")
    return with_flags(request.param, *pages, "--cors-credentials")


@pytest.fixture(params=MODES)
def public(request: pytest.FixtureRequest, with_flags: Callable[..., Tus]) -> Tus:
    return with_flags(request.param, "--public-url", "https://uploads.example/up/")


@pytest.fixture
def without(with_flags: Callable[..., Tus]) -> Callable[..., Tus]:
    """Switch extensions off; the mounting makes no difference here."""
    return lambda *names: with_flags(PROGRAM, "--disable", ",".join(names))


@pytest.fixture(
    scope="module",
    params=[(PROGRAM, 1, "local"), (MOUNTED, 2, "local"), (PROGRAM, 2, "redis")],
    ids=["one program", "two mounted", "two programs on Redis"],
)
def pair_servers(request: pytest.FixtureRequest) -> Iterator[tuple[TusServer, TusServer]]:
    mode, count, state = request.param
    with ExitStack() as stack:
        if state == "redis":
            need_redis_server()
            state = stack.enter_context(RedisServer()).url
        second = first = stack.enter_context(TusServer(mode=mode, state=state))
        if count == 2:
            second = stack.enter_context(
                TusServer(mode=mode, state=state, upload_dir=first.upload_dir)
            )
        yield first, second
        check_log(first)
        check_log(second)


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, pair_servers: tuple[TusServer, TusServer]
) -> tuple[Served, Served]:
    """Give the server of the older request and that of the newer one; they may be the same."""
    first, second = (watch(request, server) for server in pair_servers)
    return Served(first), Served(second)
