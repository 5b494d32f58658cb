"""The memory of a server does not grow with the length of an upload."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

from tests.support.content import GIB, MIB, blocks
from tests.support.raw import OFFSET_STREAM, Tus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import TusServer

SIZE = 2 * GIB
BOUND = 40 * MIB
OFTEN = 32 * MIB


@pytest.mark.timeout(90)
@pytest.mark.parametrize("mode", ["program", "mounted"])
def test_two_gibibytes_pass_through_little_memory(
    make_server: Callable[..., TusServer], mode: str
) -> None:
    server = make_server(mode=mode)
    target = Tus(server.url).create(SIZE)
    before = server.rss()
    peak = before

    def body() -> Iterator[bytes]:
        nonlocal peak
        for number, block in enumerate(blocks(SIZE)):
            if number * MIB % OFTEN == 0:
                peak = max(peak, server.rss())
            yield block

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    fields = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": OFFSET_STREAM,
        "Content-Length": str(SIZE),
    }
    try:
        connection.request("PATCH", target, body(), fields)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(SIZE))
    finally:
        connection.close()
    assert max(peak, server.rss()) - before < BOUND
    # The time to read it all again would not be well spent: look at its ends and some middles.
    with server.data_file(target).open("rb") as data:
        for number, block in enumerate(blocks(SIZE)):
            if number % 97 == 0 or number == SIZE // MIB - 1:
                data.seek(number * MIB)
                assert data.read(MIB) == block, f"MiB {number} is not what was sent"
