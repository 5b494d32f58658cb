"""Checks of concatenation (tus 1.0.0, Concatenation): what is joined, and in which order.

Not to be seen from outside: CAT-19 (no hook or event for partial uploads) and CAT-20 (parts of
another owner, for which two owners' credentials would be needed).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import NotApplicable, Violation, check, expect, expect_status
from conformance.evidence import (
    PATCH_TYPE,
    eventually,
    expect_content,
    expect_not_created,
    expect_offset,
    location,
    pairs,
    sample,
    state,
)
from conformance.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.target import Target
    from conformance.wire import Response

CONCAT = ("creation", "concatenation")
SMALL = 64 * 2**20  # bytes: the largest Tus-Max-Size that a check is ready to fill
JOINING = 5.0  # seconds that a server may take to put the parts together


def partial(tus: Target, data: bytes, metadata: str | None = None) -> str:
    """Make a complete partial upload."""
    return tus.upload(data, {"Upload-Concat": "partial", "Upload-Metadata": metadata})


def join(tus: Target, parts: Sequence[str], **more: str | None) -> Response:
    """Ask for a final upload of these parts, named by their paths."""
    names = " ".join(tus.path(part) for part in parts)
    fields: dict[str, str | None] = {"Upload-Concat": f"final;{names}"}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return tus.post(fields=fields)


def expect_joined(tus: Target, response: Response, data: bytes) -> str:
    """Expect a final upload with these bytes, after a while; give its URL."""
    url = location(tus, response)
    size = str(len(data))
    eventually(lambda: state(tus, url).get("Upload-Offset") == size, seconds=JOINING)
    answer = expect_offset(tus, url, len(data), "of the final upload")
    told = answer.get("Upload-Length")
    expect(told == size, f"expected Upload-Length: {size} of the final upload, got {told}", answer)
    expect_content(tus, url, data)
    return url


@check("CAT-01")
def concatenation_is_announced_exactly_when_it_works(tus: Target) -> None:
    """Uploads are joined if and only if concatenation is announced."""
    if tus.has("concatenation-unfinished"):
        expect(
            tus.has("concatenation"),
            "expected concatenation announced with concatenation-unfinished",
        )
    if not tus.has("creation"):
        raise NotApplicable("nothing can be created")
    response = tus.post(fields={"Upload-Length": "5", "Upload-Concat": "partial"})
    if tus.has("concatenation"):
        expect_status(response, 201)
        return
    if response.status == 201:
        part = location(tus, response)
        expect_status(tus.append(part, 0, b"hello"), 204)
        expect(
            join(tus, [part]).status != 201,
            "expected concatenation announced, as parts were joined",
        )


@check("CAT-02", "CAT-HEAD-03", "CAT-HEAD-05", needs=CONCAT)
def partial_upload_is_an_upload(tus: Target) -> None:
    """A partial upload takes its bytes in several PATCHes and tells offset, length and kind."""
    data = sample(100)
    url = tus.create(100, {"Upload-Concat": "partial"})
    for start in (0, 30, 70):
        answer = expect_offset(tus, url, start, "of a partial upload")
        expect(
            answer.get("Upload-Length") == "100", "expected Upload-Length: 100 of a partial upload"
        )
        kind = answer.get("Upload-Concat")
        expect(kind == "partial", f"expected Upload-Concat: partial, got {kind}", answer)
        end = {0: 30, 30: 70, 70: 100}[start]
        expect_status(tus.append(url, start, data[start:end]), 204)
    answer = expect_offset(tus, url, 100, "of a complete partial upload")
    expect(
        answer.get("Upload-Concat") == "partial",
        "expected Upload-Concat: partial at the end",
        answer,
    )
    expect_joined(tus, join(tus, [url]), data)


@check("CAT-02", needs=CONCAT)
def partial_upload_keeps_the_rules(tus: Target) -> None:
    """A partial upload refuses a wrong offset, and takes the right one then."""
    url = tus.create(10, {"Upload-Concat": "partial"})
    expect_status(tus.append(url, 0, b"01234"), 204)
    expect_status(tus.append(url, 4, b"x"), 409)
    expect_status(tus.append(url, 6, b"x"), 409)
    expect_status(tus.append(url, 5, b"56789"), 204)
    expect_joined(tus, join(tus, [url]), b"0123456789")


@check("CAT-03", "CAT-04", "CAT-HEAD-02", needs=CONCAT)
def parts_are_joined_in_the_order_of_the_list(tus: Target) -> None:
    """The list decides, not the order in which the parts were made or filled."""
    pieces = [sample(size, size) for size in (5, 70_001, 1, 4_096)]
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2,)):
        # New ones each time: nothing says that parts outlive the upload that is made of them.
        parts = [tus.create(len(data), {"Upload-Concat": "partial"}) for data in pieces]
        for at in (2, 0, 3, 1):
            expect_status(tus.append(parts[at], 0, pieces[at]), 204)
        response = join(tus, [parts[at] for at in order])
        expect_joined(tus, response, b"".join(pieces[at] for at in order))


@check("CAT-03", "CAT-04", needs=CONCAT)
def other_uploads_are_not_joined(tus: Target) -> None:
    """Only the parts in the list are in the final upload, and others stay what they were."""
    words = (b"hello", b" world", b" and more", b"good day")
    first, second, other, last = (partial(tus, word) for word in words)
    plain = tus.upload(b"no part")
    expect_joined(tus, join(tus, [first, second]), b"hello world")
    expect_joined(tus, join(tus, [other, last]), b" and moregood day")
    expect_content(tus, plain, b"no part")


@check("CAT-03", needs=CONCAT)
def empty_parts_are_joined(tus: Target) -> None:
    """A part without a byte adds nothing and breaks nothing."""
    response = tus.post(fields={"Upload-Length": "0", "Upload-Concat": "partial"})
    if response.status != 201:
        raise NotApplicable("uploads of length 0 cannot be made here")
    empty, word = location(tus, response), partial(tus, b"hello")
    expect_joined(tus, join(tus, [empty, word, empty]), b"hello")


@check("CAT-05", needs=CONCAT)
def length_of_a_final_upload_is_not_believed(tus: Target) -> None:
    """Upload-Length with the creation of a final upload is refused or ignored."""
    part = partial(tus, b"hello")
    for length in ("5", "4", "6", "0", "1000"):
        response = join(tus, [part], Upload_Length=length)
        if response.status == 201:
            expect_joined(tus, response, b"hello")
        else:
            expect_not_created(response, f"a final upload with Upload-Length: {length}")


@check("CAT-06", needs=CONCAT)
def parts_are_named_by_any_url(tus: Target) -> None:
    """Absolute URLs and paths lead to the same parts, also mixed in one list."""
    for is_first_whole, is_second_whole in ((False, False), (True, True), (True, False)):
        first, second = partial(tus, b"hello"), partial(tus, b" world")
        names = (
            first if is_first_whole else tus.path(first),
            second if is_second_whole else tus.path(second),
        )
        response = tus.post(fields={"Upload-Concat": "final;" + " ".join(names)})
        expect_joined(tus, response, b"hello world")


@check("CAT-07", needs=CONCAT)
def odd_urls_are_no_parts(tus: Target) -> None:
    """URLs that climb, hide slashes or lead elsewhere are refused, never a 5xx."""
    part = partial(tus, b"hello")
    parent, _, name = tus.path(part).rpartition("/")
    for odd in (
        f"{parent}/../../../../etc/passwd",
        f"{parent}/..%2f..%2fetc%2fpasswd",
        f"{parent}/%00",
        "file:///etc/passwd",
        "http://[::1",
        "/",
        f"{parent}/",
        f"{parent}/{name}/{name}",
    ):
        for names in (odd, f"{tus.path(part)} {odd}"):
            response = tus.post(fields={"Upload-Concat": f"final;{names}"})
            expect_not_created(response, f"the part {odd}")


@check("CAT-07", needs=CONCAT)
def unknown_parts_are_refused(tus: Target) -> None:
    """A list with an upload that does not exist is 404 or 400 and makes nothing."""
    part = partial(tus, b"hello")
    unknown = part.rstrip("/") + "0"
    for parts in ([unknown], [part, unknown], [unknown, part]):
        response = join(tus, parts)
        expect_status(response, 404, 400, 410)
        expect_not_created(response, "an unknown part")
    expect_joined(tus, join(tus, [part]), b"hello")


@check("CAT-07", needs=(*CONCAT, "termination"))
def terminated_parts_are_refused(tus: Target) -> None:
    """A part that was terminated is unknown."""
    part, gone = partial(tus, b"hello"), partial(tus, b" world")
    expect_status(tus.delete(gone), 204)
    expect_not_created(join(tus, [part, gone]), "a part that was terminated")


@check("CAT-09", needs=CONCAT)
def part_may_occur_twice(tus: Target) -> None:
    """A part twice in one list is joined twice, and can be used again in another."""
    a, b = partial(tus, b"aaa1"), partial(tus, b"b2")
    expect_joined(tus, join(tus, [a, a]), b"aaa1aaa1")
    expect_joined(tus, join(tus, [a, b, a]), b"aaa1b2aaa1")
    expect_joined(tus, join(tus, [b, a]), b"b2aaa1")


@check("CAT-10", "CAT-11", needs=CONCAT)
def final_upload_has_its_own_metadata(tus: Target) -> None:
    """Metadata of the parts do not reach the final upload; those of its own request are kept."""
    metadata = "filename cGFydA==,part MQ=="
    for own in (None, "filename ZmluYWw=", "whole bWV0YQ==,other Mg=="):
        parts = [partial(tus, b"hello", metadata), partial(tus, b" world", metadata)]
        url = expect_joined(tus, join(tus, parts, Upload_Metadata=own), b"hello world")
        told = state(tus, url).get("Upload-Metadata")
        kept = sorted(pairs(told)) == sorted(pairs(own))
        expect(kept, f"expected Upload-Metadata: {own} of the final upload, got {told}")


@check("CAT-13", needs=CONCAT)
def only_partial_uploads_are_parts(tus: Target) -> None:
    """An ordinary upload or a final one in the list is 400."""
    part, plain = partial(tus, b"hello"), tus.upload(b"plain")
    final = expect_joined(tus, join(tus, [part]), b"hello")
    for wrong in (plain, final):
        for parts in ([wrong], [part, wrong]):
            response = join(tus, parts)
            expect_status(response, 400)
            expect_not_created(response, "an upload that is not partial")


@check("CAT-14", needs=CONCAT)
def malformed_concat_is_400(tus: Target) -> None:
    """What is neither `partial` nor `final;` and URLs is 400 and makes nothing."""
    part = tus.path(partial(tus, b"hello"))
    bad = ("final;", "final", "final; ", f"FINAL;{part}", "partial;x", "", "other", f"final {part}")
    for value in bad:
        response = tus.post(fields={"Upload-Concat": value, "Upload-Length": "5"})
        expect_status(response, 400, *((201,) if value == "" else ()))
        if response.status != 201:
            expect_not_created(response, f"Upload-Concat: {value!r}")


@check("CAT-15", needs=CONCAT)
def sum_above_the_limit_is_413(tus: Target) -> None:
    """A final upload that would be larger than Tus-Max-Size is 413, repeats counted."""
    limit = tus.announced.max_size
    if limit is None or limit > SMALL:
        raise NotApplicable("Tus-Max-Size is not announced, or too large to be filled")
    part = partial(tus, bytes(limit // 2 + 1))
    response = join(tus, [part, part])
    expect_not_created(response, "a final upload above Tus-Max-Size")
    expect_status(response, 413)
    other = partial(tus, bytes(limit // 2 + 1))
    expect_status(join(tus, [part, other]), 413)


@check("CAT-15", needs=(*CONCAT, "concatenation-unfinished"))
def sum_of_unfinished_parts_above_the_limit_is_413(tus: Target) -> None:
    """The lengths of parts count, also while their bytes are not there."""
    if tus.announced.max_size is None:
        raise NotApplicable("no Tus-Max-Size is announced")
    length = str(tus.announced.max_size // 2 + 1)
    response = tus.post(fields={"Upload-Length": length, "Upload-Concat": "partial"})
    if response.status == 507:
        raise NotApplicable("there is no room for half of Tus-Max-Size")
    part = location(tus, response)
    expect_status(join(tus, [part, part]), 413)
    if tus.has("termination"):
        tus.delete(part)


@check("CAT-16", needs=CONCAT)
def thousand_parts_are_joined_or_refused(tus: Target) -> None:
    """A list of a thousand parts works, or is refused in a way that a client can read."""
    pieces = [sample(3, seed) for seed in range(20)]
    parts = [partial(tus, piece) for piece in pieces]
    order = [(at * 7) % 20 for at in range(1000)]
    try:
        response = join(tus, [parts[at] for at in order])
    except WireError as error:
        raise Violation(f"expected an answer to a list of a thousand parts ({error})") from error
    if response.status == 201:
        expect_joined(tus, response, b"".join(pieces[at] for at in order))
    else:
        expect_not_created(response, "a thousand parts")
    expect_joined(tus, join(tus, parts[:2]), pieces[0] + pieces[1])


@check("CAT-17", needs=(*CONCAT, "creation-defer-length"))
def partial_upload_may_defer_its_length(tus: Target) -> None:
    """Upload-Defer-Length works with a partial upload, and is 400 with a final one."""
    part = tus.create(None, {"Upload-Concat": "partial"})
    expect_status(tus.append(part, 0, b"hel"), 204)
    expect_status(tus.append(part, 3, b"lo", {"Upload-Length": "5"}), 204)
    response = join(tus, [part], Upload_Defer_Length="1")
    expect_status(response, 400)
    expect_joined(tus, join(tus, [part]), b"hello")


@check("CAT-02", needs=(*CONCAT, "creation-with-upload"))
def partial_uploads_take_first_data(tus: Target) -> None:
    """A partial upload can be created with its data, as tus-js-client does in parallel."""
    parts = []
    for data in (b"hello", b" world"):
        fields = {"Upload-Concat": "partial", "Content-Type": PATCH_TYPE}
        response = tus.post(fields=fields | {"Upload-Length": str(len(data))}, body=data)
        parts.append(location(tus, response))
    expect_joined(tus, join(tus, parts), b"hello world")


@check("CLI-02", needs=CONCAT)
def parallel_upload_of_a_browser_works(tus: Target) -> None:
    """Parts are filled in turns, then joined by absolute URLs, with metadata and no body."""
    data = sample(400_000)
    quarter = len(data) // 4
    pieces = [data[at * quarter : (at + 1) * quarter] for at in range(4)]
    parts = [tus.create(quarter, {"Upload-Concat": "partial"}) for _ in pieces]
    half = quarter // 2
    for part, piece in zip(parts, pieces, strict=True):
        expect_status(tus.append(part, 0, piece[:half]), 204)
    for part, piece in reversed(list(zip(parts, pieces, strict=True))):
        expect_status(tus.append(part, half, piece[half:]), 204)
    fields = {"Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": "filename YQ=="}
    expect_joined(tus, tus.post(fields=fields), data)
