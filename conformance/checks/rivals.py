"""Checks of two appends that begin before either has sent a byte (tus 1.0.0, PATCH)."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_status
from conformance.evidence import eventually, part_way
from conformance.wire import WireError

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Connection

SIZE = 120_000
PIECE = 10_000
PASSING = 10.0
"""Seconds in which a server has noticed that a client is gone."""


@check("CORE-PATCH-20", needs=("creation",))
def rivals_that_begin_together_are_not_mixed(tus: Target) -> None:
    """Two PATCH requests at offset 0 send their heads, then their bytes: one of them is stored."""
    url = tus.create(SIZE)
    with ExitStack() as open_ones:
        rivals = [
            (open_ones.enter_context(part_way(tus, url, 0, letter * SIZE, sent=0)), letter)
            for letter in (b"a", b"b")
        ]
        time.sleep(0.2)
        for _ in range(0, SIZE, PIECE):
            for connection, letter in rivals:
                with suppress(OSError):  # ended by the server in favour of the other
                    connection.send(letter * PIECE)
            time.sleep(0.01)
        won = sum(_is_stored(connection) for connection, _ in rivals)
    expect(won < 2, "expected one of two PATCH requests at one offset to succeed, both are 204")
    eventually(lambda: tus.head(url).status in {200, 204}, seconds=PASSING)
    offset = tus.offset(url)
    expect(not won or offset == SIZE, f"expected the offset {SIZE} after a 204, got {offset}")
    expect(offset <= SIZE, f"expected an offset of {SIZE} at most, got {offset}")
    if offset < SIZE:
        expect_status(tus.append(url, offset, b"c" * (SIZE - offset)), 200, 204)
    content = tus.content(url)
    if content is not None:
        found = " and ".join(sorted({chr(byte) for byte in content[:offset]}))
        expect(len(set(content[:offset])) <= 1, f"expected the bytes of one request, got {found}")


def _is_stored(connection: Connection) -> bool:
    try:
        return connection.read_response("PATCH", timeout=PASSING).status in {200, 204}
    except (WireError, OSError):
        return False
