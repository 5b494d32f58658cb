from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN
from tests.support.raw import chunked
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Tus

PARTIAL = {"Upload-Concat": "partial"}


def _final(tus: Tus) -> str:
    first, second = tus.upload(b"hello", PARTIAL), tus.upload(b" world", PARTIAL)
    answer = tus.post({"Upload-Concat": f"final;{first} {second}"})
    assert answer.status == 201
    return tus.target(answer.get("Location") or "")


KINDS: dict[str, Callable[[Tus], str]] = {
    "new": lambda tus: tus.create(10),
    "empty": lambda tus: tus.create(0),
    "begun": lambda tus: tus.create(10, body=b"abc"),
    "deferred": lambda tus: tus.create(None, body=b"abc"),
    "complete": lambda tus: tus.upload(b"abc"),
    "partial": lambda tus: tus.upload(b"abc", PARTIAL),
    "final": _final,
    "waiting final": lambda tus: tus.target(
        tus.post({"Upload-Concat": f"final;{tus.create(5, PARTIAL)}"}).get("Location") or ""
    ),
}


@pytest.mark.clause("TER-01")
def test_termination_is_announced(tus: Tus) -> None:
    assert "termination" in tus.extensions


@pytest.mark.clause("TER-02", "TER-03", "TER-09", "CORE-HEAD-06")
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_any_upload_can_be_deleted_and_is_gone_then(tus: Tus, make: Callable[[Tus], str]) -> None:
    target = make(tus)
    answer = tus.delete(target)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.get("Content-Length") is None
    later = [tus.head(target), tus.patch(target, 0, b"a"), tus.delete(target), tus.get(target)]
    assert [answer.status for answer in later] == [404] * 4
    assert [answer.offset for answer in later] == [None] * 4


@pytest.mark.clause("TER-04")
@pytest.mark.parametrize("length", [50_000_000, None], ids=["length", "deferred"])
def test_a_removal_leaves_no_file(
    tus: Tus, files_of: Callable[[str], list[str]], length: int | None
) -> None:
    target = tus.create(length, body=b"abc")
    assert files_of(target)
    assert tus.delete(target).status == 204
    assert eventually(lambda: not files_of(target))


@pytest.mark.clause("TER-05")
@pytest.mark.parametrize("name", [UNKNOWN, "no-id", ".tusserver", "%2e%2e"])
def test_a_removal_of_nothing_is_404(tus: Tus, name: str) -> None:
    assert tus.delete(tus.path + name).status == 404


@pytest.mark.clause("TER-07")
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"Content-Length": "0"}, b""),
        ({}, b"why not"),
        ({"Transfer-Encoding": "chunked", "Content-Length": None}, chunked(b"why", b"not")),
    ],
    ids=["empty", "some", "chunked"],
)
def test_a_body_does_no_harm(tus: Tus, fields: dict[str, str | None], body: bytes) -> None:
    target, other = tus.create(10), tus.create(10, body=b"abc")
    with tus.wire() as wire:
        answer = tus.request("DELETE", target, fields, body, wire=wire)
        assert answer.status == 204
        if not answer.closes:
            assert tus.head(other, wire=wire).offset == 3
    assert tus.head(target).status == 404


@pytest.mark.clause("TER-08", "CAT-09")
def test_a_final_upload_survives_the_removal_of_its_parts(tus: Tus) -> None:
    parts = [tus.upload(b"hello", PARTIAL), tus.upload(b" world", PARTIAL)]
    answer = tus.post({"Upload-Concat": f"final;{parts[0]} {parts[1]}"})
    final = tus.target(answer.get("Location") or "")
    for part in parts:
        assert eventually(lambda part=part: tus.delete(part).status != 409)
        assert tus.head(part).status == 404
    assert tus.offset(final) == 11
    assert tus.content(final) == b"hello world"


@pytest.mark.clause("TER-08")
def test_a_part_that_a_waiting_final_upload_needs_cannot_be_removed(tus: Tus) -> None:
    part, missing = tus.upload(b"hello", PARTIAL), tus.create(6, PARTIAL)
    answer = tus.post({"Upload-Concat": f"final;{part} {missing}"})
    assert answer.status == 201
    for target in (part, missing):
        refused = tus.delete(target)
        assert (refused.status, refused.code) == (409, "part_pinned")
        # The 409 of an offset tells one; this one is about something else.
        assert refused.offset is None
    tus.patch(missing, 0, b" world")
    final = tus.target(answer.get("Location") or "")
    assert eventually(lambda: tus.head(final).offset == 11)
    assert tus.content(final) == b"hello world"


@pytest.mark.clause("TER-08")
def test_parts_are_free_again_when_the_waiting_final_upload_is_removed(tus: Tus) -> None:
    part = tus.create(5, PARTIAL)
    answer = tus.post({"Upload-Concat": f"final;{part}"})
    assert tus.delete(tus.target(answer.get("Location") or "")).status == 204
    assert tus.delete(part).status == 204
