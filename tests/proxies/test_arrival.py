"""Requests that come through proxies, seen by the application: client, scheme, host."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, UnixConnector, web

from tusserver import CallableHooks, Settings, build_engine, tus_app
from tusserver.web.arrival import WARN_EVERY, Arrivals
from tusserver.web.server import TusRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tusserver.ports import Event

OURS = "127.0.0.1"
POST = {"Tus-Resumable": "1.0.0", "Upload-Length": "1"}
FORGED = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "a.example",
}


def told(caplog) -> list[str]:
    """Give what our own code logged; asyncio logs when the machine is slow."""
    return [record.getMessage() for record in caplog.records if "tusserver" in record.name]


class Site:
    """An engine behind an application, and who asked it."""

    def __init__(self, session: ClientSession, url: str, seen: list[Event]) -> None:
        self._session = session
        self._url = url
        self._seen = seen

    async def create(self, *fields: tuple[str, str], **more: str) -> tuple[int, str, str]:
        """Create an upload; give status, Location and the client that hooks see."""
        self._seen.clear()
        headers = [*POST.items(), *fields, *more.items()]
        async with self._session.post(self._url, headers=headers) as answer:
            await answer.read()
            request = self._seen[0].request if self._seen else None
            remote = "" if request is None else request.remote
            return answer.status, answer.headers.get("Location", ""), remote


@asynccontextmanager
async def site(directory: Path, *, unix: bool = False, **settings) -> AsyncIterator[Site]:
    seen: list[Event] = []

    async def note(event: Event) -> None:
        seen.append(event)

    engine = build_engine(
        Settings(upload_dir=directory, reserve=0, **settings), CallableHooks(pre_create=note)
    )
    app = web.Application()
    app.add_subapp("/up/", tus_app(engine))
    runner = (TusRunner if unix else web.AppRunner)(app)
    await runner.setup()
    try:
        if unix:
            path = str(directory / "socket")
            await web.UnixSite(runner, path).start()
            async with ClientSession(connector=UnixConnector(path)) as session:
                yield Site(session, "http://localhost/up/", seen)
        else:
            listening = web.TCPSite(runner, "127.0.0.1", 0)
            await listening.start()
            async with ClientSession() as session:
                yield Site(session, f"http://127.0.0.1:{runner.addresses[0][1]}/up/", seen)
    finally:
        await runner.cleanup()


async def test_a_trusted_proxy_tells_the_client_from_the_proxies(upload_dir):
    async with site(upload_dir, trusted_proxies=(OURS, "10.0.0.0/8")) as server:
        fields = {"X-Forwarded-For": "1.1.1.1, 192.0.2.1, 10.0.0.7"}
        status, location, client = await server.create(*fields.items())
    assert (status, client) == (201, "192.0.2.1")
    assert location.startswith("/up/")


async def test_the_standard_field_over_several_lines_is_read(upload_dir):
    async with site(upload_dir, trusted_proxies=(OURS, "10.0.0.0/8")) as server:
        lines = [("Forwarded", 'for="[2001:db8::1]:9"'), ("Forwarded", "for=10.0.0.7")]
        assert (await server.create(*lines))[2] == "2001:db8::1"


async def test_nobody_else_is_believed(upload_dir, caplog):
    async with site(upload_dir, trusted_proxies="10.0.0.0/8") as server:
        assert (await server.create(*FORGED.items()))[2] == "127.0.0.1"
        assert (await server.create(("Forwarded", "for=192.0.2.1")))[2] == "127.0.0.1"
    assert not told(caplog)


async def test_a_proxy_that_nobody_told_of_is_named_once(upload_dir, caplog):
    async with site(upload_dir) as server:
        for _ in range(3):
            assert (await server.create(*FORGED.items()))[2] == "127.0.0.1"
    [message] = told(caplog)
    assert "127.0.0.1" in message
    assert "X-Forwarded-For" in message


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Forwarded-For": "our, junk!"},
        {"X-Forwarded-Proto": "https,gopher"},
        {"X-Forwarded-Host": "a b"},
        {"X-Forwarded-Port": "-1"},
        {"Forwarded": 'for="192.0.2.1'},
        {"Forwarded": "for=1.1.1.1", "X-Forwarded-For": "192.0.2.1"},
    ],
    ids=str,
)
async def test_what_a_proxy_says_wrongly_is_ignored_and_told_once(upload_dir, caplog, fields):
    async with site(upload_dir, trusted_proxies=OURS) as server:
        for _ in range(2):
            assert (await server.create(*fields.items()))[::2] == (201, "127.0.0.1")
    [message] = told(caplog)
    assert next(iter(fields)) in message
    assert "127.0.0.1" in message


async def test_the_origin_of_the_servers_own_pages_is_what_the_client_sees(upload_dir):
    own = {"Origin": "https://a.example:8443"}
    async with site(upload_dir, trusted_proxies=OURS, cors_origins=()) as server:
        assert (await server.create(**own))[0] == 403
        told = {"X-Forwarded-Proto": "https,http", "X-Forwarded-Host": "a.example:8443"}
        assert (await server.create(*told.items(), **own))[0] == 403
        told = {"X-Forwarded-Proto": "http,https", "X-Forwarded-Host": "a.example:8443"}
        assert (await server.create(*told.items(), **own))[0] == 201
        told = {"Forwarded": 'proto=https;host="a.example:8443"'}
        assert (await server.create(*told.items(), **own))[0] == 201
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "8443", "Host": "a.example"}
        assert (await server.create(*told.items(), **own))[0] == 201


async def test_a_forged_origin_of_its_own_is_refused(upload_dir):
    async with site(upload_dir, cors_origins=()) as server:
        status, _, _ = await server.create(*FORGED.items(), Origin="https://a.example")
    assert status == 403


async def test_a_forwarded_host_never_gets_into_the_location(upload_dir):
    async with site(upload_dir, trusted_proxies=OURS) as server:
        assert (await server.create(*FORGED.items()))[1].startswith("/up/")


@pytest.mark.parametrize(
    ("trusted", "client"), [(("unix",), "192.0.2.1"), (("0.0.0.0/0",), "unix")]
)
async def test_a_proxy_on_a_unix_socket_is_trusted_by_name(upload_dir, trusted, client):
    async with site(upload_dir, unix=True, trusted_proxies=trusted) as server:
        assert (await server.create(*FORGED.items()))[2] == client


def test_warnings_come_once_in_a_while(caplog):
    now = 0.0
    arrivals = Arrivals(["unix"], clock=lambda: now)
    near, far = socket.socketpair()
    with near, far:
        for now in (0.0, WARN_EVERY - 1, WARN_EVERY + 1):  # noqa: B007 - the clock reads it
            arrivals.of(_Request(near))
    assert len(told(caplog)) == 2


class _Request(dict):
    """As much of a request as is looked at."""

    host = "a.example"
    scheme = "http"
    remote = ""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.transport = self

    @property
    def headers(self):
        return _Lines({"X-Forwarded-Proto": ["gopher"], "Host": [self.host]})

    def get_extra_info(self, name: str):
        return self._connection if name == "socket" else None


class _Lines(dict):
    def getall(self, name, default):
        return self.get(name, default)
