"""Checks of creation-with-upload (tus 1.0.0, Creation With Upload)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import NotApplicable, Violation, check, expect, expect_status
from conformance.evidence import (
    PATCH_TYPE,
    eventually,
    expect_content,
    expect_offset,
    expect_refused,
    finish,
    head_of,
    is_ok,
    location,
    sample,
    send_raw,
    sha1,
    state,
)
from conformance.wire import WireError, chunked

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Response

WITH = ("creation", "creation-with-upload")


def post(tus: Target, body: bytes, length: int | None, **more: str) -> Response:
    """Create an upload with its first bytes."""
    tus.need_room(length or 0)
    fields = {"Content-Type": PATCH_TYPE}
    fields |= {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return tus.post(fields=fields, body=body)


def post_head(tus: Target, length: int, **more: str) -> bytes:
    """Write the head of such a request, for bodies that are sent by hand."""
    tus.need_room(length)
    fields = {"Content-Type": PATCH_TYPE, "Upload-Length": str(length)}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return head_of(tus, "POST", tus.url, fields)


@check("CWU-01")
def first_data_are_announced_exactly_when_taken(tus: Target) -> None:
    """creation-with-upload stands beside creation, and data are taken only where it stands."""
    if tus.has("creation-with-upload"):
        expect(tus.has("creation"), "expected creation announced with creation-with-upload")
        return
    if not tus.has("creation"):
        raise NotApplicable("nothing can be created")
    response = post(tus, b"01234", 100)
    if response.status == 201:
        stored = state(tus, location(tus, response)).get("Upload-Offset")
        expect(stored != "5", "expected creation-with-upload announced, as POST stored its body")


@check("CWU-02", needs=WITH)
def first_data_move_the_offset(tus: Target) -> None:
    """A POST with data is 201 with Location and Upload-Offset; HEAD agrees, the rest follows."""
    for size, length in ((5, 100), (99, 100), (1, 2), (70_000, 200_000)):
        data = sample(length)
        response = post(tus, data[:size], length)
        url = location(tus, response)
        told = response.get("Upload-Offset")
        expect(told == str(size), f"expected Upload-Offset: {size} in the 201, got {told}")
        answer = expect_offset(tus, url, size, "after the creation with data")
        expect(
            answer.get("Upload-Length") == str(length),
            f"expected Upload-Length: {length} from HEAD",
        )
        finish(tus, url, data, size)


@check("CWU-03", needs=WITH)
def everything_at_once_completes(tus: Target) -> None:
    """A POST that brings all bytes makes a complete upload."""
    for size in (1, 5, 300_000):
        data = sample(size, size)
        response = post(tus, data, size)
        url = location(tus, response)
        told = response.get("Upload-Offset")
        expect(told == str(size), f"expected Upload-Offset: {size} in the 201, got {told}")
        expect_content(tus, url, data)


@check("CWU-04", "CWU-06", needs=WITH)
def first_data_survive_an_early_end(tus: Target) -> None:
    """After 40 of 100 bytes and a half-close, an answer that names the upload tells the truth."""
    data = sample(100)
    with tus.connect() as connection:
        connection.send(post_head(tus, 100, Content_Length="100") + data[:40])
        connection.half_close()
        try:
            response = connection.read_response("POST")
        except WireError as error:
            raise NotApplicable("no answer after half a body, so no URL is known") from error
    if response.get("Location") is None:
        raise NotApplicable("no Location after half a body, so the upload cannot be found")
    url = tus.resolve(response.get("Location") or "")
    offset = int(state(tus, url).get("Upload-Offset") or -1)
    told = response.get("Upload-Offset")
    expect(told in (None, str(offset)), f"expected the Upload-Offset of HEAD, {offset}, got {told}")
    expect(offset == 40, f"expected the 40 bytes that came, got {offset}")
    finish(tus, url, data, offset)


@check("CWU-04", needs=WITH)
def first_data_can_be_slow(tus: Target) -> None:
    """A body that comes in small pieces is stored whole and in order."""
    data = sample(5_000)
    head = post_head(tus, len(data), Content_Length=str(len(data)))
    pieces = [data[start : start + 500] for start in range(0, len(data), 500)]
    response = send_raw(tus, "POST", tus.url, head, *pieces)
    expect_content(tus, location(tus, response), data)


@check("CWU-05", needs=WITH)
def too_much_first_data_is_413(tus: Target) -> None:
    """A body longer than Upload-Length is 413; what may exist of it is not too long."""
    response = post(tus, b"0123456789", 5)
    expect_status(response, 413)
    if response.get("Location") is not None:
        offset = state(tus, tus.resolve(response.get("Location") or "")).get("Upload-Offset")
        expect(offset in ("0", "5"), f"expected no more than the 5 bytes, got {offset}")


@check("CWU-05", needs=WITH)
def too_much_chunked_first_data_is_413(tus: Target) -> None:
    """A chunked body longer than Upload-Length is 413 or its URL holds no more than the length."""
    head = post_head(tus, 5, Transfer_Encoding="chunked")
    response = send_raw(tus, "POST", tus.url, head + chunked(b"012", b"3456789"))
    expect_status(response, 413, 201)
    if response.get("Location") is not None:
        offset = int(
            state(tus, tus.resolve(response.get("Location") or "")).get("Upload-Offset") or -1
        )
        expect(0 <= offset <= 5, f"expected no more than the 5 bytes, got {offset}")
        told = response.get("Upload-Offset")
        expect(told in (None, str(offset)), f"expected the true Upload-Offset {offset}, got {told}")


@check("CWU-07", needs=WITH)
def expectation_is_met(tus: Target) -> None:
    """Expect: 100-continue brings 100 before the body, or the final answer."""
    data = sample(1000)
    head = post_head(tus, 1000, Content_Length="1000", Expect="100-continue")
    with tus.connect() as connection:
        connection.send(head)
        connection.is_readable(2)  # a server may say nothing: then the client sends all the same
        connection.send(data)
        response = connection.read_response("POST")
    expect_content(tus, location(tus, response), data)


@check("CWU-07", needs=WITH)
def refusal_comes_instead_of_100(tus: Target) -> None:
    """What cannot succeed is refused before the body is sent, with no 100 Continue."""
    bad = [
        {"Tus-Resumable": "0.2.2", "Upload-Length": "1000"},
        {"Upload-Length": "-1"},
    ]
    if tus.announced.max_size is not None:
        bad.append({"Upload-Length": str(tus.announced.max_size + 1)})
    for fields in bad:
        more = {"Content-Length": "1000", "Expect": "100-continue", "Content-Type": PATCH_TYPE}
        with tus.connect() as connection:
            connection.send(head_of(tus, "POST", tus.url, more | fields))
            try:
                response = connection.read_response("POST", timeout=3)
            except WireError as error:
                raise Violation(
                    f"expected a refusal of {fields} without the body ({error})"
                ) from error
        expect_refused(response, f"a creation with {fields}")
        expect(not response.interim, f"expected no 100 Continue before the {response.status}")


@check("CWU-08", needs=WITH)
def chunked_first_data_are_stored(tus: Target) -> None:
    """A chunked body works, however it is cut into chunks and packets."""
    data = sample(3000)
    head = post_head(tus, len(data), Transfer_Encoding="chunked")
    body = chunked(data[:1], data[1:2], data[2:1500], data[1500:])
    response = send_raw(tus, "POST", tus.url, head + body[:1000], body[1000:])
    url = location(tus, response)
    expect(response.get("Upload-Offset") == "3000", "expected Upload-Offset: 3000 in the 201")
    expect_content(tus, url, data)


@check("CWU-08", needs=(*WITH, "creation-defer-length"))
def first_data_of_open_length_are_stored(tus: Target) -> None:
    """Data may come with a creation that defers the length."""
    data = sample(50)
    response = post(tus, data[:20], None)
    url = location(tus, response)
    expect(response.get("Upload-Offset") == "20", "expected Upload-Offset: 20 in the 201")
    answer = expect_offset(tus, url, 20)
    expect(answer.get("Upload-Defer-Length") == "1", "expected Upload-Defer-Length: 1 from HEAD")
    expect_status(tus.append(url, 20, data[20:], {"Upload-Length": "50"}), 204)
    expect_content(tus, url, data)


@check("CWU-09", needs=(*WITH, "checksum"))
def digest_of_first_data_is_verified(tus: Target) -> None:
    """Upload-Checksum of a creation is compared: a wrong one keeps nothing."""
    data = sample(100)
    response = post(tus, data[:60], 100, Upload_Checksum=sha1(data[:60]))
    finish(tus, location(tus, response), data, 60)
    response = post(tus, data[:60], 100, Upload_Checksum=sha1(data[:59]))
    if response.get("Location") is None:
        expect_refused(response, "a creation with a wrong digest")
        return
    url = tus.resolve(response.get("Location") or "")
    told = response.get("Upload-Offset")
    expect(told in (None, "0"), f"expected no Upload-Offset but 0 after a wrong digest, got {told}")
    expect_offset(tus, url, 0, "after a wrong digest")
    finish(tus, url, data, 0)


@check("CWU-10", needs=(*WITH, "concatenation"))
def final_upload_takes_no_first_data(tus: Target) -> None:
    """A POST that makes a final upload and brings data is refused, and the parts stay."""
    part = location(tus, tus.post(fields={"Upload-Length": "5", "Upload-Concat": "partial"}))
    expect_status(tus.append(part, 0, b"hello"), 204)
    final = {"Upload-Concat": f"final;{tus.path(part)}"}
    response = tus.post(fields=final | {"Content-Type": PATCH_TYPE}, body=b" world")
    expect_refused(response, "data in the creation of a final upload")
    expect_offset(tus, part, 5, "of the part")
    url = location(tus, tus.post(fields=final))
    expect(
        eventually(lambda: state(tus, url).get("Upload-Offset") == "5", seconds=5),
        "expected a final",
    )
    expect_content(tus, url, b"hello")


@check("CWU-11", needs=WITH)
def no_first_data_is_offset_0(tus: Target) -> None:
    """The content type with an empty body is a plain creation."""
    response = post(tus, b"", 5)
    url = location(tus, response)
    told = response.get("Upload-Offset")
    expect(told in (None, "0"), f"expected no Upload-Offset but 0, got {told}")
    expect_offset(tus, url, 0)
    expect(is_ok(tus.append(url, 0, b"01234")), "expected the data to be taken afterwards")
    expect_content(tus, url, b"01234")
