"""Clients that go on sending what was refused, as browsers do: they read the answer afterwards."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.content import GIB, MIB
from tests.support.raw import Tus, WireError
from tests.support.waiting import Late, check_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import TusServer

PIECE = 64 * 1024
PAUSE = 0.05


@pytest.fixture
def tus(pool: Callable[..., TusServer]) -> Tus:
    return Tus(pool("program").url)


def send_a_refused_body(tus: Tus, announced: int, sent: int) -> tuple[float, int]:
    """Send a part of a body that was refused, reading nothing; give the seconds and the status."""
    target = tus.create(GIB)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 5, b"", {"Content-Length": str(announced)}))
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            wire.trickle(bytes(sent), size=PIECE, pause=PAUSE)
        seconds = time.monotonic() - start
        try:
            return seconds, wire.response("PATCH").status
        except (OSError, WireError) as error:
            raise Late("one of both stood still for a second and it was ended") from error


def test_a_client_that_cannot_be_through_in_time_is_stopped_soon(tus: Tus) -> None:
    seconds, status = send_a_refused_body(tus, GIB, 8 * MIB)
    assert status == 409
    assert seconds > 0.5
    check_time(seconds, 3)


def test_a_client_that_can_be_through_in_time_is_read_from(tus: Tus) -> None:
    seconds, status = send_a_refused_body(tus, 3 * MIB, 3 * MIB)
    assert status == 409
    if seconds < 2:
        raise Late("one of both stood still for a second and it was ended")
