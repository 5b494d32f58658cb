from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.support.raw import chunked

if TYPE_CHECKING:
    from tests.support.raw import Tus

DATA = b"hello world"
SHA1 = "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
SHA1_OF_NOTHING = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
VECTORS = {
    "sha1": "Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "md5": "XrY7u+Ae7tCTyyK7j1rNww==",
    "sha256": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=",
    "sha512": (
        "MJ7MSJwS1utMxA9QyQLytNDtd+5RGnx6m808qG1M2G+YndNbxf9JlnDaNCVbRbDP2DDoH2Bdz33FVC6TrpzXbw=="
    ),
    "crc32c": "yZRlqg==",
    "crc32": "DUoRhQ==",
}
MALFORMED = {
    "no digest": "sha1",
    "empty digest": "sha1 ",
    "no base64": "sha1 !!",
    "no algorithm": " AAA=",
    "three words": "sha1 a b",
    "empty": "",
    "no padding": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0",
    "url-safe alphabet": "sha1 Kq5sNclPz7QV2-lfQIuc6R7oRu0=",
    "two in one": f"{SHA1},{SHA1}",
}


def _checksum(value: str) -> dict[str, str]:
    return {"Upload-Checksum": value}


@pytest.mark.clause("CHK-01", "CHK-02", "CHK-11")
def test_every_announced_algorithm_computes_what_it_should(tus: Tus) -> None:
    announced = (tus.options().get("Tus-Checksum-Algorithm") or "").split(",")
    assert set(announced) >= {"sha1", "sha256", "sha512", "md5"}
    for name in announced:
        target = tus.create(len(DATA))
        wrong = b64encode(bytes(len(VECTORS[name]) * 3 // 4 - VECTORS[name].count("="))).decode()
        assert tus.patch(target, 0, DATA, _checksum(f"{name} {wrong}")).status == 460
        assert tus.patch(target, 0, DATA, _checksum(f"{name} {VECTORS[name]}")).status == 204


@pytest.mark.clause("CHK-02")
def test_a_right_digest_is_accepted(tus: Tus) -> None:
    target = tus.create(len(DATA))
    answer = tus.patch(target, 0, DATA, _checksum(SHA1))
    assert (answer.status, answer.offset) == (204, len(DATA))
    assert tus.content(target) == DATA


@pytest.mark.clause("CHK-02", "CHK-03", "CORE-PATCH-19")
def test_chunked_bodies_are_verified_too(tus: Tus) -> None:
    fields = {"Content-Length": None, "Transfer-Encoding": "chunked", **_checksum(SHA1)}
    target = tus.create(len(DATA))
    assert tus.patch(target, 0, chunked(b"hello ", b"wurld"), fields).status == 460
    assert tus.offset(target) == 0
    assert tus.patch(target, 0, chunked(b"hello ", b"world"), fields).status == 204


@pytest.mark.clause("CHK-03")
@pytest.mark.parametrize("done", [b"", b"begin"], ids=["start", "middle"])
def test_a_wrong_digest_keeps_nothing_and_the_right_bytes_can_follow(tus: Tus, done: bytes) -> None:
    target = tus.create(len(done + DATA), body=done)
    before = tus.snapshot(target)
    with tus.wire() as wire:
        answer = tus.patch(target, len(done), b"hello wurld", _checksum(SHA1), wire=wire)
        assert (answer.status, answer.reason) == (460, "Checksum Mismatch")
        assert answer.offset is None
    assert tus.snapshot(target) == before
    assert tus.patch(target, len(done), DATA, _checksum(SHA1)).status == 204
    assert tus.content(target) == done + DATA


@pytest.mark.clause("CHK-03")
def test_a_shorter_right_chunk_after_a_wrong_one_leaves_nothing_of_it(tus: Tus) -> None:
    target = tus.create(len(DATA) + 4)
    assert tus.patch(target, 0, b"X" * 15, _checksum(SHA1)).status == 460
    assert tus.patch(target, 0, DATA, _checksum(SHA1)).status == 204
    assert tus.offset(target) == len(DATA)
    assert tus.patch(target, len(DATA), b"1234").status == 204
    assert tus.content(target) == DATA + b"1234"


@pytest.mark.clause("CHK-03")
def test_a_large_wrong_body_keeps_nothing(tus: Tus) -> None:
    data = bytes(20_000_000)
    target = tus.create(len(data))
    assert tus.patch(target, 0, data, _checksum(SHA1)).status == 460
    assert tus.offset(target) == 0
    digest = b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    assert tus.patch(target, 0, data, _checksum(f"sha1 {digest}")).offset == len(data)


@pytest.mark.clause("CHK-04")
@pytest.mark.parametrize("name", ["foo", "sha3", "sha-1", "sha1sum"])
def test_an_unknown_algorithm_is_400_before_the_body_is_there(tus: Tus, name: str) -> None:
    target = tus.create(20, body=b"abc")
    before = tus.snapshot(target)
    fields = {**_checksum(f"{name} AAAA"), "Content-Length": "9"}
    assert tus.patch(target, 3, b"", fields).status == 400
    assert tus.patch(target, 3, DATA, _checksum(f"{name} AAAA")).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("CHK-05")
@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_digest_is_400(tus: Tus, value: str) -> None:
    target = tus.create(20, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, DATA, _checksum(value)).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("CHK-06")
def test_a_digest_of_the_wrong_length_is_refused(tus: Tus) -> None:
    target = tus.create(20, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, DATA, _checksum("sha1 AAAA")).status in {400, 460}
    assert tus.snapshot(target) == before


@pytest.mark.clause("CHK-07")
def test_each_request_has_a_digest_of_its_own(tus: Tus) -> None:
    target = tus.create(22)
    for offset in (0, 11):
        assert tus.patch(target, offset, DATA, _checksum(SHA1)).offset == offset + 11
    assert tus.content(target) == DATA * 2


@pytest.mark.clause("CHK-07")
def test_an_empty_body_has_the_digest_of_nothing(tus: Tus) -> None:
    target = tus.create(11)
    assert tus.patch(target, 0, b"", _checksum(SHA1_OF_NOTHING)).status == 204
    assert tus.patch(target, 0, b"", _checksum(SHA1)).status == 460
    assert tus.offset(target) == 0


@pytest.mark.clause("CHK-08")
@pytest.mark.parametrize("how", ["half-close", "close", "reset"])
def test_a_body_that_breaks_off_counts_for_nothing(tus: Tus, how: str, *, is_program: bool) -> None:
    target = tus.create(20, body=b"abc")
    before = tus.snapshot(target)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 3, DATA, {**_checksum(SHA1), "Content-Length": "17"}))
        assert wire.is_silent()
        {"half-close": wire.half_close, "close": wire.close, "reset": wire.reset}[how]()
        if how == "half-close" and is_program:
            assert wire.response("PATCH").status in {400, 460}
    assert tus.snapshot(target) == before
    assert tus.patch(target, 3, DATA, _checksum(SHA1)).offset == 14


@pytest.mark.clause("CHK-08")
def test_a_running_body_with_a_digest_shows_no_offset_in_between(tus: Tus) -> None:
    target = tus.create(len(DATA))
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", {**_checksum(SHA1), "Content-Length": "11"}))
        for start in range(0, 11, 4):
            wire.send(DATA[start : start + 4])
        assert wire.response("PATCH").status == 204
    target = tus.create(len(DATA))
    with tus.wire() as wire:
        wire.send(
            tus.append_message(target, 0, DATA[:5], {**_checksum(SHA1), "Content-Length": "11"})
        )
        assert tus.offset(target) == 0
    assert tus.patch(target, 0, DATA, _checksum(SHA1)).status == 204


@pytest.mark.clause("CHK-10")
def test_an_algorithm_in_capitals_is_refused_or_understood(tus: Tus) -> None:
    target = tus.create(11)
    wrong = tus.patch(target, 0, b"hello wurld", _checksum(SHA1.replace("sha1", "SHA1")))
    assert wrong.status in {400, 460}
    right = tus.patch(target, 0, DATA, _checksum(SHA1.replace("sha1", "SHA1")))
    assert right.status in {400, 204}


@pytest.mark.clause("CHK-13", "HTTP-02")
@pytest.mark.parametrize("second", [SHA1, "sha1 AAAA"], ids=["equal", "other"])
def test_two_digests_for_one_body_are_400(tus: Tus, second: str) -> None:
    target = tus.create(11)
    assert tus.patch(target, 0, DATA, {"Upload-Checksum": [SHA1, second]}).status == 400
    assert tus.offset(target) == 0


@pytest.mark.clause("CHK-12")
def test_a_digest_of_a_request_without_upload_data_is_no_fault(tus: Tus) -> None:
    answer = tus.post({"Upload-Length": "10", **_checksum(SHA1_OF_NOTHING)})
    assert answer.status in {201, 400}
