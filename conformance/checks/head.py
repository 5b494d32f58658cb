"""Checks of HEAD (tus 1.0.0, Core Protocol, Requests)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_field, expect_status
from conformance.evidence import unknown

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)
REPEATS = 20


@check("CORE-HEAD-01", needs=CREATION)
def head_tells_the_offset(tus: Target) -> None:
    """HEAD tells the offset of a fresh, a half-done and a finished upload."""
    url = tus.create(10)
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        expect_field(tus.head(url), "Upload-Offset", str(offset))
        if data:
            expect_status(tus.append(url, offset, data), 204, 200)


@check("CORE-HEAD-02", needs=CREATION)
def head_tells_the_length(tus: Target) -> None:
    """HEAD tells the length of a fresh, a half-done and a finished upload."""
    url = tus.create(10)
    for offset, data in ((0, b"hello"), (5, b"world"), (10, b"")):
        expect_field(tus.head(url), "Upload-Length", "10")
        if data:
            expect_status(tus.append(url, offset, data), 204, 200)


@check("CORE-HEAD-04", needs=CREATION)
def head_succeeds(tus: Target) -> None:
    """HEAD on an upload is 200 or 204, before and after its end."""
    expect_status(tus.head(tus.create(10)), 200, 204)
    expect_status(tus.head(tus.upload(b"hello")), 200, 204)


@check("CORE-HEAD-02", needs=CREATION)
def head_tells_a_large_length_exactly(tus: Target) -> None:
    """A length that a double cannot hold comes back digit for digit."""
    length = 2**53 + 1
    response = tus.post(fields={"Upload-Length": str(length)})
    if response.status in {400, 413, 507}:
        length = (tus.announced.max_size or 1001) - 1
        response = tus.post(fields={"Upload-Length": str(length)})
        if response.status in {413, 507}:
            raise NotApplicable("the server takes no large upload")
    expect_status(response, 201)
    url = tus.resolve(response.get("Location") or "")
    expect_field(tus.head(url), "Upload-Length", str(length))


@check("CORE-HEAD-03", needs=CREATION)
def head_is_never_cached(tus: Target) -> None:
    """HEAD carries Cache-Control: no-store."""
    response = tus.head(tus.create(10))
    expect(
        "no-store" in response.listed("Cache-Control"),
        f"expected Cache-Control: no-store, got {response.get('Cache-Control')!r}",
        response,
    )


@check("CORE-HEAD-05")
def head_of_nothing_is_refused(tus: Target) -> None:
    """HEAD of an upload that does not exist is 404, 410 or 403."""
    expect_status(tus.head(unknown(tus)), 404, 410, 403)


@check("CORE-HEAD-06")
def head_of_nothing_tells_no_offset(tus: Target) -> None:
    """HEAD of an upload that does not exist tells no offset."""
    expect_field(tus.head(unknown(tus)), "Upload-Offset", None)


@check("CORE-HEAD-07", needs=CREATION)
def head_has_no_body(tus: Target) -> None:
    """After HEAD, of an upload or of nothing, the next response begins at once."""
    there, missing = tus.create(10), unknown(tus)
    with tus.connect() as connection:
        connection.send(tus.raw("HEAD", there) * 2)
        expect_status(connection.read_response("HEAD"), 200, 204)
        expect_status(connection.read_response("HEAD"), 200, 204)
    with tus.connect() as connection:
        connection.send(tus.raw("HEAD", missing))
        response = connection.read_response("HEAD")
        expect_status(response, 404, 410, 403)
        if not response.closes:
            expect(not connection.is_readable(0.2), "expected no body after HEAD", response)


@check("CORE-HEAD-08", needs=CREATION)
def head_announces_no_misleading_length(tus: Target) -> None:
    """HEAD says no Content-Length, or that of the GET: the bytes that are there."""
    response = tus.head(tus.create(10))
    value = response.get("Content-Length")
    expect(
        value is None or value == "0",
        f"expected no Content-Length (or 0) for an upload without bytes, got {value}",
        response,
    )


@check("CORE-HEAD-09", needs=CREATION)
def head_changes_nothing(tus: Target) -> None:
    """HEAD again and again tells the same."""
    url = tus.create(10)
    expect_status(tus.append(url, 0, b"hello"), 204, 200)
    for _ in range(REPEATS):
        response = tus.head(url)
        expect_status(response, 200, 204)
        expect_field(response, "Upload-Offset", "5")


@check("CORE-HEAD-10", needs=CREATION)
def head_during_a_silent_append_is_usable(tus: Target) -> None:
    """HEAD beside a PATCH that fell silent gives an offset that a PATCH can use, or 423."""
    url = tus.create(100)
    fields = {"Upload-Offset": "0", "Content-Length": "100"}
    with tus.connect() as connection:
        connection.send(tus.raw("PATCH", url, fields, b"a" * 40))
        time.sleep(0.3)
        response = tus.head(url)
        expect_status(response, 200, 204, 423)
        if response.status == 423:
            return
        offset = int(response.get("Upload-Offset") or "-1")
        expect(0 <= offset <= 40, f"expected an offset of 0 to 40, got {offset}", response)
        answer = tus.append(url, offset, b"a" * (100 - offset))
        expect_status(answer, 204, 200, 423)
