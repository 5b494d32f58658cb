"""Answers that are written at once are, byte for byte, those that aiohttp would make."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.web.sites import Client
from tusserver.compose.serving import build_app
from tusserver.config import load_settings
from tusserver.protocol.messages import Reply
from tusserver.web.answers import Answer, answer_at_once
from tusserver.web.cors import FOR_ALL
from tusserver.web.dispatch import ShortcutRunner
from tusserver.web.server import TusRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


TUS = "Tus-Resumable: 1.0.0"
STREAM = "Content-Type: application/offset+octet-stream"
DIFFERS = re.compile(
    rb"(?<=\r\nDate: )[^\r]+|(?<=\r\nX-Request-ID: )[0-9a-f]{16}|(?<=/files/)[0-9a-f]{32}|"
    rb"(?<=\r\nUpload-Expires: )[^\r]+|(?<=\r\nETag: )[^\r]+"
)


@contextlib.asynccontextmanager
async def program(
    runner_class: type[web.AppRunner], directory: Path, *words: str
) -> AsyncIterator[Client]:
    """Serve as the program does, and connect to it."""
    settings = load_settings([f"--upload-dir={directory}", "--reserve=0", *words], {})
    runner = runner_class(build_app(settings), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = Client(*await asyncio.open_connection(*runner.addresses[0][:2]))
        yield client
        await client.close()
    finally:
        await runner.cleanup()


def message(method: str, path: str, *fields: str, version: str = "1.1", body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", TUS, *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode()


async def conversation(client: Client, *extra: str, version: str = "1.1") -> list[bytes]:
    """Send one request of each kind; give the heads of the answers, without what differs."""
    heads = []

    async def ask(method: str, path: str, *fields: str, body: str = "") -> bytes:
        text = message(method, path, *fields, *extra, version=version, body=body)
        await client.send(text)
        async with asyncio.timeout(5):
            head = await client.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
            if length is not None and method != "HEAD":
                await client.reader.readexactly(int(length[1]))
        heads.append(head)
        return head

    made = await ask("POST", "/files/", "Upload-Length: 5", "Upload-Metadata: a YQ==,b")
    path = re.search(rb"\r\nLocation: ([^\r]+)", made)[1].decode()
    await ask("HEAD", path)
    await ask("POST", path, "X-HTTP-Method-Override: HEAD")
    await ask("PATCH", path, "Upload-Offset: 3", STREAM, body="lo")
    await ask("PATCH", path, "Upload-Offset: 0", STREAM, body="hel")
    await ask("PATCH", path, "Upload-Offset: 3", STREAM, body="lo")
    await ask("HEAD", path)
    await ask("GET", path)
    await ask("OPTIONS", path)
    await ask("DELETE", path)
    await ask("HEAD", path)
    await ask("POST", "/files/", "Upload-Length: 2", STREAM, body="ab")
    return heads


CASES = {
    "plain": ((), (), "1.1"),
    "of a page": ((), ("Origin: https://example.org",), "1.1"),
    "of a page that is named": (
        ("--cors-origins=https://example.org", "--cors-credentials"),
        ("Origin: https://example.org",),
        "1.1",
    ),
    "of no page": (("--cors-origins=https://example.com",), (), "1.1"),
    "with an id": ((), ("X-Request-ID: client-7",), "1.1"),
    "of long ago": ((), ("Connection: keep-alive",), "1.0"),
    "with a limit": (("--max-size=10MB",), (), "1.1"),
}


@pytest.mark.parametrize(("words", "fields", "version"), CASES.values(), ids=CASES)
async def test_a_program_answers_as_on_a_runner_that_knows_no_short_way(
    words, fields, version, tmp_path
):
    found = []
    for number, runner in enumerate((ShortcutRunner, TusRunner)):
        directory = tmp_path / str(number)
        async with program(runner, directory, *words) as client:
            heads = await conversation(client, *fields, version=version)
        found.append([DIFFERS.sub(b"", head) for head in heads])
    assert found[0] == found[1]
    assert len(found[0]) == 12


async def test_the_last_answer_of_a_connection_says_so(tmp_path):
    async with program(ShortcutRunner, tmp_path) as client:
        await client.send(message("OPTIONS", "/files/", "Connection: close"))
        text = await client.rest()
    assert text.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert text.endswith(b"\r\nConnection: close\r\n\r\n")


class Asked:
    """What is asked of a request."""

    version = (1, 1)
    method = "POST"


@pytest.mark.parametrize(
    ("reply", "is_direct"),
    [
        (Reply(status=201, headers=(("Location", "/a"),), is_bare=True), True),
        (Reply(status=201, headers=(("Location", "/a"),)), False),
        (Reply(status=404, headers=(("Location", "/a"),), is_bare=True), False),
        (Reply(status=201, headers=(("Location", "/a\r\nX: y"),), is_bare=True), False),
        (Reply(status=201, headers=(("Location", "/a\0"),), is_bare=True), False),
        (Reply(status=201, headers=(("Location", "/a\x7f"),), is_bare=True), False),
        (Reply(status=201, headers=(("Location", "/\u00e4"),), is_bare=True), False),
    ],
    ids=["plain", "an application's", "an error", "two lines", "zero", "delete", "not ASCII"],
)
def test_what_needs_a_closer_look_is_left_to_aiohttp(reply, is_direct):
    answer = answer_at_once(Asked(), reply, cors=FOR_ALL, request_id="1")
    assert isinstance(answer, Answer) is is_direct
