"""Checks of the creation extension (tus 1.0.0, Creation); metadata have a file of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conformance.check import NotApplicable, Violation, check, expect, expect_status
from conformance.evidence import (
    expect_content,
    expect_not_created,
    expect_offset,
    expect_refused,
    finish,
    gives_downloads,
    is_ok,
    location,
    sample,
    state,
)
from conformance.wire import WireError

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)
NO_ROOM = (413, 507)
BITS = 122  # what a random UUID has
MANY = 32


@check("CRE-01", "CRE-11")
def creation_is_announced_exactly_when_it_works(tus: Target) -> None:
    """POST creates an upload if and only if `creation` is in Tus-Extension."""
    response = tus.post(fields={"Upload-Length": "10"})
    if tus.has("creation"):
        expect_status(response, 201)
    else:
        expect(
            response.status != 201, "expected creation in Tus-Extension, as POST created an upload"
        )
        expect(
            response.status >= 400, f"expected POST refused without creation, got {response.status}"
        )


@check("CRE-02", "CRE-03", needs=CREATION)
def creation_is_201_with_one_location(tus: Target) -> None:
    """POST with a length is answered 201 and exactly one Location."""
    response = tus.post(fields={"Upload-Length": "100"})
    expect_status(response, 201)
    found = response.all("Location")
    expect(len(found) == 1, f"expected one Location, got {len(found)}")
    expect(bool(found[0].strip()), "expected a Location that is not empty")


@check("CRE-03", needs=CREATION)
def location_leads_to_the_new_upload(tus: Target) -> None:
    """The Location, resolved against the creation URL, is the upload: it takes the data."""
    data = sample(100)
    response = tus.post(fields={"Upload-Length": "100"})
    url = location(tus, response)
    try:
        answer = tus.head(url)
    except WireError as error:
        raise Violation(f"expected a Location that can be reached, got {url} ({error})") from error
    expect_status(answer, 200, 204)
    expect(
        answer.get("Upload-Length") == "100", "expected the Upload-Length of the new upload there"
    )
    finish(tus, url, data, 0)


@check("CRE-04", needs=CREATION)
def absolute_location_keeps_the_origin(tus: Target) -> None:
    """An absolute Location names the host and the scheme that the client used."""
    response = tus.post(fields={"Upload-Length": "1"})
    url = urlsplit(location(tus, response))
    ours = urlsplit(tus.url)
    expect(
        url.scheme == ours.scheme, f"expected scheme {ours.scheme} in Location, got {url.scheme}"
    )
    expect(url.netloc == ours.netloc, f"expected host {ours.netloc} in Location, got {url.netloc}")


@check("CRE-04", needs=CREATION)
def odd_forwarding_fields_do_no_harm(tus: Target) -> None:
    """Fields such as proxies add are believed or ignored: never a 5xx, never copied unescaped."""
    odd = (
        {"X-Forwarded-Proto": "https,http", "X-Forwarded-Host": "a.example, b.example"},
        {"X-Forwarded-Host": 'a.example/"><script>'},
        {"X-Forwarded-Proto": "javascript"},
        {"Forwarded": 'for="[::1', "X-Forwarded-Port": "-1"},
    )
    for fields in odd:
        response = tus.post(fields={"Upload-Length": "1"} | fields)
        expect(response.status < 500, f"expected no {response.status} for {fields}")
        told = response.get("Location") or ""
        expect('"' not in told and "<" not in told, f"expected a clean Location, got {told}")
        expect(not told.startswith("javascript"), f"expected a Location that is a URL, got {told}")


@check("CRE-05", needs=CREATION)
def new_upload_is_at_offset_0(tus: Target) -> None:
    """HEAD on a new upload tells offset 0 and the length."""
    for length in (1, 100, 70_000):
        answer = expect_offset(tus, tus.create(length), 0, "right after the creation")
        told = answer.get("Upload-Length")
        expect(told == str(length), f"expected Upload-Length: {length}, got {told}")


@check("CRE-06", needs=CREATION)
def creation_without_length_is_refused(tus: Target) -> None:
    """POST with neither Upload-Length nor Upload-Defer-Length creates nothing."""
    expect_not_created(tus.post(fields={}), "a creation without length")


@check("CRE-07", needs=CREATION)
def length_must_be_a_plain_number(tus: Target) -> None:
    """What is no non-negative integer in ASCII digits is no length."""
    for value in ("-1", "abc", "1.5", "", "1e3", "0x10", "1 0", "1_0", "10,10", "\u0665"):
        response = tus.post(fields={"Upload-Length": value})
        expect_not_created(response, f"Upload-Length: {value!r}")


@check("CRE-07", needs=CREATION)
def huge_lengths_are_kept_exactly_or_refused(tus: Target) -> None:
    """Lengths beyond 2^31, 2^32, 2^53 and 2^63 come back digit by digit, or nothing is created."""
    accepted = 0
    for length in (2**31 + 1, 2**32 + 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 + 1, 10**30):
        response = tus.post(fields={"Upload-Length": str(length)})
        if response.status == 201:
            accepted += 1
            url = location(tus, response)
            told = expect_offset(tus, url, 0).get("Upload-Length")
            expect(told == str(length), f"expected Upload-Length: {length}, got {told}")
            if tus.has("termination"):
                tus.delete(url)
            continue
        clean = 400 <= response.status < 500 or response.status in NO_ROOM
        expect(
            clean, f"expected Upload-Length: {length} accepted, or refused, got {response.status}"
        )
        expect(response.get("Location") is None, f"expected no Location in the {response.status}")
    if not accepted:
        raise NotApplicable("this server takes no upload of more than 2 GiB now")


@check("CRE-08", needs=CREATION)
def length_and_its_deferral_exclude_each_other(tus: Target) -> None:
    """Upload-Length and Upload-Defer-Length at once are 400, or deferral is unknown here."""
    response = tus.post(fields={"Upload-Length": "10", "Upload-Defer-Length": "1"})
    expect_status(response, 400, *(() if tus.has("creation-defer-length") else (201, 501)))


@check("CRE-09", needs=CREATION)
def empty_upload_is_complete_at_once(tus: Target) -> None:
    """Upload-Length: 0 creates a complete upload: offset 0, length 0, nothing to download."""
    url = location(tus, tus.post(fields={"Upload-Length": "0"}))
    told = expect_offset(tus, url, 0).get("Upload-Length")
    expect(told == "0", f"expected Upload-Length: 0, got {told}")
    expect_content(tus, url, b"")


@check("CRE-09", needs=CREATION)
def empty_upload_takes_an_empty_patch(tus: Target) -> None:
    """A client that sends an empty PATCH to an empty upload all the same does no harm."""
    url = location(tus, tus.post(fields={"Upload-Length": "0"}))
    response = tus.append(url, 0, b"")
    expect(response.status < 500, f"expected 204 or a refusal, got {response.status}")
    expect_offset(tus, url, 0)
    expect_content(tus, url, b"")


@check("CRE-10", needs=CREATION)
def lengths_above_the_limit_are_413(tus: Target) -> None:
    """Upload-Length of Tus-Max-Size + 1 is 413 and creates nothing."""
    limit = _limit(tus)
    for length in (limit + 1, limit * 2 + 1):
        response = tus.post(fields={"Upload-Length": str(length)})
        expect_status(response, 413)
        expect(response.get("Location") is None, "expected no Location in the 413")


@check("CRE-10", needs=CREATION)
def length_at_the_limit_is_accepted(tus: Target) -> None:
    """Upload-Length of exactly Tus-Max-Size creates an upload, or there is no room (507)."""
    response = tus.post(fields={"Upload-Length": str(_limit(tus))})
    expect_status(response, 201, 507)
    if response.status == 201 and tus.has("termination"):
        tus.delete(location(tus, response))


def _limit(tus: Target) -> int:
    if tus.announced.max_size is None:
        raise NotApplicable("no Tus-Max-Size is announced")
    return tus.announced.max_size


@check("CRE-12", needs=CREATION)
def every_creation_is_an_upload_of_its_own(tus: Target) -> None:
    """Two equal POSTs make two uploads; what is written to one is not in the other."""
    first, second = tus.create(5), tus.create(5)
    expect(first != second, "expected two URLs for two creations")
    expect_status(tus.append(first, 0, b"first"), 204)
    expect_offset(tus, second, 0, "of the other upload")
    finish(tus, second, b"other", 0)
    expect_content(tus, first, b"first")


@check("CRE-12", needs=CREATION)
def urls_cannot_be_guessed(tus: Target) -> None:
    """What differs between upload URLs has room for the randomness of a UUID."""
    urls = [tus.create(1) for _ in range(MANY)]
    expect(len(set(urls)) == MANY, f"expected {MANY} URLs for {MANY} creations")
    shared = _common(urls)
    ending = _common([url[:shared:-1] for url in urls])
    changing = [url[shared : len(url) - ending] for url in urls]
    columns = (set(column) for column in zip(*changing, strict=False))
    bits = sum(math.log2(_alphabet(column)) for column in columns if len(column) > 1)
    expect(bits >= BITS, f"expected URLs with {BITS} random bits, not room for {bits:.0f}")


def _common(texts: list[str]) -> int:
    """Count the characters with which all of these begin."""
    columns = zip(*texts, strict=False)
    return next((at for at, column in enumerate(columns) if len(set(column)) > 1), 0)


def _alphabet(column: set[str]) -> int:
    """Guess, kindly, of how many characters one place of an id is made."""
    if column <= set("0123456789"):
        return 10
    return 16 if column <= set("0123456789abcdefABCDEF") else 64


@check("CRE-13", needs=CREATION)
def bodies_of_other_types_are_no_data(tus: Target) -> None:
    """A creation with a body of another Content-Type is a creation at offset 0."""
    for kind in ("application/json", "text/plain", "application/octet-stream"):
        response = tus.post(fields={"Upload-Length": "5", "Content-Type": kind}, body=b"wrong")
        url = location(tus, response)
        told = response.get("Upload-Offset")
        expect(told in (None, "0"), f"expected no Upload-Offset but 0 in the 201, got {told}")
        expect_offset(tus, url, 0, f"as {kind} is no upload data")
        finish(tus, url, b"right", 0)


@check("CRE-03", needs=CREATION)
def creation_answers_every_time(tus: Target) -> None:
    """Refused creations in between leave no trace: uploads go on being created and filled."""
    for length in range(1, 4):
        expect_refused(tus.post(fields={"Upload-Length": "no"}), "Upload-Length: no")
        data = sample(length)
        url = tus.create(length)
        finish(tus, url, data, 0)
        expect(is_ok(state(tus, url)), "expected the upload to be there")


@check("CRE-09", needs=CREATION)
def one_byte_uploads_complete(tus: Target) -> None:
    """The smallest upload that has a byte is complete after it, not before."""
    url = tus.create(1)
    if gives_downloads(tus):
        expect(tus.content(url) != b"\0", "expected no byte in an upload that nobody sent")
    finish(tus, url, b"1", 0)
