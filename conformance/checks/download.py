"""Checks of GET on finished uploads: not part of tus 1.0, but where it exists it tells the truth.

No clause of the specification speaks of downloads. What is checked here are clauses of other
sections that can only be seen in the bytes: that nothing is changed, cut or added on the way.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_status
from conformance.evidence import (
    expect_content,
    finish,
    is_ok,
    location,
    need_downloads,
    patch_head,
    sample,
    send_raw,
)
from conformance.wire import chunked

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)
PAYLOADS = (
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    bytes(range(256)) * 17,
    b"\0" * 5_000,
    b"\xff" * 4_097,
    b"\xef\xbb\xbfbyte order mark\r\nand\nline\rends\x1a",
    gzip.compress(b"squeezed " * 1_000, mtime=0),
    b"\n",
    b"%s %d {} \\ \x00 ' \" ; --",
)


@check("CORE-PATCH-01", needs=CREATION)
def every_kind_of_bytes_is_kept(tus: Target) -> None:
    """Bytes that look like HTTP, text, compressed or nothing at all come back unchanged."""
    need_downloads(tus)
    for data in PAYLOADS:
        url = tus.create(len(data))
        middle = len(data) // 2
        if middle:
            expect_status(tus.append(url, 0, data[:middle]), 204)
        finish(tus, url, data, middle)


@check("CORE-PATCH-19", needs=CREATION)
def chunked_bytes_are_kept(tus: Target) -> None:
    """The same holds for chunked bodies, whose framing never gets into the upload."""
    need_downloads(tus)
    for data in PAYLOADS:
        url = tus.create(len(data))
        head = patch_head(tus, url, 0, None)
        body = chunked(data[:1], data[1:])
        expect_status(send_raw(tus, "PATCH", url, head + body[:5], body[5:]), 204)
        expect_content(tus, url, data)


@check("CORE-PATCH-03", needs=CREATION)
def sizes_around_buffers_are_kept(tus: Target) -> None:
    """Uploads of sizes at which buffers end come back with their last byte, in one or two steps."""
    need_downloads(tus)
    for size in (1, 2, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 262_145, 1_048_577):
        data = sample(size, size)
        expect_content(tus, tus.upload(data), data)
        if size > 1:
            url = tus.create(size)
            expect_status(tus.append(url, 0, data[: size - 1]), 204)
            finish(tus, url, data, size - 1)


@check("CORE-PATCH-01", needs=CREATION)
def many_small_appends_make_the_file(tus: Target) -> None:
    """Fifty PATCHes of odd sizes on one connection make the file, byte for byte."""
    data = sample(sum(range(1, 51)) * 7, 50)
    url = tus.create(len(data))
    at = 0
    with tus.connect(url) as connection:
        for count in range(1, 51):
            piece = data[at : at + count * 7]
            fields = {"Upload-Offset": str(at)}
            response = tus.request("PATCH", url, fields, piece, connection=connection)
            expect_status(response, 204)
            at += len(piece)
            told = response.get("Upload-Offset")
            expect(told == str(at), f"expected Upload-Offset: {at}, got {told}", response)
            if response.closes:
                break
    if at < len(data):
        finish(tus, url, data, at)
    expect_content(tus, url, data)


@check("META-08", needs=CREATION)
def name_and_type_change_no_byte(tus: Target) -> None:
    """Whatever its metadata say it is, an upload comes back as it was sent."""
    need_downloads(tus)
    data = gzip.compress(b"<html>hello</html>", mtime=0)
    for metadata in (
        "filename YS5odG1s,filetype dGV4dC9odG1s",
        "filename YS50eHQuZ3o=,filetype YXBwbGljYXRpb24vZ3ppcA==",
        "filename YS5waHA=,filetype bm8gdHlwZQ==,encoding Z3ppcA==",
    ):
        response = tus.post(fields={"Upload-Length": str(len(data)), "Upload-Metadata": metadata})
        url = location(tus, response)
        finish(tus, url, data, 0)
        got = tus.get(url, {"Accept-Encoding": "identity"})
        coding = got.get("Content-Encoding")
        expect(coding in (None, "identity"), f"expected no Content-Encoding, got {coding}", got)


@check("DEF-12", needs=(*CREATION, "creation-defer-length"))
def open_length_is_not_given_as_complete(tus: Target) -> None:
    """GET on an upload of open length gives no byte that was not sent."""
    data = sample(1_000)
    url = tus.create(None)
    expect_status(tus.append(url, 0, data), 204)
    response = tus.get(url)
    if is_ok(response):
        expect(response.body in (b"", data), "expected nothing but the bytes that were sent")


@check("CORE-PATCH-03", needs=CREATION)
def unfinished_upload_shows_no_other_bytes(tus: Target) -> None:
    """GET on an unfinished upload is refused or gives what was sent, never what lay on the disk."""
    data = sample(1_000)
    url = tus.create(5_000)
    expect_status(tus.append(url, 0, data), 204)
    response = tus.get(url)
    if is_ok(response):
        rest = response.body[len(data) :]
        clean = data.startswith(response.body[: len(data)]) and not rest.strip(b"\0")
        expect(clean, "expected nothing but the bytes that were sent", response)
