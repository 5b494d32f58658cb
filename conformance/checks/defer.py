"""Checks of creation-defer-length (tus 1.0.0, Creation, Upload-Defer-Length)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_status
from conformance.evidence import (
    expect_content,
    expect_not_created,
    expect_offset,
    expect_refused,
    expect_untouched,
    finish,
    is_ok,
    location,
    patch_head,
    sample,
    send_raw,
    state,
)
from conformance.wire import chunked

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Response

DEFER = ("creation", "creation-defer-length")
SMALL = 64 * 2**20  # bytes: the largest Tus-Max-Size that a check is ready to fill


def declare(tus: Target, url: str, offset: int, data: bytes, length: int | str) -> Response:
    """Send bytes and the length with them."""
    return tus.append(url, offset, data, {"Upload-Length": str(length)})


def expect_open(tus: Target, url: str, offset: int) -> None:
    """Expect from HEAD that the length is not known."""
    answer = expect_offset(tus, url, offset, "while the length is open")
    told = answer.get("Upload-Defer-Length")
    expect(told == "1", f"expected Upload-Defer-Length: 1, got {told}")
    length = answer.get("Upload-Length")
    expect(length is None, f"expected no Upload-Length while it is open, got {length}")


def expect_length(tus: Target, url: str, length: int) -> None:
    """Expect from HEAD that the length is settled."""
    answer = state(tus, url)
    told = answer.get("Upload-Length")
    expect(told == str(length), f"expected Upload-Length: {length}, got {told}")
    deferred = answer.get("Upload-Defer-Length")
    expect(deferred is None, f"expected no Upload-Defer-Length any more, got {deferred}")


@check("DEF-01", "DEF-11", needs=("creation",))
def deferral_is_announced_exactly_when_it_works(tus: Target) -> None:
    """POST may defer the length if and only if creation-defer-length is announced."""
    response = tus.post(fields={"Upload-Defer-Length": "1"})
    if tus.has("creation-defer-length"):
        expect_status(response, 201)
    else:
        expect(
            response.status >= 400, "expected creation-defer-length announced, or the length wanted"
        )


@check("DEF-02", needs=DEFER)
def deferral_has_one_value(tus: Target) -> None:
    """Upload-Defer-Length other than 1 is 400 and creates nothing."""
    for value in ("0", "2", "true", "", "-1", "11", "1.0", "yes"):
        response = tus.post(fields={"Upload-Defer-Length": value})
        expect_status(response, 400)
        expect(
            response.get("Location") is None,
            f"expected no upload of Upload-Defer-Length: {value!r}",
        )


@check("DEF-03", needs=DEFER)
def open_length_is_told_as_such(tus: Target) -> None:
    """HEAD tells Upload-Defer-Length: 1 and no length: when new, and with bytes in it."""
    url = tus.create(None)
    expect_open(tus, url, 0)
    data = sample(70)
    expect_status(tus.append(url, 0, data[:30]), 204)
    expect_open(tus, url, 30)
    expect_status(tus.append(url, 30, data[30:]), 204)
    expect_open(tus, url, 70)


@check("DEF-04", needs=DEFER)
def first_patch_settles_the_length(tus: Target) -> None:
    """Upload-Length with the first PATCH is the length from then on."""
    data = sample(100)
    url = tus.create(None)
    response = declare(tus, url, 0, data[:40], 100)
    expect_status(response, 204)
    expect(response.get("Upload-Offset") == "40", "expected Upload-Offset: 40 in the 204")
    expect_length(tus, url, 100)
    finish(tus, url, data, 40)
    expect_length(tus, url, 100)


@check("DEF-04", needs=DEFER)
def later_patch_settles_the_length(tus: Target) -> None:
    """The length may also come with the second PATCH, with or without bytes after it."""
    data = sample(100_000)
    for middle in (60_000, 100_000):
        url = tus.create(None)
        expect_status(tus.append(url, 0, data[:50_000]), 204)
        response = declare(tus, url, 50_000, data[50_000:middle], len(data))
        expect_status(response, 204)
        expect_length(tus, url, len(data))
        if middle < len(data):
            finish(tus, url, data, middle)
        expect_content(tus, url, data)


@check("DEF-10", needs=DEFER)
def settled_length_is_kept(tus: Target) -> None:
    """Once settled, no byte beyond the length is taken."""
    url = tus.create(None)
    expect_status(declare(tus, url, 0, b"01234", 10), 204)
    response = tus.append(url, 5, b"567890123456789")
    offset = state(tus, url).get("Upload-Offset")
    expect(offset in ("5", "10"), f"expected no offset beyond the length of 10, got {offset}")
    expect(
        not is_ok(response) or response.get("Upload-Offset") == "10",
        "expected no more than 10 told",
    )


@check("DEF-05", needs=DEFER)
def settled_length_does_not_change(tus: Target) -> None:
    """Another Upload-Length later, larger or smaller, is refused or without effect."""
    data = sample(100)
    for other in (99, 101, 200, 41, 40, 0):
        url = tus.create(None)
        expect_status(declare(tus, url, 0, data[:40], 100), 204)
        _expect_length_fixed(tus, url, data, other)


@check("DEF-05", needs=("creation",))
def length_of_creation_does_not_change(tus: Target) -> None:
    """Upload-Length in a PATCH does not change the length that the creation set."""
    data = sample(100)
    for other in (99, 101, 200, 41, 40, 0):
        url = tus.create(100)
        expect_status(tus.append(url, 0, data[:40]), 204)
        _expect_length_fixed(tus, url, data, other)


def _expect_length_fixed(tus: Target, url: str, data: bytes, other: int) -> None:
    """Try to declare another length with an empty PATCH and with one that brings a byte."""
    offset = 40
    for piece in (b"", data[40:41]):
        response = declare(tus, url, offset, piece, other)
        expect(response.status < 500, f"expected 4xx or no effect, got {response.status}")
        told = state(tus, url).get("Upload-Length")
        expect(told == "100", f"expected Upload-Length: 100 as before, got {told}")
        offset += len(piece) if is_ok(response) else 0
    expect_untouched(tus, url, data, offset)


@check("DEF-06", needs=DEFER)
def empty_patch_may_bring_the_length(tus: Target) -> None:
    """A PATCH without bytes may tell that what is there is everything."""
    data = sample(33)
    url = tus.create(None)
    expect_status(tus.append(url, 0, data), 204)
    response = declare(tus, url, 33, b"", 33)
    expect_status(response, 204)
    expect_length(tus, url, 33)
    expect_content(tus, url, data)


@check("DEF-06", needs=DEFER)
def open_length_may_turn_out_as_0(tus: Target) -> None:
    """An upload of open length may be declared to be empty."""
    url = tus.create(None)
    expect_status(declare(tus, url, 0, b"", 0), 204)
    expect_length(tus, url, 0)
    expect_content(tus, url, b"")


@check("DEF-07", needs=DEFER)
def length_below_the_offset_is_refused(tus: Target) -> None:
    """A length smaller than what is stored is 400, and the length stays open."""
    data = sample(50)
    for length in (49, 1, 0):
        url = tus.create(None)
        expect_status(tus.append(url, 0, data), 204)
        expect_status(declare(tus, url, 50, b"", length), 400)
        expect_open(tus, url, 50)
        expect_status(declare(tus, url, 50, b"", 50), 204)
        expect_content(tus, url, data)


@check("DEF-04", "CRE-07", needs=DEFER)
def late_length_must_be_a_plain_number(tus: Target) -> None:
    """What is no number does not become the length of an upload."""
    url = tus.create(None)
    for value in ("-1", "abc", "1.5", "0x10", "1 0", "1e1"):
        response = declare(tus, url, 0, b"", value)
        expect_refused(response, f"Upload-Length: {value!r}")
        expect_open(tus, url, 0)
    expect_status(declare(tus, url, 0, b"0123456789", 10), 204)
    expect_content(tus, url, b"0123456789")


@check("DEF-08", needs=DEFER)
def late_length_above_the_limit_is_413(tus: Target) -> None:
    """A length above Tus-Max-Size is 413 when a PATCH brings it, and nothing is settled."""
    if tus.announced.max_size is None:
        raise NotApplicable("no Tus-Max-Size is announced")
    url = tus.create(None)
    expect_status(declare(tus, url, 0, b"", tus.announced.max_size + 1), 413)
    expect_open(tus, url, 0)
    expect_status(declare(tus, url, 0, b"0123456789", tus.announced.max_size + 1), 413)
    told = state(tus, url).get("Upload-Length")
    expect(told is None, f"expected no length settled by a refused PATCH, got {told}")


@check("DEF-09", needs=DEFER)
def open_length_is_no_way_around_the_limit(tus: Target) -> None:
    """An upload of open length does not grow above Tus-Max-Size."""
    limit = tus.announced.max_size
    if limit is None or limit > SMALL:
        raise NotApplicable("Tus-Max-Size is not announced, or too large to be filled")
    response = tus.patch(url := tus.create(None), {"Upload-Offset": "0"}, bytes(limit + 1))
    expect_status(response, 413)
    offset = int(state(tus, url).get("Upload-Offset") or -1)
    expect(0 <= offset <= limit, f"expected at most {limit} bytes stored, got {offset}")


@check("DEF-10", needs=DEFER)
def body_beyond_its_own_length_is_413(tus: Target) -> None:
    """A PATCH that brings the length and more bytes than that is 413; none too many is kept."""
    url = tus.create(None)
    expect_status(declare(tus, url, 0, b"0123456789", 5), 413)
    offset = state(tus, url).get("Upload-Offset")
    expect(offset in ("0", "5"), f"expected 0 bytes stored or 5, got {offset}")


@check("DEF-10", needs=DEFER)
def chunked_body_beyond_its_own_length_is_413(tus: Target) -> None:
    """The same holds for a chunked body, whose length nobody knows before its end."""
    url = tus.create(None)
    head = patch_head(tus, url, 0, None, Upload_Length="5")
    expect_status(send_raw(tus, "PATCH", url, head + chunked(b"012", b"3456789")), 413)
    offset = state(tus, url).get("Upload-Offset")
    expect(offset in ("0", "3", "5"), f"expected a prefix of at most 5 bytes stored, got {offset}")


@check("DEF-12", needs=DEFER)
def open_length_is_never_complete(tus: Target) -> None:
    """However many bytes came, an upload of open length takes more of them."""
    data = sample(3 * 1000)
    url = tus.create(None)
    for start in range(0, 3000, 1000):
        expect_status(tus.append(url, start, data[start : start + 1000]), 204)
        expect_open(tus, url, start + 1000)
    expect_status(declare(tus, url, 3000, b"!", 3001), 204)
    expect_content(tus, url, data + b"!")


@check("DEF-12", needs=(*DEFER, "concatenation"))
def open_length_makes_no_finished_final(tus: Target) -> None:
    """A partial upload of open length does not count as complete in a final one."""
    fields = {"Upload-Defer-Length": "1", "Upload-Concat": "partial"}
    response = tus.post(fields=fields)
    if response.status != 201:
        raise NotApplicable("a partial upload cannot defer its length here")
    part = location(tus, response)
    expect_status(tus.append(part, 0, b"hello"), 204)
    concat = f"final;{tus.path(part)}"
    response = tus.post(fields={"Upload-Concat": concat})
    if not tus.has("concatenation-unfinished"):
        expect_not_created(response, "a final upload of a part whose length is open")
        return
    answer = state(tus, location(tus, response))
    for name in ("Upload-Offset", "Upload-Length"):
        told = answer.get(name)
        expect(told is None, f"expected no {name} of a final upload whose part is open, got {told}")
