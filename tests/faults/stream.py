"""Bytes that tell which upload they belong to and where: every wrong one shows."""

from __future__ import annotations

import random

BLOCK = 65_536


def content(seed: str, start: int, stop: int) -> bytes:
    """Give the bytes of the upload `seed` from `start` up to `stop`."""
    first, last = start // BLOCK, (stop + BLOCK - 1) // BLOCK
    whole = b"".join(random.Random(f"{seed}:{n}").randbytes(BLOCK) for n in range(first, last))
    return whole[start - first * BLOCK : stop - first * BLOCK]


def first_difference(found: bytes, expected: bytes) -> str:
    """Say where two contents part, and what stands there: zeros, other bytes, or the end."""
    if len(found) != len(expected):
        return f"{len(found)} bytes instead of {len(expected)}"
    for at in range(0, len(expected), 512):
        if found[at : at + 512] != expected[at : at + 512]:
            piece = found[at : at + 512]
            return f"wrong from about {at}: {'zeros' if not any(piece) else piece[:16].hex()}"
    return "equal"
