"""Checks of final uploads (tus 1.0.0, Concatenation): what HEAD and PATCH do, unfinished parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_status
from conformance.checks.concatenation import CONCAT, JOINING, expect_joined, join, partial
from conformance.evidence import (
    eventually,
    expect_content,
    expect_not_created,
    expect_offset,
    location,
    sample,
    state,
)

if TYPE_CHECKING:
    from conformance.target import Target

UNFINISHED = (*CONCAT, "concatenation-unfinished")


@check("CAT-08", needs=CONCAT)
def unfinished_parts_are_taken_only_if_announced(tus: Target) -> None:
    """A part that lacks bytes is refused, unless concatenation-unfinished is announced."""
    done = partial(tus, b"hello")
    fresh = tus.create(6, {"Upload-Concat": "partial"})
    half = tus.create(6, {"Upload-Concat": "partial"})
    expect_status(tus.append(half, 0, b" wo"), 204)
    for parts in ([fresh], [done, half], [half, done]):
        response = join(tus, parts)
        if tus.has("concatenation-unfinished"):
            expect_status(response, 201)
        else:
            expect_not_created(response, "a final upload of an unfinished part")


@check("CAT-12", needs=CONCAT)
def patch_on_a_final_upload_is_403(tus: Target) -> None:
    """PATCH on a final upload is 403 at any offset and with any body, and changes nothing."""
    parts = [partial(tus, b"hello"), partial(tus, b" world")]
    url = expect_joined(tus, join(tus, parts), b"hello world")
    for offset, data in ((11, b"!"), (11, b""), (0, b"HELLO WORLD"), (5, b"x"), (99, b"x")):
        response = tus.append(url, offset, data)
        expect_status(response, 403)
        expect_offset(tus, url, 11, "after a PATCH on a final upload")
    expect_status(tus.append(url, 11, b"!", {"Upload-Length": "12"}), 403)
    expect_content(tus, url, b"hello world")
    expect_joined(tus, join(tus, parts), b"hello world")


@check("CAT-12", needs=UNFINISHED)
def patch_on_a_waiting_final_upload_is_403(tus: Target) -> None:
    """PATCH on a final upload whose parts are unfinished is 403 too, and reaches no part."""
    part = tus.create(5, {"Upload-Concat": "partial"})
    url = location(tus, join(tus, [part]))
    expect_status(tus.append(url, 0, b"wrong"), 403)
    expect_offset(tus, part, 0, "of the part")
    expect_status(tus.append(part, 0, b"hello"), 204)
    _expect_completed(tus, url, b"hello")


@check("CAT-12", needs=CONCAT)
def parts_are_closed_after_joining(tus: Target) -> None:
    """A PATCH to a complete part does not reach the final upload."""
    part = partial(tus, b"hello")
    url = expect_joined(tus, join(tus, [part]), b"hello")
    tus.append(part, 5, b"!")
    tus.append(part, 0, b"HELLO")
    expect_content(tus, url, b"hello")


@check("CAT-HEAD-01", needs=UNFINISHED)
def waiting_final_upload_tells_no_offset(tus: Target) -> None:
    """While a part is unfinished, HEAD on the final upload has no Upload-Offset."""
    done = partial(tus, b"hello")
    part = tus.create(6, {"Upload-Concat": "partial"})
    url = location(tus, join(tus, [done, part]))
    for data, offset in ((b" wo", 0), (b"rld", 3)):
        answer = state(tus, url)
        told = answer.get("Upload-Offset")
        expect(
            told is None, f"expected no Upload-Offset of a waiting final upload, got {told}", answer
        )
        expect_status(tus.append(part, offset, data), 204)
    _expect_completed(tus, url, b"hello world")


@check("CAT-HEAD-04", "CAT-04", needs=UNFINISHED)
def waiting_final_upload_tells_its_length(tus: Target) -> None:
    """HEAD on a final upload tells its length once all parts have one, also unfinished."""
    parts = [partial(tus, b"hello"), tus.create(6, {"Upload-Concat": "partial"})]
    answer = state(tus, location(tus, join(tus, parts)))
    told = answer.get("Upload-Length")
    expect(
        told == "11", f"expected Upload-Length: 11 of a waiting final upload, got {told}", answer
    )


@check("CAT-HEAD-04", needs=(*UNFINISHED, "creation-defer-length"))
def late_length_of_a_part_is_added(tus: Target) -> None:
    """The length of a final upload shows as soon as its last part has declared one."""
    part = tus.create(None, {"Upload-Concat": "partial"})
    response = join(tus, [partial(tus, b"hello"), part])
    if response.status != 201:
        raise NotApplicable("a part of open length cannot be joined here")
    url = location(tus, response)
    told = state(tus, url).get("Upload-Length")
    expect(told is None, f"expected no Upload-Length while a part's is open, got {told}")
    expect_status(tus.append(part, 0, b" wo", {"Upload-Length": "6"}), 204)
    answer = state(tus, url)
    told = answer.get("Upload-Length")
    expect(told == "11", f"expected Upload-Length: 11 once it is known, got {told}", answer)
    expect_status(tus.append(part, 3, b"rld"), 204)
    _expect_completed(tus, url, b"hello world")


@check("CAT-HEAD-05", needs=CONCAT)
def head_gives_the_list_back(tus: Target) -> None:
    """HEAD tells Upload-Concat of a final upload exactly as it was sent."""
    parts = [partial(tus, b"hello"), partial(tus, b" world")]
    for names in ([tus.path(part) for part in parts], parts):
        sent = "final;" + " ".join(names)
        url = location(tus, tus.post(fields={"Upload-Concat": sent}))
        told = state(tus, url).get("Upload-Concat")
        expect(told == sent, f"expected Upload-Concat: {sent}, got {told}")


@check("CAT-HEAD-06", needs=("creation",))
def ordinary_upload_has_no_concat(tus: Target) -> None:
    """HEAD on an upload that is neither partial nor final has no Upload-Concat."""
    for url in (tus.create(5), tus.upload(b"hello")):
        told = state(tus, url).get("Upload-Concat")
        expect(told is None, f"expected no Upload-Concat of an ordinary upload, got {told}")


@check("CAT-UNF-01", needs=UNFINISHED)
def waiting_final_upload_completes_with_its_parts(tus: Target) -> None:
    """A final upload that was made early holds all bytes, in order, once its parts do."""
    pieces = [sample(size, size) for size in (10, 70_001, 3)]
    parts = [tus.create(len(data), {"Upload-Concat": "partial"}) for data in pieces]
    url = location(tus, join(tus, parts))
    twice = location(tus, join(tus, [*parts[::-1], parts[1]]))
    for at in (1, 2, 0):
        answer = state(tus, url)
        expect(
            answer.get("Upload-Offset") is None,
            "expected no Upload-Offset before the last part",
            answer,
        )
        middle = len(pieces[at]) // 2
        expect_status(tus.append(parts[at], 0, pieces[at][:middle]), 204)
        expect_status(tus.append(parts[at], middle, pieces[at][middle:]), 204)
    _expect_completed(tus, url, b"".join(pieces))
    _expect_completed(tus, twice, b"".join([*pieces[::-1], pieces[1]]))


def _expect_completed(tus: Target, url: str, data: bytes) -> None:
    size = str(len(data))
    eventually(lambda: state(tus, url).get("Upload-Offset") == size, seconds=JOINING)
    answer = expect_offset(tus, url, len(data), "of the final upload whose parts are complete")
    expect(answer.get("Upload-Length") == size, f"expected Upload-Length: {size}", answer)
    expect_content(tus, url, data)
