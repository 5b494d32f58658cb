from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN

if TYPE_CHECKING:
    from tests.support.raw import Tus

ODD_NAMES = ["does-not-exist", UNKNOWN, UNKNOWN.upper(), "x" * 64, ".meta", "%2e%2e", "a%00b"]


@pytest.mark.clause("CORE-HEAD-01", "CORE-HEAD-02", "CORE-HEAD-04")
def test_head_tells_offset_and_length_at_the_start_in_the_middle_and_at_the_end(tus: Tus) -> None:
    target = tus.create(10)
    seen = [tus.head(target)]
    tus.patch(target, 0, b"12345")
    seen.append(tus.head(target))
    tus.patch(target, 5, b"67890")
    seen.append(tus.head(target))
    assert [answer.status for answer in seen] == [200, 200, 200]
    assert [answer.get("Upload-Offset") for answer in seen] == ["0", "5", "10"]
    assert [answer.get("Upload-Length") for answer in seen] == ["10", "10", "10"]


@pytest.mark.clause("CORE-HEAD-02", "CORE-VER-08")
@pytest.mark.parametrize("length", [2**31, 2**32 + 1, 2**33 + 7], ids=str)
def test_large_lengths_are_told_digit_for_digit(tus: Tus, length: int) -> None:
    target = tus.create(length)
    assert tus.head(target).get("Upload-Length") == str(length)
    assert tus.delete(target).status == 204


@pytest.mark.clause("CORE-HEAD-03")
def test_no_cache_stores_the_answer(tus: Tus) -> None:
    for target in (tus.create(3), tus.upload(b"abc"), tus.path + UNKNOWN):
        assert tus.head(target).get("Cache-Control") == "no-store"


@pytest.mark.clause("CORE-HEAD-05", "CORE-HEAD-06")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_head_on_nothing_is_404_and_tells_no_offset(tus: Tus, name: str) -> None:
    answer = tus.head(tus.path + name)
    assert answer.status == 404
    assert answer.get("Upload-Offset") is None
    assert answer.get("Upload-Length") is None


@pytest.mark.clause("CORE-HEAD-07")
def test_answers_to_head_have_no_body_so_that_the_connection_stays_in_step(tus: Tus) -> None:
    target = tus.upload(b"abc")
    unknown = tus.path + UNKNOWN
    with tus.wire() as wire:
        for name in (target, unknown, target, unknown):
            wire.send(tus.message("HEAD", name))
        answers = [wire.response("HEAD") for _ in range(4)]
        assert wire.is_silent()
    assert [answer.status for answer in answers] == [200, 404, 200, 404]


@pytest.mark.clause("CORE-HEAD-08")
def test_content_length_is_that_of_get_or_none(tus: Tus) -> None:
    unfinished = tus.create(10, body=b"abc")
    assert tus.head(unfinished).get("Content-Length") in {None, "0"}
    finished = tus.upload(b"hello")
    assert tus.head(finished).get("Content-Length") == tus.get(finished).get("Content-Length")


@pytest.mark.clause("CORE-HEAD-09")
def test_head_can_be_repeated_and_changes_nothing(tus: Tus) -> None:
    target = tus.create(10, {"Upload-Metadata": "name YQ=="}, b"abc")
    first = tus.snapshot(target)
    expires = tus.head(target).get("Upload-Expires")
    with tus.wire() as wire:
        for _ in range(100):
            assert tus.head(target, wire=wire).offset == 3
    assert tus.snapshot(target) == first
    assert tus.head(target).get("Upload-Expires") == expires


@pytest.mark.clause("CORE-HEAD-05")
def test_head_on_the_creation_url_is_not_an_upload(tus: Tus) -> None:
    answer = tus.head(tus.path)
    assert answer.status in {404, 405}
    assert answer.get("Upload-Offset") is None
