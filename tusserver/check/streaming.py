"""How bodies get through a proxy (floor 5): how large, and how soon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tusserver.check import remedies
from tusserver.check.client import APPEND, Silent, Unreachable
from tusserver.check.findings import error, warning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tusserver.check.visit import Visit

MIB = 1024 * 1024
LARGEST = 20
"""The largest body that is asked for is 2 to this power, in MiB: 1 TiB."""
SMALL_LIMIT = 64 * MIB
"""A limit below this one stops clients that send pieces, too."""
BODY = 1 * MIB
FIRST = 4 * 1024
MORE = 512 * 1024
LOOKS = 5
"""How often HEAD is asked for what has arrived."""
PAUSE = 0.3
"""Seconds between two looks."""

SOON = 2.0
"""Seconds in which who minds a length says so."""

_TOO_LARGE = 413


async def check_limit(visit: Visit, upload: str) -> None:
    """Find the largest body, by lengths that are declared and bodies that are never sent.

    The offset is wrong on purpose: tusserver refuses without reserving anything.
    """
    if any(finding.code == "body_limit" for finding in visit.findings):
        return
    if await _passes(visit, upload, LARGEST):
        return
    low, high = 0, LARGEST
    while high - low > 1:
        middle = (low + high) // 2
        if await _passes(visit, upload, middle):
            low = middle
        else:
            high = middle
    limit = MIB * 2**high
    shown = f"{2**high} MiB" if high < 10 else f"{2 ** (high - 10)} GiB"  # noqa: PLR2004
    text = f"Bodies of {shown} do not get through, whatever the server allows."
    make = error if limit <= SMALL_LIMIT else warning
    visit.add(make("body_limit", text, remedies.BODY_LIMIT))


async def _passes(visit: Visit, upload: str, power: int) -> bool:
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"0"
        await never.wait()

    fields = {**APPEND, "Upload-Offset": "7", "Content-Length": str(MIB * 2**power)}
    try:
        answer = await visit.client.ask("PATCH", upload, fields, body=body(), patience=SOON)
    except Silent:
        return True  # It waits for the body, so it does not mind its length.
    except Unreachable:
        return False
    return answer.is_ours or answer.status != _TOO_LARGE


async def check_streaming(visit: Visit) -> None:
    """Find out whether bytes arrive while a body is on its way."""
    if "HEAD" in visit.refused or "Upload-Offset" in visit.lost_responses:
        return
    if not await _arrives(visit, FIRST):
        if not await _arrives(visit, MORE):
            text = (
                f"Bodies are held back until they are whole: of {MORE // 1024} KiB that were sent "
                "nothing had arrived. What was sent before a cut is lost."
            )
            visit.add(error("buffering", text, remedies.BUFFERING))
            return
        text = f"The first bytes of a body are held back: of {FIRST // 1024} KiB none had arrived."
        visit.add(warning("held_back", text, remedies.HELD_BACK))
    if not await _arrives(visit, MORE, in_chunks=True):
        text = (
            "Bodies in chunks (of clients that do not know a length) are held back until they are "
            "whole; others are not."
        )
        visit.add(error("buffering_chunked", text, remedies.BUFFERING_IN_CHUNKS))


async def _arrives(visit: Visit, count: int, *, in_chunks: bool = False) -> bool:
    """Tell whether the first bytes of a body arrive before the rest of it is sent."""
    upload = await visit.create(BODY)
    arrived = False
    sending = visit.client.streaming(upload, bytes(count), length=BODY, in_chunks=in_chunks)
    async with sending:
        for _ in range(LOOKS):
            await asyncio.sleep(PAUSE)
            arrived = await visit.offset(upload) > 0
            if arrived:
                break
    await visit.drop(upload)
    return arrived
