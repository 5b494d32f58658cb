"""Messages that HTTP does not allow, and connections that end as none should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults import FAULTS, Fault
from tests.support.raw import OFFSET_STREAM, WireError, chunked

if TYPE_CHECKING:
    from tests.support.raw import Tus
    from tests.support.served import Served

CHUNKS = {"Content-Length": None, "Transfer-Encoding": "chunked"}
BAD_FRAMING: dict[str, dict[str, str | list[str] | None]] = {
    "negative": {"Content-Length": "-5"},
    "plus sign": {"Content-Length": "+5"},
    "word": {"Content-Length": "abc"},
    "empty": {"Content-Length": ""},
    "decimal": {"Content-Length": "5.0"},
    "list": {"Content-Length": "5, 6"},
    "two different": {"Content-Length": ["5", "6"]},
    "huge": {"Content-Length": str(10**30)},
    "with chunked": {"Content-Length": "5", "Transfer-Encoding": "chunked"},
    "unknown coding": {"Content-Length": None, "Transfer-Encoding": "gzip"},
    "chunked not last": {"Content-Length": None, "Transfer-Encoding": "chunked, gzip"},
    "chunked twice": {"Content-Length": None, "Transfer-Encoding": "chunked, chunked"},
}
SINGLE = {
    "Upload-Offset": ["3", "4"],
    "Upload-Length": ["10", "11"],
    "Content-Type": [OFFSET_STREAM, "text/plain"],
    "Tus-Resumable": ["1.0.0", "0.2.2"],
    "X-HTTP-Method-Override": ["PATCH", "DELETE"],
}


@pytest.mark.clause("HTTP-02")
@pytest.mark.parametrize("name", SINGLE)
def test_a_single_field_with_two_values_is_400(tus: Tus, name: str) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    for values in (SINGLE[name], SINGLE[name][::-1]):
        answer = tus.patch(target, 3, b"defg", {name: values})
        assert answer.status in {400, 412} if name == "Tus-Resumable" else answer.status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("HTTP-02", "CRE-07")
@pytest.mark.parametrize("values", [["5", "6"], ["5", ""]], ids=str)
def test_two_lengths_of_a_creation_are_400(tus: Tus, values: list[str]) -> None:
    answer = tus.post({"Upload-Length": values})
    assert (answer.status, answer.get("Location")) == (400, None)


@pytest.mark.clause("HTTP-02")
def test_two_equal_values_are_400_or_one(tus: Tus) -> None:
    target = tus.create(10, body=b"abc")
    answer = tus.patch(target, 3, b"def", {"Upload-Offset": ["3", "3"]})
    assert (answer.status, tus.offset(target)) in {(400, 3), (204, 6)}


@pytest.mark.clause("HTTP-04", "CORE-VER-01")
@pytest.mark.parametrize("fields", BAD_FRAMING.values(), ids=BAD_FRAMING.keys())
def test_a_bad_framing_is_400_and_the_end(
    tus: Tus, fields: dict[str, str | list[str] | None], *, is_program: bool
) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    body = chunked(b"defgh") if "Transfer-Encoding" in fields else b"defgh"
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 3, body, fields))
        answer = wire.response("PATCH")
        assert answer.status in {400, 501} | ({413} if fields == BAD_FRAMING["huge"] else set())
        assert wire.is_closed()
    if is_program:
        assert answer.get("Tus-Resumable") == "1.0.0"
    assert tus.snapshot(target) == before


@pytest.mark.clause("HTTP-04", "CORE-VER-01")
@pytest.mark.parametrize(
    "head",
    [
        b"BREW\r\n\r\n",
        b"GET\x00 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["word", "nul", "version", "folded", "name", "blank", "nul value", "tls"],
)
def test_what_is_not_http_is_400_and_the_end(tus: Tus, head: bytes, *, is_program: bool) -> None:
    with tus.wire() as wire:
        wire.send(head)
        answer = wire.response()
        assert answer.status in {400, 505}
        assert wire.is_closed()
    if is_program:
        assert answer.get("Tus-Resumable") == "1.0.0"
    assert tus.options().status == 204


@pytest.mark.clause("HTTP-05", "CORE-PATCH-16", "CORE-PATCH-17")
def test_a_body_that_ends_early_keeps_its_prefix_and_ends_the_connection(
    tus: Tus, *, is_program: bool
) -> None:
    target = tus.create(100)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"x" * 60, {"Content-Length": "100"}))
        wire.half_close()
        if is_program:
            answer = wire.response("PATCH")
            assert (answer.status, answer.offset) == (400, None)
        # A host's runner takes the client's FIN for the end of the connection.
        assert wire.is_closed()
    assert tus.settle(target, 60) == 60
    assert tus.patch(target, 60, b"y" * 40).status == 204
    assert tus.content(target) == b"x" * 60 + b"y" * 40


@pytest.mark.clause("CORE-PATCH-16", "CORE-PATCH-17", "HTTP-27")
@pytest.mark.parametrize("size", [1, 60, 65_536, 3_000_000], ids=str)
@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "length"])
def test_what_arrived_before_the_client_went_is_kept(
    tus: Served, size: int, *, chunks: bool
) -> None:
    data = bytes(range(256)) * 16_384
    target = tus.create(len(data))
    fields = CHUNKS if chunks else {"Content-Length": str(len(data))}
    body = chunked(data[:size], end=False) if chunks else data[:size]
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, body, fields))
        wire.close()
    # An append is silent for a HEAD that comes before its bytes do.
    assert tus.holds(target, data[:size])
    assert tus.settle(target, size) == size
    assert tus.patch(target, size, data[size:]).status == 204
    assert tus.content(target) == data


@pytest.mark.clause("CORE-PATCH-16", "CORE-PATCH-17", "HTTP-27")
def test_what_arrived_before_a_reset_is_a_true_prefix(tus: Tus) -> None:
    data = bytes(range(256)) * 16_384
    target = tus.create(len(data))
    with tus.wire() as wire:
        fields = {"Content-Length": str(len(data))}
        wire.send(tus.append_message(target, 0, data[:1_000_000], fields))
        assert wire.is_silent()
        wire.reset()
    offset = tus.settle(target, 1_000_000)
    assert 0 < offset <= 1_000_000
    assert tus.patch(target, offset, data[offset:]).status == 204
    assert tus.content(target) == data


@pytest.mark.clause("HTTP-07")
@pytest.mark.parametrize(
    "rest",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"5 \x00\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"0x5\r\n",
        b"f" * 20 + b"\r\n",
    ],
    ids=["word", "negative", "nul", "no end of chunk", "prefix", "huge"],
)
def test_a_broken_chunk_is_400_and_the_end_and_keeps_what_came_before(
    tus: Served, rest: bytes
) -> None:
    target = tus.create(100)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, chunked(b"x" * 10, end=False), CHUNKS))
        # What comes together with a broken chunk is lost with it.
        assert tus.holds(target, b"x" * 10)
        wire.send(rest)
        assert wire.response("PATCH").status == 400
        assert wire.is_closed()
    offset = tus.offset(target)
    assert offset in ({10, 15} if b"hello" in rest else {10})
    assert tus.patch(target, offset, b"y" * (100 - offset)).status == 204


@pytest.mark.clause("HTTP-07", "HTTP-05")
def test_a_missing_last_chunk_keeps_the_prefix(tus: Tus, *, is_program: bool) -> None:
    target = tus.create(100)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, chunked(b"x" * 10, end=False), CHUNKS))
        wire.half_close()
        if is_program:
            assert wire.response("PATCH").status == 400
        assert wire.is_closed()
    assert tus.settle(target, 10) == 10


@pytest.mark.clause("HTTP-09", "CORE-VER-01")
@pytest.mark.parametrize(
    ("offset", "fields", "status"),
    [
        (5, {}, 409),
        (3, {"Content-Type": "text/plain"}, 415),
        (3, {"Tus-Resumable": "0.1.0"}, 412),
        (3, {"Upload-Checksum": "foo AAAA"}, 400),
    ],
    ids=["offset", "type", "version", "algorithm"],
)
@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "length"])
def test_a_client_that_still_sends_can_read_the_refusal(
    tus: Tus, offset: int, fields: dict[str, str], status: int, *, chunks: bool
) -> None:
    size = 16_000_000
    target = tus.create(size, body=b"abc")
    framing = CHUNKS if chunks else {"Content-Length": str(size - 3)}
    with tus.wire() as wire:
        wire.send(tus.append_message(target, offset, b"", {**framing, **fields}))
        # A client that never looks before it has sent everything.
        piece = chunked(bytes(65_536), end=False) if chunks else bytes(65_536)
        for _ in range(200):
            wire.send(piece)
        answer = wire.response("PATCH")
    assert answer.status == status
    assert answer.closes
    assert tus.offset(target) == 3


@pytest.mark.clause("HTTP-09", "HTTP-19")
def test_a_client_that_looks_while_it_sends_100_mb_sees_the_refusal(tus: Tus) -> None:
    size = 100_000_000
    target = tus.create(size, body=b"abc")
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 5, b"", {"Content-Length": str(size)}))
        wire.flood(size)
        answer = wire.response("PATCH")
    assert (answer.status, answer.offset) == (409, 3)
    assert tus.offset(target) == 3


@pytest.mark.clause("HTTP-16")
def test_a_missing_host_is_400(tus: Tus) -> None:
    with tus.wire() as wire:
        wire.send(tus.message("OPTIONS", tus.path, {"Host": None}))
        assert wire.response("OPTIONS").status == 400
    answer = tus.request("OPTIONS", tus.path, {"Host": None}, version="HTTP/1.0")
    assert answer.status == 204


@pytest.mark.clause("HTTP-16")
def test_two_hosts_are_400(tus: Tus) -> None:
    assert tus.options(None, {"Host": ["a", "b"]}).status == 400


@pytest.mark.clause("HTTP-19", "HTTP-09")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_after_every_refusal_the_connection_is_in_step_or_closed(tus: Tus, fault: Fault) -> None:
    target = tus.create(10, body=b"abc")
    with tus.wire() as wire:
        wire.send(fault.make(tus, {}))
        answer = wire.response(fault.method)
        assert answer.status == fault.status
        if answer.closes:
            assert wire.is_closed()
            return
        wire.send(tus.message("HEAD", target))
        try:
            assert wire.response("HEAD").offset == 3
        except (WireError, ConnectionError) as error:
            raise AssertionError("closed without saying so") from error


@pytest.mark.clause("HTTP-19", "HTTP-18")
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.status != 417], ids=lambda fault: fault.name
)
def test_a_request_pipelined_behind_a_refusal_is_answered_or_the_connection_closed(
    tus: Tus, fault: Fault
) -> None:
    target = tus.create(10, body=b"abc")
    with tus.wire() as wire:
        wire.send(fault.make(tus, {}) + tus.message("HEAD", target))
        answer = wire.response(fault.method)
        assert answer.status == fault.status
        if answer.closes:
            assert wire.is_closed()
        else:
            assert wire.response("HEAD").offset == 3


@pytest.mark.clause("HTTP-24")
@pytest.mark.parametrize("size", [10_000, 200_000], ids=str)
def test_an_over_long_url_is_refused_cleanly(tus: Tus, size: int) -> None:
    with tus.wire() as wire:
        head = tus.message("HEAD", tus.path + "x" * size)
        wire.flood(len(head), piece=head)
        assert wire.response("HEAD").status in {400, 404, 414}
    assert tus.options().status == 204
