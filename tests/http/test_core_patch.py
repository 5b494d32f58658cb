from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN
from tests.support.raw import OFFSET_STREAM, chunked

if TYPE_CHECKING:
    from tests.support.raw import Tus

NOT_INTEGERS = {
    "negative": "-1",
    "plus sign": "+3",
    "decimal": "3.0",
    "word": "abc",
    "empty": "",
    "hexadecimal": "0x3",
    "blank inside": "1 3",
    "exponent": "3e0",
    "underscore": "0_3",
    "arabic digit": "\u0663",
    "superscript": "\u00b3",
    "list": "3, 3",
    "no-break space": "3\u00a0",
}
HUGE = {"2^63": str(2**63), "2^64+3": str(2**64 + 3), "10^30": str(10**30), "long": "9" * 4000}


@pytest.mark.clause("CORE-PATCH-01", "CORE-PATCH-02", "CORE-PATCH-03")
def test_patches_follow_each_other_to_the_end(tus: Tus) -> None:
    data = bytes(range(100))
    target = tus.create(100)
    first = tus.patch(target, 0, data[:70])
    last = tus.patch(target, 70, data[70:])
    assert [answer.status for answer in (first, last)] == [204, 204]
    assert [answer.get("Upload-Offset") for answer in (first, last)] == ["70", "100"]
    assert tus.content(target) == data


@pytest.mark.clause("CORE-PATCH-02")
def test_the_answer_to_patch_has_no_body(tus: Tus) -> None:
    target = tus.create(10)
    with tus.wire() as wire:
        answer = tus.patch(target, 0, b"abc", wire=wire)
        assert answer.status == 204
        assert answer.get("Content-Length") is None
        assert answer.get("Transfer-Encoding") is None
        assert wire.is_silent()
        assert tus.patch(target, 3, b"def", wire=wire).offset == 6


@pytest.mark.clause("CORE-PATCH-04")
@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/octet-stream", "offset+octet-stream", "*/*"],
)
def test_another_content_type_is_415(tus: Tus, kind: str | None) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, b"def", {"Content-Type": kind}).status == 415
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-05")
@pytest.mark.parametrize(
    "kind",
    [
        "Application/Offset+Octet-Stream",
        OFFSET_STREAM + "; charset=utf-8",
        OFFSET_STREAM + ";charset=utf-8",
        OFFSET_STREAM + " ; x=y",
    ],
)
def test_case_and_parameters_of_the_content_type_do_not_count(tus: Tus, kind: str) -> None:
    target = tus.create(3)
    assert tus.patch(target, 0, b"abc", {"Content-Type": kind}).status == 204


@pytest.mark.clause("CORE-PATCH-06")
@pytest.mark.parametrize("offset", [0, 4, 6, 9, 10, 11, 2**31, 2**53 + 1, 2**63 - 1], ids=str)
def test_another_offset_is_409_and_tells_the_true_one(tus: Tus, offset: int) -> None:
    target = tus.create(10, body=b"abcde")
    before = tus.snapshot(target)
    answer = tus.patch(target, offset, b"x")
    assert (answer.status, answer.offset) == (409, 5)
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-06")
@pytest.mark.parametrize("body", [b"", b"x"], ids=["empty", "more"])
def test_another_offset_is_409_on_a_complete_upload_too(tus: Tus, body: bytes) -> None:
    target = tus.upload(b"abcde")
    before = tus.snapshot(target)
    for offset in (0, 4, 6):
        answer = tus.patch(target, offset, body)
        assert (answer.status, answer.offset) == (409, 5)
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-07")
def test_a_missing_offset_is_400(tus: Tus) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, b"def", {"Upload-Offset": None}).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-08")
@pytest.mark.parametrize("offset", NOT_INTEGERS.values(), ids=NOT_INTEGERS.keys())
def test_an_offset_that_is_no_integer_is_400(tus: Tus, offset: str) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, b"def", {"Upload-Offset": offset}).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-08")
def test_leading_zeros_are_never_octal(tus: Tus) -> None:
    target = tus.create(20, body=b"0123456789")
    answer = tus.patch(target, 10, b"x", {"Upload-Offset": "0010"})
    assert answer.status in {204, 400}
    assert tus.offset(target) == (11 if answer.status == 204 else 10)
    assert tus.patch(target, 8, b"x", {"Upload-Offset": "012"}).status in {409, 400}


@pytest.mark.clause("CORE-PATCH-09")
@pytest.mark.parametrize("offset", HUGE.values(), ids=HUGE.keys())
def test_a_huge_offset_is_400(tus: Tus, offset: str) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, b"def", {"Upload-Offset": offset}).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-10")
@pytest.mark.parametrize("offset", [0, 7], ids=["start", "later"])
def test_a_patch_on_nothing_is_404(tus: Tus, offset: int) -> None:
    answer = tus.patch(tus.path + UNKNOWN, offset, b"abc")
    assert (answer.status, answer.offset) == (404, None)


@pytest.mark.clause("CORE-PATCH-10")
def test_a_patch_on_nothing_is_404_before_its_body_is_there(tus: Tus) -> None:
    assert tus.patch(tus.path + UNKNOWN, 0, b"", {"Content-Length": "9"}).status == 404


@pytest.mark.clause("CORE-PATCH-11", "HTTP-26")
@pytest.mark.parametrize("done", [b"", b"abc"], ids=["start", "middle"])
def test_an_empty_patch_works_and_changes_nothing(tus: Tus, done: bytes) -> None:
    target = tus.create(10, body=done)
    before = tus.snapshot(target)
    for _ in range(3):
        answer = tus.patch(target, len(done))
        assert (answer.status, answer.offset) == (204, len(done))
    assert tus.snapshot(target) == before
    assert tus.patch(target, len(done), b"x").status == 204


@pytest.mark.clause("CORE-PATCH-12")
def test_an_empty_patch_at_the_end_of_a_complete_upload_is_204(tus: Tus) -> None:
    target = tus.upload(b"abcde")
    for _ in range(2):
        answer = tus.patch(target, 5)
        assert (answer.status, answer.offset) == (204, 5)
    assert tus.content(target) == b"abcde"


@pytest.mark.clause("CORE-PATCH-13")
def test_more_bytes_for_a_complete_upload_are_413(tus: Tus) -> None:
    target = tus.upload(b"abcde")
    before = tus.snapshot(target)
    assert tus.patch(target, 5, b"f").status == 413
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-13")
def test_more_chunks_for_a_complete_upload_are_413(tus: Tus) -> None:
    target = tus.upload(b"abcde")
    before = tus.snapshot(target)
    fields = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    assert tus.patch(target, 5, chunked(b"f"), fields).status == 413
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-PATCH-14")
def test_an_announced_body_beyond_the_length_is_413_before_it_is_sent(tus: Tus) -> None:
    target = tus.create(10, body=b"abcde")
    before = tus.snapshot(target)
    assert tus.patch(target, 5, b"", {"Content-Length": "6"}).status == 413
    assert tus.patch(target, 5, b"123456").status == 413
    assert tus.snapshot(target) == before
    assert tus.patch(target, 5, b"fghij").status == 204
    assert tus.content(target) == b"abcdefghij"


@pytest.mark.clause("CORE-PATCH-14")
def test_an_absurd_announced_length_is_413(tus: Tus) -> None:
    target = tus.create(10)
    assert tus.patch(target, 0, b"", {"Content-Length": str(2**62)}).status == 413
    assert tus.offset(target) == 0


@pytest.mark.clause("CORE-PATCH-15")
@pytest.mark.parametrize(
    "pieces",
    [(b"fghijXYZ",), (b"fg", b"hij", b"X"), (b"fghij", b"X")],
    ids=["one chunk", "later chunk", "at the border"],
)
def test_an_over_long_chunked_body_is_413_and_keeps_the_prefix(
    tus: Tus, pieces: tuple[bytes, ...]
) -> None:
    target = tus.create(10, body=b"abcde")
    fields = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    assert tus.patch(target, 5, chunked(*pieces), fields).status == 413
    assert tus.offset(target) == 10
    assert tus.content(target) == b"abcdefghij"


@pytest.mark.clause("CORE-PATCH-19")
@pytest.mark.parametrize("pieces", [(), (b"hello world",), (b"hel", b"lo wo", b"rld")], ids=len)
def test_a_chunked_patch_works(tus: Tus, pieces: tuple[bytes, ...]) -> None:
    target = tus.create(11)
    fields = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    answer = tus.patch(target, 0, chunked(*pieces), fields)
    assert (answer.status, answer.offset) == (204, 11 if pieces else 0)


@pytest.mark.clause("CORE-PATCH-22")
def test_a_patch_on_the_creation_url_is_405(tus: Tus) -> None:
    answer = tus.patch(tus.path, 0, b"abc")
    assert answer.status == 405
    assert answer.listed("Allow") >= {"post", "options"}
    assert "patch" not in answer.listed("Allow")


@pytest.mark.clause("CORE-PATCH-23", "CORE-VER-01")
@pytest.mark.parametrize("method", ["PUT", "POST", "PROPFIND", "TRACE"])
def test_a_method_that_uploads_do_not_have_is_405(tus: Tus, method: str) -> None:
    target = tus.create(5)
    answer = tus.request(method, target, {"Content-Length": "0"})
    assert answer.status == 405
    assert answer.get("Tus-Resumable") == "1.0.0"
    assert answer.listed("Allow") >= {"head", "patch", "delete", "options"}
    assert method.lower() not in answer.listed("Allow")


@pytest.mark.clause("CORE-PATCH-23", "CORE-VER-01")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_a_method_that_the_creation_url_does_not_have_is_405_or_404(tus: Tus, method: str) -> None:
    answer = tus.request(method, tus.path)
    assert answer.status in {405, 404}
    assert answer.get("Tus-Resumable") == "1.0.0"


@pytest.mark.clause("CORE-PATCH-23", "CORE-VER-01")
def test_a_method_that_nobody_knows_is_refused(tus: Tus, *, is_program: bool) -> None:
    answer = tus.request("BREW", tus.create(5), {"Content-Length": "0"})
    assert answer.status in {400, 405, 501}
    if is_program:
        assert answer.get("Tus-Resumable") == "1.0.0"
