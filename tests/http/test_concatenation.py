from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN
from tests.support.raw import OFFSET_STREAM, Response
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Fields, Tus

PARTIAL = {"Upload-Concat": "partial"}
MALFORMED = {
    "empty list": "final;",
    "no list": "final",
    "blank list": "final; ",
    "capitals": "FINAL;{part}",
    "partial with a list": "partial;x",
    "capital partial": "Partial",
    "empty": "",
    "another word": "full;{part}",
    "comma list": "final;{part},{part}",
    "blank before": "final {part}",
    "parent": "final;{base}../x",
    "encoded slash": "final;{base}%2F{name}",
    "double slash": "final;{base}/{name}",
    "encoded dots": "final;{base}%2e%2e/{name}",
    "backslash": "final;{base}\\{name}",
    "another scheme": "final;ftp://host{part}",
    "another path": "final;/other/{name}",
    "creation url": "final;{base}",
}


def _part(tus: Tus, data: bytes, fields: Fields | None = None) -> str:
    return tus.upload(data, {**PARTIAL, **(fields or {})})


def _join(tus: Tus, *parts: str, fields: Fields | None = None) -> Response:
    return tus.post({"Upload-Concat": f"final;{' '.join(parts)}", **(fields or {})})


def _final(tus: Tus, *parts: str, fields: Fields | None = None) -> str:
    answer = _join(tus, *parts, fields=fields)
    assert answer.status == 201, answer
    return tus.target(answer.get("Location") or "")


@pytest.mark.clause("CAT-01", "CAT-08")
def test_concatenation_is_announced_with_unfinished_parts(tus: Tus) -> None:
    assert {"concatenation", "concatenation-unfinished"} <= tus.extensions


@pytest.mark.clause("CAT-02", "CAT-HEAD-03", "CAT-HEAD-05")
def test_a_partial_upload_takes_patches_like_any_other(tus: Tus) -> None:
    target = tus.create(6, PARTIAL)
    for offset in (0, 2, 4):
        head = tus.head(target)
        assert (head.offset, head.get("Upload-Length")) == (offset, "6")
        assert head.get("Upload-Concat") == "partial"
        assert tus.patch(target, offset, b"ab").offset == offset + 2
    assert tus.offset(target) == 6


@pytest.mark.clause("CAT-03", "CAT-04", "CAT-HEAD-02")
def test_a_final_upload_holds_its_parts_in_the_order_of_the_list(tus: Tus) -> None:
    first, second, third = _part(tus, b"hello"), _part(tus, b" "), _part(tus, b"world")
    for order, data in [
        ((first, second, third), b"hello world"),
        ((third, second, first), b"world hello"),
        ((second,), b" "),
    ]:
        target = _final(tus, *order)
        head = tus.head(target)
        assert head.offset == len(data)
        assert head.get("Upload-Length") == str(len(data))
        assert tus.content(target) == data


@pytest.mark.clause("CAT-03")
def test_empty_parts_do_no_harm(tus: Tus) -> None:
    empty, part = tus.create(0, PARTIAL), _part(tus, b"abc")
    assert tus.content(_final(tus, empty, part, empty)) == b"abc"
    assert tus.content(_final(tus, empty)) == b""


@pytest.mark.clause("CAT-03")
def test_large_parts_are_joined_byte_for_byte(tus: Tus) -> None:
    pieces = [bytes([seed]) * (1_000_003 + seed) for seed in range(1, 5)]
    parts = [_part(tus, piece) for piece in pieces]
    target = _final(tus, *parts)
    assert tus.content(target) == b"".join(pieces)
    time.sleep(0.3)
    assert tus.content(target) == b"".join(pieces)


@pytest.mark.clause("CAT-05")
def test_a_length_of_a_final_upload_never_changes_the_sum(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    part = _part(tus, b"hello")
    before = stored()
    assert _join(tus, part, fields={"Upload-Length": "7"}).status == 400
    assert stored() == before
    same = _join(tus, part, fields={"Upload-Length": "5"})
    assert same.status in {201, 400}


@pytest.mark.clause("CAT-06", "CLI-02")
@pytest.mark.parametrize(
    "form",
    [
        "{path}",
        "http://{authority}{path}",
        "https://uploads.example{path}",
        "https://uploads.example:8443{path}",
        "HTTP://{authority}{path}",
        "{path}/",
    ],
)
def test_parts_are_matched_by_their_path(tus: Tus, form: str) -> None:
    parts = [_part(tus, b"hello"), _part(tus, b" world")]
    urls = [form.format(path=part, authority=tus.authority) for part in parts]
    assert tus.content(_final(tus, *urls)) == b"hello world"
    assert tus.content(_final(tus, urls[0], parts[1])) == b"hello world"


@pytest.mark.clause("CAT-06", "CAT-HEAD-05")
def test_the_query_of_a_part_is_dropped(tus: Tus) -> None:
    first, second = _part(tus, b"hello"), _part(tus, b" world")
    target = _final(tus, f"{first}?token=secret", f"{second}?a=b&c=%20d")
    assert tus.head(target).get("Upload-Concat") == f"final;{first} {second}"
    assert tus.content(target) == b"hello world"


@pytest.mark.clause("CAT-07")
@pytest.mark.parametrize("name", [UNKNOWN, "no-id", "x" * 300])
def test_an_unknown_part_is_refused_and_nothing_is_created(
    tus: Tus, stored: Callable[[], set[str]], name: str
) -> None:
    part = _part(tus, b"hello")
    before = stored()
    answer = _join(tus, part, tus.path + name)
    assert answer.status in {400, 404}
    assert answer.get("Location") is None
    assert stored() == before
    assert tus.delete(part).status == 204


@pytest.mark.clause("CAT-07")
def test_a_removed_part_is_refused(tus: Tus) -> None:
    part = _part(tus, b"hello")
    assert tus.delete(part).status == 204
    assert _join(tus, part).status in {400, 404}


@pytest.mark.clause("CAT-09")
def test_a_part_may_occur_twice_and_in_two_final_uploads(tus: Tus) -> None:
    first, second = _part(tus, b"ab"), _part(tus, b"c")
    assert tus.content(_final(tus, first, first)) == b"abab"
    assert tus.content(_final(tus, first, second, first)) == b"abcab"
    assert tus.content(first) == b"ab" or tus.get(first).status == 404
    assert tus.offset(first) == 2


@pytest.mark.clause("CAT-10", "CAT-11")
def test_a_final_upload_has_the_metadata_of_its_own_creation(tus: Tus) -> None:
    part = _part(tus, b"hello", {"Upload-Metadata": "filename YQ=="})
    assert tus.head(_final(tus, part)).get("Upload-Metadata") is None
    named = _final(tus, part, fields={"Upload-Metadata": "filename Yg=="})
    assert tus.head(named).get("Upload-Metadata") == "filename Yg=="
    assert tus.head(part).get("Upload-Metadata") == "filename YQ=="


@pytest.mark.clause("CAT-12")
@pytest.mark.parametrize("offset", [0, 5, 6])
@pytest.mark.parametrize("body", [b"", b"x"], ids=["empty", "some"])
def test_a_patch_on_a_final_upload_is_403(tus: Tus, offset: int, body: bytes) -> None:
    part = _part(tus, b"hello")
    target = _final(tus, part)
    before = tus.snapshot(target), tus.snapshot(part)
    answer = tus.patch(target, offset, body)
    assert (answer.status, answer.offset) == (403, None)
    assert (tus.snapshot(target), tus.snapshot(part)) == before


@pytest.mark.clause("CAT-12", "CAT-HEAD-01")
def test_a_patch_on_a_final_upload_that_waits_is_403(tus: Tus) -> None:
    target = _final(tus, tus.create(5, PARTIAL))
    assert tus.patch(target, 0, b"hello").status == 403
    assert tus.head(target).offset is None


@pytest.mark.clause("CAT-13")
def test_only_partial_uploads_can_be_parts(tus: Tus, stored: Callable[[], set[str]]) -> None:
    part, ordinary = _part(tus, b"hello"), tus.upload(b"hello")
    final = _final(tus, part)
    before = stored()
    for other in (ordinary, final):
        answer = _join(tus, part, other)
        assert (answer.status, answer.get("Location")) == (400, None)
    assert stored() == before


@pytest.mark.clause("CAT-14", "CAT-06")
@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_list_is_400_and_nothing_is_created(
    tus: Tus, stored: Callable[[], set[str]], value: str
) -> None:
    part = _part(tus, b"hello")
    before = stored()
    name = part.removeprefix(tus.path)
    text = value.format(part=part, base=tus.path, name=name)
    answer = tus.post({"Upload-Concat": text, "Upload-Length": None})
    assert (answer.status, answer.get("Location")) == (400, None)
    assert stored() == before


@pytest.mark.clause("CAT-14")
@pytest.mark.parametrize("value", ["final;", "final", "partial;x", "", "x"])
def test_a_malformed_value_is_400_with_a_length_too(tus: Tus, value: str) -> None:
    assert tus.post({"Upload-Concat": value, "Upload-Length": "5"}).status == 400


@pytest.mark.clause("CAT-14")
def test_more_blanks_between_parts_do_no_harm(tus: Tus) -> None:
    first, second = _part(tus, b"a"), _part(tus, b"b")
    answer = tus.post({"Upload-Concat": f"final;{first}  {second}"})
    assert answer.status in {201, 400}
    if answer.status == 201:
        assert tus.content(tus.target(answer.get("Location") or "")) == b"ab"


@pytest.mark.clause("CAT-15", "CRE-10")
def test_a_sum_above_the_largest_size_is_413(limited: Tus) -> None:
    part = _part(limited, b"x" * 400)
    assert limited.offset(_final(limited, part, part)) == 800
    answer = _join(limited, part, part, part)
    assert (answer.status, answer.get("Location")) == (413, None)


@pytest.mark.clause("CAT-15", "CRE-10")
def test_unfinished_parts_count_with_their_lengths(limited: Tus) -> None:
    part = limited.create(600, PARTIAL)
    assert _join(limited, part, part).status == 413


@pytest.mark.clause("CAT-16")
def test_a_thousand_parts_work_or_are_refused_cleanly(tus: Tus, *, is_program: bool) -> None:
    parts = [_part(tus, b"a"), _part(tus, b"b")]
    answer = _join(tus, *(parts * 500))
    if is_program or answer.status == 201:
        assert answer.status == 201
        target = tus.target(answer.get("Location") or "")
        assert tus.offset(target) == 1000
        assert tus.content(target) == b"ab" * 500
    else:
        assert answer.status in {400, 431}


@pytest.mark.clause("CAT-17")
def test_a_partial_upload_may_defer_its_length_and_a_final_one_may_not(tus: Tus) -> None:
    part = tus.create(None, PARTIAL)
    assert tus.head(part).get("Upload-Defer-Length") == "1"
    assert _join(tus, part, fields={"Upload-Defer-Length": "1"}).status == 400


@pytest.mark.clause("CAT-HEAD-06")
def test_an_ordinary_upload_has_no_concat(tus: Tus) -> None:
    assert tus.head(tus.create(5)).get("Upload-Concat") is None


@pytest.mark.clause("CAT-HEAD-05")
def test_head_gives_the_list_back_as_it_was_sent(tus: Tus) -> None:
    first, second = _part(tus, b"a"), _part(tus, b"b")
    value = f"final;http://{tus.authority}{second} {first}"
    target = tus.target(tus.post({"Upload-Concat": value}).get("Location") or "")
    assert tus.head(target).get("Upload-Concat") == value


@pytest.mark.clause("CAT-08", "CAT-HEAD-01", "CAT-HEAD-04", "CAT-UNF-01")
def test_a_final_upload_of_unfinished_parts_completes_when_they_do(tus: Tus) -> None:
    first, second = tus.create(5, PARTIAL), tus.create(6, PARTIAL, b" wo")
    target = _final(tus, first, second)
    head = tus.head(target)
    assert (head.status, head.offset, head.get("Upload-Length")) == (200, None, "11")
    assert tus.get(target).status == 404
    tus.patch(second, 3, b"rld")
    assert tus.head(target).offset is None
    tus.patch(first, 0, b"hello")
    assert eventually(lambda: tus.head(target).offset is not None)
    head = tus.head(target)
    assert (head.offset, head.get("Upload-Length")) == (11, "11")
    assert tus.content(target) == b"hello world"


@pytest.mark.clause("CAT-HEAD-04", "CAT-UNF-01", "DEF-12")
def test_a_final_upload_of_a_part_of_open_length_learns_its_length(tus: Tus) -> None:
    part = tus.create(None, PARTIAL, b"abc")
    target = _final(tus, part)
    head = tus.head(target)
    assert (head.status, head.offset, head.get("Upload-Length")) == (200, None, None)
    tus.patch(part, 3, b"", {"Upload-Length": "6"})
    head = tus.head(target)
    assert (head.offset, head.get("Upload-Length")) == (None, "6")
    tus.patch(part, 3, b"def")
    assert eventually(lambda: tus.head(target).offset is not None)
    assert tus.content(target) == b"abcdef"


@pytest.mark.clause("CWU-10", "CAT-12")
def test_a_final_upload_takes_no_data_at_its_creation(tus: Tus) -> None:
    part = _part(tus, b"hello")
    fields = {"Upload-Concat": f"final;{part}", "Content-Type": OFFSET_STREAM}
    assert tus.post(fields, b"more").status in {400, 403}


@pytest.mark.clause("CAT-08", "CAT-12")
def test_parts_of_a_final_upload_that_waits_can_be_resumed(tus: Tus) -> None:
    part = tus.create(6, PARTIAL)
    target = _final(tus, part)
    with tus.wire() as wire:
        wire.send(tus.append_message(part, 0, b"abc", {"Content-Length": "6"}))
        assert wire.is_silent()
    assert tus.settle(part, 3) == 3
    assert tus.patch(part, 3, b"def").status == 204
    assert eventually(lambda: tus.head(target).offset == 6)
    assert tus.content(target) == b"abcdef"
