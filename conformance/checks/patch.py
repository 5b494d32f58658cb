"""Checks of PATCH: offsets, types and lengths (tus 1.0.0, Core Protocol, Requests)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_field, expect_refusal, expect_status
from conformance.evidence import (
    expect_content,
    expect_offset,
    expect_untouched,
    finish,
    sample,
    unknown,
)
from conformance.wire import chunked

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Response

CREATION = ("creation",)


@check("CORE-PATCH-01", needs=CREATION)
def two_parts_make_a_file(tus: Target) -> None:
    """Two PATCH requests, one after the other, make the whole file."""
    data = sample(100)
    url = tus.create(100)
    expect_status(tus.append(url, 0, data[:70]), 204, 200)
    expect_status(tus.append(url, 70, data[70:]), 204, 200)
    expect_content(tus, url, data)


@check("CORE-PATCH-01", needs=CREATION)
def a_megabyte_arrives_whole(tus: Target) -> None:
    """A megabyte in three requests of odd sizes is the same afterwards."""
    data = sample(1_048_583)
    url = tus.create(len(data))
    for start, end in ((0, 333_333), (333_333, 700_001), (700_001, len(data))):
        expect_status(tus.append(url, start, data[start:end]), 204, 200)
    expect_content(tus, url, data)


@check("CORE-PATCH-02", needs=CREATION)
def success_is_204(tus: Target) -> None:
    """A PATCH that worked is 204 without a body, the last one too."""
    url = tus.create(10)
    for offset, data in ((0, b"hello"), (5, b"world")):
        response = tus.append(url, offset, data)
        expect_status(response, 204)
        expect(
            response.get("Content-Length") in {None, "0"},
            "expected no Content-Length in the 204 (RFC 9110, 8.6)",
            response,
        )


@check("CORE-PATCH-03", needs=CREATION)
def success_tells_the_new_offset(tus: Target) -> None:
    """A PATCH that worked tells the old offset plus the bytes of this request."""
    url = tus.create(100)
    expect_field(tus.append(url, 0, bytes(70)), "Upload-Offset", "70")
    expect_field(tus.append(url, 70, bytes(30)), "Upload-Offset", "100")


@check("CORE-PATCH-04", needs=CREATION)
def another_content_type_is_415(tus: Target) -> None:
    """PATCH of another Content-Type, or of none, is 415 and changes nothing."""
    data = sample(10)
    url = tus.create(10)
    for kind in ("text/plain", "application/octet-stream", None):
        response = tus.append(url, 0, data[:5], {"Content-Type": kind})
        expect_offset(tus, url, 0, f"after a PATCH of Content-Type {kind}")
        expect_status(response, 415)
    expect_untouched(tus, url, data, 0)


@check("CORE-PATCH-05", needs=CREATION)
def content_type_is_read_as_http_reads_it(tus: Target) -> None:
    """Letters in either case are accepted; a parameter is accepted or refused by 415."""
    url = tus.create(10)
    kind = {"Content-Type": "Application/Offset+Octet-Stream"}
    expect_status(tus.append(url, 0, b"hello", kind), 204)
    kind = {"Content-Type": "application/offset+octet-stream; charset=utf-8"}
    expect_status(tus.append(url, 5, b"world", kind), 204, 415)


@check("CORE-PATCH-06", needs=CREATION)
def a_wrong_offset_is_409(tus: Target) -> None:
    """PATCH at an offset that is not the current one is 409 and changes nothing."""
    data = sample(20)
    url = tus.create(20)
    expect_status(tus.append(url, 0, data[:10]), 204, 200)
    for offset in (11, 9, 0, 21):
        response = tus.append(url, offset, b"x" if offset < 20 else b"")
        expect_offset(tus, url, 10, f"after a PATCH at {offset}")
        expect_status(response, 409)
    expect_untouched(tus, url, data, 10)


@check("CORE-PATCH-06", needs=CREATION)
def a_wrong_offset_of_a_finished_upload_is_409(tus: Target) -> None:
    """PATCH at offset 0 of a finished upload is 409 and changes nothing."""
    data = sample(20)
    url = tus.upload(data)
    response = tus.append(url, 0, b"x" * 20)
    expect_content(tus, url, data)
    expect_status(response, 409)


@check("CORE-PATCH-07", needs=CREATION)
def a_missing_offset_is_400(tus: Target) -> None:
    """PATCH without Upload-Offset is 400 and changes nothing."""
    url = tus.create(10)
    response = tus.patch(url, {}, b"hello")
    expect_offset(tus, url, 0)
    expect_status(response, 400)


@check("CORE-PATCH-08", needs=CREATION)
def an_offset_is_a_plain_number(tus: Target) -> None:
    """An Upload-Offset that is no non-negative integer is refused and changes nothing."""
    data = sample(10)
    url = tus.create(10)
    expect_status(tus.append(url, 0, data[:5]), 204, 200)
    for value in ("-1", "-5", "5.0", "abc", "", "0x5", "5 0", "5e0", "5_0", "\u0665"):
        response = tus.patch(url, {"Upload-Offset": value}, data[5:7])
        expect_offset(tus, url, 5, f"after Upload-Offset: {value!r}")
        expect_refusal(response)
    expect_untouched(tus, url, data, 5)


@check("CORE-PATCH-09", needs=CREATION)
def a_huge_offset_is_refused(tus: Target) -> None:
    """Offsets beyond 64 bits are 400 or 409, never a crash."""
    url = tus.create(10)
    for value in ("9223372036854775808", "18446744073709551616", "1" + "0" * 30):
        expect_status(tus.patch(url, {"Upload-Offset": value}, b"hello"), 400, 409)
        expect_offset(tus, url, 0, f"after Upload-Offset: {value}")


@check("CORE-PATCH-10")
def append_to_nothing_is_404(tus: Target) -> None:
    """PATCH on an upload that does not exist is 404 (or 410), and makes none."""
    url = unknown(tus)
    expect_status(tus.append(url, 0, b"hello"), 404, 410)
    expect_status(tus.head(url), 404, 410, 403)


@check("CORE-PATCH-11", "HTTP-26", needs=CREATION)
def an_empty_append_works(tus: Target) -> None:
    """PATCH without a byte at the right offset is 204, again and again."""
    url = tus.create(10)
    expect_status(tus.append(url, 0, b"hello"), 204)
    for _ in range(3):
        response = tus.append(url, 5, b"")
        expect_status(response, 204)
        expect_field(response, "Upload-Offset", "5")


@check("CORE-PATCH-12", needs=CREATION)
def an_empty_append_at_the_end_works(tus: Target) -> None:
    """PATCH without a byte at the end of a finished upload is 204."""
    response = tus.append(tus.upload(b"hello"), 5, b"")
    expect_status(response, 204)
    expect_field(response, "Upload-Offset", "5")


@check("CORE-PATCH-13", needs=CREATION)
def more_after_the_end_is_refused(tus: Target) -> None:
    """PATCH with bytes at the end of a finished upload is 413, 400 or 403."""
    data = sample(5)
    url = tus.upload(data)
    response = tus.append(url, 5, b"x")
    expect_content(tus, url, data)
    expect_status(response, 413, 400, 403)


@check("CORE-PATCH-14", needs=CREATION)
def too_long_a_body_is_413(tus: Target) -> None:
    """PATCH of more bytes than are missing is 413 and changes nothing."""
    data = sample(10)
    url = tus.create(10)
    expect_status(tus.append(url, 0, data[:5]), 204, 200)
    response = tus.append(url, 5, b"toolong")
    expect_untouched(tus, url, data, 5)
    expect_status(response, 413)


@check("CORE-PATCH-15", needs=CREATION)
def too_long_a_chunked_body_is_413(tus: Target) -> None:
    """A chunked PATCH of more bytes than are missing is 413; nothing is stored beyond the end."""
    data = sample(10)
    url = tus.create(10)
    expect_status(tus.append(url, 0, data[:5]), 204, 200)
    try:
        response = _chunked(tus, url, 5, data[5:] + b"more", b"and more")
        expect_status(response, 413)
    finally:
        offset = tus.offset(url)
    expect(offset in {5, 10}, f"expected the offset 5 or 10, got {offset}")
    if offset == 10:
        expect_content(tus, url, data)
    else:
        finish(tus, url, data, 5)


def _chunked(tus: Target, url: str, offset: int, *pieces: bytes) -> Response:
    fields = {"Upload-Offset": str(offset), "Transfer-Encoding": "chunked"}
    return tus.patch(url, fields, chunked(*pieces))


@check("CORE-PATCH-19", needs=CREATION)
def a_chunked_body_is_appended(tus: Target) -> None:
    """PATCH with a chunked body is 204 with the sum of its chunks."""
    data = sample(3000)
    url = tus.create(3000)
    response = _chunked(tus, url, 0, data[:1], data[1:1500], data[1500:2000])
    expect_status(response, 204)
    expect_field(response, "Upload-Offset", "2000")
    finish(tus, url, data, 2000)


@check("CORE-PATCH-22")
def the_creation_url_takes_no_patch(tus: Target) -> None:
    """PATCH on the creation URL is 404 or 405."""
    response = tus.append(tus.url, 0, b"hello")
    expect_status(response, 404, 405)


@check("CORE-PATCH-23", needs=CREATION)
def an_unknown_method_is_405(tus: Target) -> None:
    """PUT on an upload is 405 with Allow, or 404 (or 501), and changes nothing."""
    url = tus.create(10)
    response = tus.request("PUT", url, {}, b"hello")
    expect_status(response, 404, 405, 501)
    if response.status == 405:
        expect(response.all("Allow"), "expected Allow in the 405", response)
    expect_offset(tus, url, 0)
