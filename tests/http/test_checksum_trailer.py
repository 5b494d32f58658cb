from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import OFFSET_STREAM, chunked, kept
from tests.support.server import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.raw import Fields, Response, Tus

DATA = (b"hello ", b"world")
RIGHT = "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
WRONG = "Upload-Checksum: sha1 Aq5sNclPz7QV2+lfQIuc6R7oRu0="
CHUNKS = {"Content-Length": None, "Transfer-Encoding": "chunked"}


@pytest.fixture
def trailing(with_flags: Callable[..., Tus]) -> Tus:
    """Give the program: a host's runner delivers no trailers, and nothing is announced there."""
    tus = with_flags(PROGRAM)
    assert "checksum-trailer" in tus.extensions
    return tus


def _patch(
    tus: Tus, target: str, trailers: Sequence[str], fields: Fields | None = None
) -> Response:
    announced = {**CHUNKS, "Trailer": "Upload-Checksum"}
    return tus.patch(target, 0, chunked(*DATA, trailers=trailers), {**announced, **(fields or {})})


@pytest.mark.clause("CHT-01")
def test_the_program_announces_trailers_and_they_work(tus: Tus, *, is_program: bool) -> None:
    announced = "checksum-trailer" in tus.extensions
    assert announced or not is_program
    target = tus.create(11)
    answer = _patch(tus, target, [WRONG])
    # Where it is not announced a digest in a trailer may be ignored or refused, but then of
    # course it is not verified.
    assert answer.status in ({460} if announced else {204, 400})


@pytest.mark.clause("CHT-02")
@pytest.mark.parametrize("trailer", [RIGHT, RIGHT.lower().replace(RIGHT.lower()[17:], RIGHT[17:])])
def test_a_right_digest_in_the_trailer_is_accepted(trailing: Tus, trailer: str) -> None:
    target = trailing.create(11)
    with trailing.wire() as wire:
        fields = {**CHUNKS, "Trailer": "Upload-Checksum"}
        answer = trailing.patch(target, 0, chunked(*DATA, trailers=[trailer]), fields, wire=wire)
        assert (answer.status, answer.offset) == (204, 11)
        assert trailing.head(target, wire=wire).offset == 11
    assert trailing.content(target) == b"hello world"


@pytest.mark.clause("CHT-02")
def test_a_trailer_that_arrives_byte_by_byte_is_read(trailing: Tus) -> None:
    target = trailing.create(11)
    fields = {**CHUNKS, "Trailer": "Upload-Checksum"}
    with trailing.wire() as wire:
        wire.send(trailing.append_message(target, 0, b"", fields))
        wire.trickle(chunked(*DATA, trailers=[RIGHT]), pause=0.001)
        assert wire.response("PATCH").offset == 11


@pytest.mark.clause("CHT-03", "CHK-03")
def test_a_wrong_digest_in_the_trailer_keeps_nothing(trailing: Tus) -> None:
    target = trailing.create(11)
    before = trailing.snapshot(target)
    assert _patch(trailing, target, [WRONG]).status == 460
    assert trailing.snapshot(target) == before
    assert _patch(trailing, target, [RIGHT]).status == 204
    assert trailing.content(target) == b"hello world"


@pytest.mark.clause("CHT-03", "CHK-04")
def test_an_unknown_algorithm_in_the_trailer_is_400_and_keeps_nothing(trailing: Tus) -> None:
    target = trailing.create(11)
    assert _patch(trailing, target, ["Upload-Checksum: foo AAAA"]).status == 400
    assert trailing.offset(target) == 0


@pytest.mark.clause("CHT-04")
@pytest.mark.parametrize(
    "trailers",
    [[], ["X-Other: 1"], ["Upload-Checksum:"], ["Upload-Checksum: sha1"]],
    ids=["none", "another", "empty", "malformed"],
)
def test_an_announced_trailer_that_does_not_come_is_refused(
    trailing: Tus, trailers: list[str]
) -> None:
    target = trailing.create(11)
    assert _patch(trailing, target, trailers).status in {400, 460}
    assert trailing.offset(target) == 0


@pytest.mark.clause("CHT-04", "CHK-08")
def test_a_body_that_breaks_off_before_its_trailer_keeps_nothing(trailing: Tus) -> None:
    target = trailing.create(11)
    fields = {**CHUNKS, "Trailer": "Upload-Checksum"}
    with trailing.wire() as wire:
        wire.send(trailing.append_message(target, 0, chunked(*DATA, end=False), fields))
        assert wire.is_silent()
        wire.half_close()
        assert wire.response("PATCH").status in {400, 460}
    assert trailing.offset(target) == 0


@pytest.mark.clause("CHT-05")
def test_a_digest_in_header_and_trailer_is_400(trailing: Tus) -> None:
    target = trailing.create(11)
    header = {"Upload-Checksum": RIGHT.partition(": ")[2]}
    assert _patch(trailing, target, [RIGHT], header).status == 400
    assert trailing.offset(target) == 0


@pytest.mark.clause("CHT-06")
def test_a_trailer_that_nobody_announced_does_no_harm(tus: Tus) -> None:
    target = tus.create(11)
    with tus.wire() as wire:
        body = chunked(*DATA, trailers=[RIGHT, "X-Other: 1"])
        answer = tus.patch(target, 0, body, CHUNKS, wire=wire)
        assert (answer.status, answer.offset) == (204, 11)
        assert tus.head(target, wire=kept(answer, wire)).offset == 11


@pytest.mark.clause("CHT-07")
@pytest.mark.parametrize(
    "trailer",
    ["Upload-Offset: 0", "Upload-Length: 11", "Authorization: evil", "X-A: b"],
)
def test_trailer_fields_never_become_header_fields(tus: Tus, trailer: str) -> None:
    target = tus.create(20, body=b"abc")
    fields = {**CHUNKS, "Trailer": trailer.partition(":")[0]}
    with tus.wire() as wire:
        body = chunked(*DATA, trailers=[trailer])
        answer = tus.patch(target, 3, body, fields, wire=wire)
        assert (answer.status, answer.offset) == (204, 14)
        head = tus.head(target, wire=kept(answer, wire))
    assert (head.offset, head.get("Upload-Length")) == (14, "20")


@pytest.mark.clause("CHT-07", "CORE-PATCH-07")
def test_an_offset_in_the_trailer_does_not_count(tus: Tus) -> None:
    target = tus.create(20)
    fields = {
        **CHUNKS,
        "Content-Type": OFFSET_STREAM,
        "Upload-Offset": None,
        "Trailer": "Upload-Offset",
    }
    body = chunked(*DATA, trailers=["Upload-Offset: 0"])
    assert tus.patch(target, 0, body, fields).status == 400
    assert tus.offset(target) == 0


@pytest.mark.clause("CHT-07")
@pytest.mark.parametrize("trailer", ["Content-Length: 99", "Host: evil", "Transfer-Encoding: x"])
def test_a_trailer_that_would_frame_or_route_is_ignored_or_the_end(tus: Tus, trailer: str) -> None:
    target = tus.create(20, body=b"abc")
    with tus.wire() as wire:
        answer = tus.patch(target, 3, chunked(*DATA, trailers=[trailer]), CHUNKS, wire=wire)
        assert (answer.status, answer.offset) in {(204, 14), (400, None)}
        if answer.status == 204 and not answer.closes:
            head = tus.head(target, wire=wire)
            assert (head.status, head.offset) in {(200, 14), (400, None)}
    assert tus.offset(target) == (14 if answer.status == 204 else 3)


@pytest.mark.clause("CHT-07", "HTTP-06")
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
def test_a_trailer_never_becomes_a_field_of_the_next_request(tus: Tus, *, announced: bool) -> None:
    """Behind a proxy, the next request on the connection may be that of another user."""
    target, other = tus.create(11), tus.upload(b"hello")
    fields = {**CHUNKS, "Trailer": "X-HTTP-Method-Override"} if announced else CHUNKS
    body = chunked(*DATA, trailers=["X-HTTP-Method-Override: DELETE"])
    with tus.wire() as wire:
        answer = tus.patch(target, 0, body, fields, wire=wire)
        assert (answer.status, answer.offset) == (204, 11)
        if not answer.closes:
            tus.request("GET", other, wire=wire)
    assert tus.offset(other) == 5
