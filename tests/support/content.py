"""Files with content that nobody can confuse, and the comparison of what arrived."""

from __future__ import annotations

import http.client
import random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
BLOCK = MIB

_NOISE = random.Random(1).randbytes(BLOCK)


def blocks(size: int) -> Iterator[bytes]:
    """Give `size` bytes in blocks of a MiB, each another one: a lost or doubled one shows."""
    for number in range(0, size, BLOCK):
        block = number.to_bytes(8, "big") + _NOISE[8:]
        yield block[: size - number]


def make_file(path: Path, size: int) -> Path:
    """Write a file of `size` bytes; give its path."""
    with path.open("wb") as file:
        file.writelines(blocks(size))
    return path


def assert_arrived(url: str, size: int, *, headers: Mapping[str, str] | None = None) -> None:
    """Download an upload and compare it, byte for byte, with what `make_file` wrote."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=15)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request("GET", target, headers=dict(headers or {}))
        response = connection.getresponse()
        assert response.status == 200, (response.status, response.read(500))
        assert response.headers["Content-Length"] == str(size)
        for number, block in enumerate(blocks(size)):
            assert response.read(len(block)) == block, f"MiB {number} is not what was sent"
        assert response.read(1) == b""
    finally:
        connection.close()
