"""Log lines of a server, as programs read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.server import TusServer

Line = dict[str, Any]


def lines_of(server: TusServer) -> list[Line]:
    """Give the lines of a server that writes JSON."""
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def requests_of(server: TusServer) -> list[Line]:
    """Give the lines that tell of requests."""
    return [line for line in lines_of(server) if line["logger"] == "tusserver.access"]


def last_request(server: TusServer, *, count: int) -> Line:
    """Give the last of `count` requests, once there are so many."""
    assert eventually(lambda: len(requests_of(server)) >= count), server.log
    return requests_of(server)[count - 1]
