"""What is thrown away must not be kept in memory on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import Tus, chunked
from tests.support.waiting import Late

if TYPE_CHECKING:
    from tests.support.server import TusServer

SIZE = 200_000_000
ROOM = 24_000_000
"""Bytes: a few buffers, and what Python takes for itself."""


@pytest.mark.clause("HTTP-09", "HTTP-19")
@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "length"])
def test_a_refused_body_takes_no_memory(server: TusServer, *, chunks: bool) -> None:
    tus = Tus(server.url)
    target = tus.create(10, body=b"abc")
    # The first refusal fills what is filled only once.
    tus.patch(target, 9, b"x")
    before = server.rss()
    framing = {"Transfer-Encoding": "chunked"} if chunks else {}
    length = None if chunks else str(SIZE)
    piece = chunked(bytes(1_000_000), end=False) if chunks else bytes(1_000_000)
    peak = 0
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 9, b"", {"Content-Length": length, **framing}))
        try:
            for _ in range(SIZE // 1_000_000):
                wire.send(piece)
                peak = max(peak, server.rss())
        except ConnectionError as error:
            raise Late("one of both stood still for a second and it was ended") from error
        assert wire.response("PATCH").status == 409
    assert peak - before < ROOM


@pytest.mark.clause("HTTP-25", "CORE-PATCH-16")
@pytest.mark.parametrize("digest", [True, False], ids=["digest", "plain"])
def test_a_large_body_takes_no_memory(server: TusServer, *, digest: bool) -> None:
    tus = Tus(server.url)
    target = tus.create(SIZE)
    fields = {"Upload-Checksum": "sha1 " + "A" * 27 + "="} if digest else {}
    piece, before, peak = bytes(1_000_000), server.rss(), 0
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", {"Content-Length": str(SIZE), **fields}))
        for _ in range(SIZE // 1_000_000):
            wire.send(piece)
            peak = max(peak, server.rss())
        assert wire.response("PATCH").status == (460 if digest else 204)
    assert peak - before < ROOM + 32 * 2**20
    assert tus.delete(target).status == 204
