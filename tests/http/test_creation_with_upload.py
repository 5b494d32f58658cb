from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import OFFSET_STREAM, chunked
from tests.support.server import PROGRAM
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Response, Tus

STREAM = {"Content-Type": OFFSET_STREAM}
CHUNKS = {"Content-Length": None, "Transfer-Encoding": "chunked"}


def _offset_after(tus: Tus, answer: Response) -> int:
    return tus.offset(tus.target(answer.get("Location") or ""))


@pytest.mark.clause("CWU-01", "CRE-01")
def test_the_extension_comes_with_creation(tus: Tus) -> None:
    assert {"creation", "creation-with-upload"} <= tus.extensions


@pytest.mark.clause("CWU-02")
def test_a_creation_with_data_tells_the_offset_after_it(tus: Tus) -> None:
    answer = tus.post({**STREAM, "Upload-Length": "100"}, b"hello")
    assert (answer.status, answer.offset) == (201, 5)
    assert _offset_after(tus, answer) == 5


@pytest.mark.clause("CWU-03")
def test_a_creation_that_brings_everything_completes(tus: Tus) -> None:
    answer = tus.post({**STREAM, "Upload-Length": "5"}, b"hello")
    assert (answer.status, answer.offset) == (201, 5)
    assert tus.content(tus.target(answer.get("Location") or "")) == b"hello"


@pytest.mark.clause("CWU-05")
def test_a_body_longer_than_the_length_is_413_and_creates_nothing(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    before = stored()
    answer = tus.post({**STREAM, "Upload-Length": "4"}, b"hello")
    assert (answer.status, answer.get("Location")) == (413, None)
    assert stored() == before


@pytest.mark.clause("CWU-05")
def test_chunks_longer_than_the_length_never_store_more_than_it(tus: Tus) -> None:
    answer = tus.post({**STREAM, **CHUNKS, "Upload-Length": "4"}, chunked(b"hello"))
    assert answer.status in {201, 413}
    if answer.status == 201:
        assert _offset_after(tus, answer) == answer.offset
        assert (answer.offset or 0) <= 4


@pytest.mark.clause("CWU-05", "CRE-10")
def test_a_body_above_the_largest_size_is_413(limited: Tus) -> None:
    fields = {**STREAM, "Upload-Defer-Length": "1"}
    assert limited.post(fields, b"x" * 1001).status == 413


@pytest.mark.clause("CWU-06", "CWU-04")
def test_a_body_that_breaks_off_is_answered_with_location_and_true_offset(
    with_flags: Callable[..., Tus],
) -> None:
    tus = with_flags(PROGRAM)  # on a host's runner the connection ends with the client's FIN
    fields = {**STREAM, "Upload-Length": "100", "Content-Length": "100"}
    with tus.wire() as wire:
        wire.send(tus.message("POST", None, fields, b"x" * 40))
        wire.half_close()
        answer = wire.response("POST")
        assert wire.is_closed()
    assert (answer.status, answer.offset) == (201, 40)
    assert _offset_after(tus, answer) == 40


@pytest.mark.clause("CWU-06", "HTTP-07")
def test_a_malformed_body_is_answered_with_location_and_true_offset(tus: Tus) -> None:
    fields = {**STREAM, **CHUNKS, "Upload-Length": "100"}
    with tus.wire() as wire:
        wire.send(tus.message("POST", None, fields))
        wire.send(chunked(b"hello", end=False))
        assert wire.is_silent()
        wire.send(b"zzz\r\n")
        answer = wire.response("POST")
        assert wire.is_closed()
    if answer.status == 201:
        assert _offset_after(tus, answer) == answer.offset == 5
    else:
        # A connection whose framing is lost may be given up at once.
        assert answer.status == 400


@pytest.mark.clause("CWU-04", "CORE-PATCH-16", "HTTP-27")
def test_what_arrived_of_a_creation_is_kept_when_the_client_goes(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    before = stored()
    fields = {**STREAM, "Upload-Length": "100", "Content-Length": "100"}
    with tus.wire() as wire:
        wire.send(tus.message("POST", None, fields, b"x" * 40))
        wire.close()
    assert eventually(lambda: stored() != before)
    [name] = stored() - before
    # The file is there before the record is.
    assert eventually(lambda: tus.head(tus.path + name).status == 200)
    assert tus.settle(tus.path + name, 40) == 40


@pytest.mark.clause("CWU-07", "HTTP-08")
def test_100_continue_comes_before_the_body(tus: Tus) -> None:
    fields = {**STREAM, "Upload-Length": "5", "Content-Length": "5", "Expect": "100-continue"}
    with tus.wire() as wire:
        wire.send(tus.message("POST", None, fields))
        assert wire.interim().status == 100
        wire.send(b"hello")
        answer = wire.response("POST")
    assert (answer.status, answer.offset, answer.interim) == (201, 5, ())


@pytest.mark.clause("CWU-07", "HTTP-08")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Upload-Length": "4"}, 413),
        ({"Upload-Length": "x"}, 400),
        ({"Upload-Length": "5", "Tus-Resumable": "0.1.0"}, 412),
        ({"Upload-Length": "5", "Upload-Checksum": "foo AAAA"}, 400),
        ({"Upload-Length": "5", "Content-Encoding": "gzip"}, 415),
    ],
    ids=["too long", "no length", "version", "algorithm", "encoding"],
)
def test_a_refusal_comes_instead_of_100_continue(
    tus: Tus, fields: dict[str, str], status: int
) -> None:
    with tus.wire() as wire:
        wire.send(
            tus.message(
                "POST", None, {**STREAM, "Content-Length": "5", "Expect": "100-continue", **fields}
            )
        )
        answer = wire.response("POST")
    assert (answer.status, answer.interim) == (status, ())


@pytest.mark.clause("CWU-08")
@pytest.mark.parametrize("length", ["11", None], ids=["length", "deferred"])
def test_a_chunked_body_works(tus: Tus, length: str | None) -> None:
    size = {"Upload-Length": length} if length else {"Upload-Defer-Length": "1"}
    answer = tus.post({**STREAM, **CHUNKS, **size}, chunked(b"hello ", b"world"))
    assert (answer.status, answer.offset) == (201, 11)
    assert _offset_after(tus, answer) == 11


@pytest.mark.clause("CWU-09", "CHK-02")
def test_a_right_digest_of_the_data_is_accepted(tus: Tus) -> None:
    fields = {
        **STREAM,
        "Upload-Length": "20",
        "Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    }
    answer = tus.post(fields, b"hello world")
    assert (answer.status, answer.offset) == (201, 11)


@pytest.mark.clause("CWU-09", "CHK-03")
def test_a_wrong_digest_of_the_data_keeps_none_of_it(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    before = stored()
    fields = {
        **STREAM,
        "Upload-Length": "20",
        "Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    }
    answer = tus.post(fields, b"hello wurld")
    assert answer.status in {460, 201}
    if answer.status == 201:
        assert answer.offset == 0
    for name in stored() - before:
        assert tus.offset(tus.path + name) == 0


@pytest.mark.clause("CWU-10")
def test_a_final_upload_cannot_be_created_with_data(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    part = tus.upload(b"part", {"Upload-Concat": "partial"})
    before = stored()
    answer = tus.post({**STREAM, "Upload-Concat": f"final;{part}"}, b"hello")
    assert answer.status in {400, 403}
    assert answer.get("Location") is None
    assert stored() == before


@pytest.mark.clause("CWU-11")
def test_an_empty_body_of_upload_data_is_a_creation_at_offset_0(tus: Tus) -> None:
    answer = tus.post({**STREAM, "Upload-Length": "10"})
    assert (answer.status, answer.offset) == (201, 0)


@pytest.mark.clause("CWU-11", "CWU-08")
def test_an_empty_chunked_body_is_a_creation_at_offset_0(tus: Tus) -> None:
    answer = tus.post({**STREAM, **CHUNKS, "Upload-Length": "10"}, chunked())
    assert (answer.status, answer.offset) == (201, 0)
