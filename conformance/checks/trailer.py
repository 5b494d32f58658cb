"""Checks of checksum-trailer (tus 1.0.0, Checksum), and of trailers where nobody asked for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_status
from conformance.evidence import (
    expect_content,
    expect_offset,
    expect_refused,
    expect_untouched,
    head_of,
    is_ok,
    patch_head,
    sample,
    send_raw,
    sha1,
    state,
)
from conformance.wire import chunked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.target import Target
    from conformance.wire import Response

TRAILER = ("creation", "checksum", "checksum-trailer")


def append(
    tus: Target, url: str, offset: int, data: bytes, trailers: Sequence[str], **more: str
) -> Response:
    """Send a chunked body, in three chunks, with trailer fields behind it."""
    third = len(data) // 3
    pieces = data[:third], data[third : 2 * third], data[2 * third :]
    head = patch_head(tus, url, offset, None, **{"Trailer": "Upload-Checksum"} | more)
    return send_raw(tus, "PATCH", url, head + chunked(*pieces, trailers=trailers))


def field(data: bytes) -> tuple[str]:
    """Write the trailer field for some bytes."""
    return (f"Upload-Checksum: {sha1(data)}",)


@check("CHT-01")
def trailers_are_announced_with_checksum(tus: Target) -> None:
    """checksum-trailer stands only beside checksum, and both halves of it work."""
    if not tus.has("checksum-trailer"):
        raise NotApplicable("checksum-trailer is not announced")
    expect(tus.has("checksum"), "expected checksum announced with checksum-trailer")
    data = sample(100)
    url = tus.create(len(data))
    expect(
        not is_ok(append(tus, url, 0, data, field(b"other"))), "expected a wrong trailer refused"
    )
    expect_status(append(tus, url, 0, data, field(data)), 204)


@check("CHT-02", needs=TRAILER)
def right_trailer_is_accepted(tus: Target) -> None:
    """A digest behind a chunked body is found, whatever the case of its name."""
    data = sample(30_000)
    url = tus.create(len(data))
    response = append(tus, url, 0, data[:10_000], field(data[:10_000]))
    expect_status(response, 204)
    expect(response.get("Upload-Offset") == "10000", "expected Upload-Offset: 10000 in the 204")
    lower = (f"upload-checksum:{sha1(data[10_000:20_000])}  ",)
    more = {"Trailer": "upload-checksum"}
    expect_status(append(tus, url, 10_000, data[10_000:20_000], lower, **more), 204)
    among = ("X-Before: 1", *field(data[20_000:]), "X-After: 1")
    more = {"Trailer": "X-Before, Upload-Checksum, X-After"}
    expect_status(append(tus, url, 20_000, data[20_000:], among, **more), 204)
    expect_content(tus, url, data)


@check("CHT-02", needs=TRAILER)
def trailer_in_pieces_is_accepted(tus: Target) -> None:
    """A trailer section that comes byte by byte counts like any other."""
    data = sample(300)
    url = tus.create(len(data))
    body = chunked(data, trailers=field(data))
    ending = body[-60:]
    head = patch_head(tus, url, 0, None, Trailer="Upload-Checksum")
    pieces = (ending[at : at + 1] for at in range(len(ending)))
    expect_status(send_raw(tus, "PATCH", url, head, body[:-60], *pieces), 204)
    expect_content(tus, url, data)


@check("CHT-03", needs=TRAILER)
def wrong_trailer_keeps_nothing(tus: Target) -> None:
    """A digest of other bytes in the trailer leaves no trace of the body."""
    data = sample(30_000)
    for start in (0, 10_000):
        url = tus.create(len(data))
        if start:
            expect_status(tus.append(url, 0, data[:start]), 204)
        wrong = bytes(20_000 - start)
        response = append(tus, url, start, wrong, field(data))
        expect_refused(response, "a body with a wrong digest in its trailer")
        expect_offset(tus, url, start, "after a wrong trailer")
        expect_untouched(tus, url, data, start)


@check("CHT-03", needs=TRAILER)
def unknown_algorithm_in_the_trailer_keeps_nothing(tus: Target) -> None:
    """A trailer by an algorithm that is not announced, or malformed, is no verification."""
    data = sample(100)
    url = tus.create(len(data))
    for bad in ("foo AAAA", "sha1", "sha1 !!", ""):
        response = append(tus, url, 0, data, (f"Upload-Checksum: {bad}",))
        expect_refused(response, f"the trailer {bad!r}")
        expect_offset(tus, url, 0, f"after the trailer {bad!r}")
    expect_untouched(tus, url, data, 0)


@check("CHT-04", needs=TRAILER)
def missing_trailer_keeps_nothing(tus: Target) -> None:
    """A body that announced its digest and ends without is refused; nothing is kept."""
    data = sample(3_000)
    url = tus.create(len(data))
    for trailers in ((), ("X-Other: 1",)):
        expect_status(append(tus, url, 0, data, trailers), 400, 460)
        expect_offset(tus, url, 0, "after a trailer that did not come")
    expect_untouched(tus, url, data, 0)


@check("CHT-04", "CHK-08", needs=TRAILER)
def lost_trailer_keeps_nothing(tus: Target) -> None:
    """A connection that is lost before the trailer came leaves nothing either."""
    data = sample(3_000)
    endings = (chunked(data, end=False), chunked(data, trailers=field(data))[:-10])
    for sent in endings:
        for end in ("close", "reset"):
            url = tus.create(len(data))
            connection = tus.connect(url)
            connection.send(patch_head(tus, url, 0, None, Trailer="Upload-Checksum") + sent)
            time.sleep(0.1)
            getattr(connection, end)()
            tus.settled_offset(url, 0)
            expect_offset(tus, url, 0, "after a lost trailer")
            expect_untouched(tus, url, data, 0)


@check("CHT-05", needs=TRAILER)
def digest_in_header_and_trailer_is_400(tus: Target) -> None:
    """A digest in front and one behind are 400, and nothing is kept."""
    data = sample(300)
    url = tus.create(len(data))
    for front, behind in ((data, b"other"), (b"other", data), (data, data)):
        response = append(tus, url, 0, data, field(behind), Upload_Checksum=sha1(front))
        expect_status(response, 400)
        expect_offset(tus, url, 0, "after two digests")
    expect_untouched(tus, url, data, 0)


@check("CHT-06", needs=("creation",))
def trailer_that_nobody_announced_does_no_harm(tus: Target) -> None:
    """A trailer field without Trailer in the head is ignored or verified."""
    data = sample(300)
    url = tus.create(len(data))
    head = patch_head(tus, url, 0, None)
    response = send_raw(tus, "PATCH", url, head + chunked(data, trailers=field(data)))
    expect_status(response, 204)
    expect_content(tus, url, data)


@check("CHT-07", needs=("creation",))
def trailer_fields_are_no_header_fields(tus: Target) -> None:
    """Fields that frame, route or describe a request have no effect in a trailer."""
    data = sample(300)
    evil = (
        "Content-Length: 5",
        "Host: evil.example",
        "Upload-Offset: 100",
        "Upload-Length: 100",
        "Tus-Resumable: 0.2.2",
        "X-HTTP-Method-Override: DELETE",
        "Transfer-Encoding: identity",
    )
    for trailers in (evil, *((one,) for one in evil)):
        url = tus.create(len(data))
        names = ", ".join(one.partition(":")[0] for one in trailers)
        for head in (patch_head(tus, url, 0, None), patch_head(tus, url, 0, None, Trailer=names)):
            before = int(state(tus, url).get("Upload-Offset") or 0)
            if before:
                break
            response = send_raw(tus, "PATCH", url, head + chunked(data, trailers=trailers))
            clean = response.status == 204 or 400 <= response.status < 500
            expect(
                clean, f"expected 204 or a refusal of the trailer {names}, got {response.status}"
            )
            if is_ok(response):
                expect_content(tus, url, data)


@check("CHT-07", needs=("creation",))
def connection_is_in_step_after_a_trailer(tus: Target) -> None:
    """The request behind a trailer section on one connection is read from its first byte."""
    data = sample(300)
    url = tus.create(len(data))
    first = patch_head(tus, url, 0, None) + chunked(data, trailers=("X-One: 1", "X-Two: GET / "))
    with tus.connect(url) as connection:
        connection.send(first + head_of(tus, "HEAD", url, {}))
        response = connection.read_response("PATCH")
        if 400 <= response.status < 500:
            raise NotApplicable("a body with a trailer is refused")
        expect_status(response, 204)
        if not response.closes:
            expect_status(connection.read_response("HEAD"), 200, 204)
    expect_content(tus, url, data)
