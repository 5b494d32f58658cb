from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import chunked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Tus


@pytest.mark.clause("DEF-02")
@pytest.mark.parametrize("value", ["0", "2", "true", "", "01", "1,1", "-1", "1.0", "?1"])
def test_a_deferral_that_is_not_1_is_400(
    tus: Tus, stored: Callable[[], set[str]], value: str
) -> None:
    before = stored()
    answer = tus.post({"Upload-Defer-Length": value})
    assert (answer.status, answer.get("Location")) == (400, None)
    assert stored() == before


@pytest.mark.clause("DEF-03", "DEF-12", "CORE-HEAD-02")
def test_head_tells_that_the_length_is_open(tus: Tus) -> None:
    target = tus.create(None)
    for offset in (0, 3):
        head = tus.head(target)
        assert (head.status, head.offset) == (200, offset)
        assert head.get("Upload-Defer-Length") == "1"
        assert head.get("Upload-Length") is None
        assert tus.get(target).status == 404
        assert tus.patch(target, offset, b"abc").status == 204


@pytest.mark.clause("DEF-04")
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
def test_a_patch_settles_the_length(tus: Tus, *, at_once: bool) -> None:
    target = tus.create(None)
    if not at_once:
        tus.patch(target, 0, b"abc")
    offset = 0 if at_once else 3
    answer = tus.patch(target, offset, b"de", {"Upload-Length": "10"})
    assert (answer.status, answer.offset) == (204, offset + 2)
    head = tus.head(target)
    assert head.get("Upload-Length") == "10"
    assert head.get("Upload-Defer-Length") is None


@pytest.mark.clause("DEF-04")
def test_the_patch_that_settles_the_length_may_be_the_last(tus: Tus) -> None:
    target = tus.create(None, body=b"hello")
    assert tus.patch(target, 5, b" world", {"Upload-Length": "11"}).offset == 11
    assert tus.content(target) == b"hello world"


@pytest.mark.clause("DEF-05")
@pytest.mark.parametrize("length", ["9", "11", "0"])
@pytest.mark.parametrize("deferred", [True, False], ids=["once deferred", "never deferred"])
def test_a_settled_length_cannot_be_changed(tus: Tus, length: str, *, deferred: bool) -> None:
    target = tus.create(None if deferred else 10)
    tus.patch(target, 0, b"abc", {"Upload-Length": "10"})
    before = tus.snapshot(target)
    assert tus.patch(target, 3, b"d", {"Upload-Length": length}).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("DEF-05")
def test_the_same_length_again_is_accepted(tus: Tus) -> None:
    target = tus.create(None)
    for offset in (0, 1, 2):
        assert tus.patch(target, offset, b"a", {"Upload-Length": "3"}).offset == offset + 1
    assert tus.content(target) == b"aaa"


@pytest.mark.clause("DEF-04", "DEF-05")
@pytest.mark.parametrize("length", ["-1", "+5", "abc", "", str(2**63)])
def test_a_late_length_that_is_no_integer_is_400(tus: Tus, length: str) -> None:
    target = tus.create(None, body=b"abc")
    before = tus.snapshot(target)
    assert tus.patch(target, 3, b"d", {"Upload-Length": length}).status == 400
    assert tus.snapshot(target) == before


@pytest.mark.clause("DEF-06")
@pytest.mark.parametrize("data", [b"abc", b""], ids=["some", "none"])
def test_an_empty_patch_may_bring_the_length_and_complete_the_upload(tus: Tus, data: bytes) -> None:
    target = tus.create(None, body=data)
    answer = tus.patch(target, len(data), b"", {"Upload-Length": str(len(data))})
    assert (answer.status, answer.offset) == (204, len(data))
    assert tus.content(target) == data


@pytest.mark.clause("DEF-07")
def test_a_length_below_the_offset_is_400_and_the_upload_stays_deferred(tus: Tus) -> None:
    target = tus.create(None, body=b"abcde")
    before = tus.snapshot(target)
    assert tus.patch(target, 5, b"", {"Upload-Length": "4"}).status == 400
    assert tus.snapshot(target) == before
    assert tus.head(target).get("Upload-Defer-Length") == "1"


@pytest.mark.clause("DEF-08", "CRE-10")
def test_a_late_length_above_the_largest_size_is_413(limited: Tus) -> None:
    target = limited.create(None)
    before = limited.snapshot(target)
    assert limited.patch(target, 0, b"abc", {"Upload-Length": "1001"}).status == 413
    assert limited.snapshot(target) == before
    assert limited.patch(target, 0, b"abc", {"Upload-Length": "1000"}).status == 204


@pytest.mark.clause("DEF-09", "CRE-10")
def test_an_upload_of_open_length_cannot_grow_above_the_largest_size(limited: Tus) -> None:
    target = limited.create(None)
    assert limited.patch(target, 0, b"x" * 1001).status == 413
    assert limited.offset(target) == 0
    assert limited.patch(target, 0, b"x" * 600).status == 204
    assert limited.patch(target, 600, b"x" * 401).status == 413
    assert limited.offset(target) == 600


@pytest.mark.clause("DEF-09", "CRE-10")
def test_chunks_of_open_length_are_capped_at_the_largest_size(limited: Tus) -> None:
    target = limited.create(None)
    fields = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    answer = limited.patch(target, 0, chunked(*[b"x" * 300] * 4), fields)
    assert answer.status == 413
    assert limited.offset(target) <= 1000
    assert limited.head(target).get("Upload-Defer-Length") == "1"


@pytest.mark.clause("DEF-10")
def test_a_body_longer_than_the_length_that_comes_with_it_is_413(tus: Tus) -> None:
    target = tus.create(None)
    assert tus.patch(target, 0, b"abcdef", {"Upload-Length": "5"}).status == 413
    assert tus.offset(target) == 0


@pytest.mark.clause("DEF-10")
def test_chunks_longer_than_the_length_that_comes_with_them_are_413(tus: Tus) -> None:
    target = tus.create(None)
    fields = {"Content-Length": None, "Transfer-Encoding": "chunked", "Upload-Length": "5"}
    assert tus.patch(target, 0, chunked(b"abc", b"def"), fields).status == 413
    assert tus.offset(target) <= 5


@pytest.mark.clause("DEF-04")
def test_a_late_length_beyond_53_bits_is_exact_or_refused(tus: Tus) -> None:
    target = tus.create(None)
    length = str(2**53 + 1)
    answer = tus.patch(target, 0, b"a", {"Upload-Length": length})
    assert answer.status in {204, 413, 507}
    if answer.status == 204:
        assert tus.head(target).get("Upload-Length") == length
