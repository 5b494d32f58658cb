"""Clients that stay silent, or nearly so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import MODES
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.waiting import check_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.raw import Wire
    from tests.support.server import TusServer

PATIENCE = 1.0


@pytest.fixture(scope="module", autouse=True)
def silent(pool: Callable[..., TusServer]) -> Iterator[Wire]:
    """A connection that says nothing while the other tests of this module run."""
    tus = Tus(pool("program", "--body-timeout", "1s").url)
    with tus.wire() as wire:
        wire.send(tus.append_message(tus.create(100), 0, b"x" * 60, {"Content-Length": "100"}))
        yield wire


@pytest.mark.clause("CORE-PATCH-18", "CORE-PATCH-16")
def test_a_silent_body_is_ended_and_its_bytes_are_kept(impatient: Tus) -> None:
    target = impatient.create(100)
    with impatient.wire() as wire:
        start = time.monotonic()
        wire.send(impatient.append_message(target, 0, b"x" * 60, {"Content-Length": "100"}))
        answer = wire.response("PATCH")
        took = time.monotonic() - start
        assert took >= PATIENCE * 0.8
        check_time(took, PATIENCE + 2)
        # tus-js-client tries again after 5xx, but not after 408.
        assert answer.status == 503
        assert answer.closes
    assert impatient.offset(target) == 60
    assert impatient.patch(target, 60, b"y" * 40).status == 204


@pytest.mark.clause("CORE-PATCH-18", "CWU-06", "CWU-04")
def test_a_silent_body_of_a_creation_is_ended_and_its_bytes_are_kept(impatient: Tus) -> None:
    fields = {"Upload-Length": "100", "Content-Type": OFFSET_STREAM, "Content-Length": "100"}
    with impatient.wire() as wire:
        wire.send(impatient.message("POST", None, fields, b"x" * 60))
        answer = wire.response("POST")
        assert (answer.status, answer.offset) == (201, 60)
        assert answer.closes
    assert impatient.offset(impatient.target(answer.get("Location") or "")) == 60


@pytest.mark.clause("CORE-PATCH-18", "CHK-08")
def test_a_silent_body_with_a_digest_counts_for_nothing(impatient: Tus) -> None:
    target = impatient.create(100)
    fields = {"Content-Length": "100", "Upload-Checksum": "sha1 " + "A" * 27 + "="}
    with impatient.wire() as wire:
        wire.send(impatient.append_message(target, 0, b"x" * 60, fields))
        assert wire.response("PATCH").status == 503
    assert impatient.offset(target) == 0


@pytest.mark.clause("CORE-PATCH-18")
@pytest.mark.parametrize("mode", MODES)
def test_a_body_that_flows_slowly_is_not_ended(with_flags: Callable[..., Tus], mode: str) -> None:
    tus = with_flags(mode, "--body-timeout", "3s")
    target = tus.create(10)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", {"Content-Length": "10"}))
        wire.trickle(b"0123456789", pause=0.4)
        assert wire.response("PATCH").offset == 10


@pytest.mark.clause("HTTP-20", "CORE-PATCH-18")
def test_a_trickle_that_stops_is_ended_and_its_bytes_are_kept(impatient: Tus) -> None:
    target = impatient.create(1_000_000)
    with impatient.wire() as wire:
        wire.send(impatient.append_message(target, 0, b"", {"Content-Length": "1000000"}))
        wire.trickle(b"01234", pause=0.02)
        assert wire.response("PATCH").status == 503
    assert impatient.offset(target) == 5


@pytest.mark.clause("HTTP-20")
def test_many_half_sent_heads_do_not_keep_others_out(impatient: Tus) -> None:
    wires = [impatient.wire() for _ in range(100)]
    try:
        for wire in wires:
            wire.send(b"PATCH /files/ HTTP/1.1\r\nHost: a\r\nX-")
        assert impatient.options().status == 204
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.clause("CORE-PATCH-18", "HTTP-09")
def test_the_connection_of_a_silent_body_is_closed_in_the_end(silent: Wire) -> None:
    assert silent.response("PATCH").status == 503
    # It lingers for ten seconds, so that a client which sends again can read the answer.
    assert silent.is_closed(within=13)
