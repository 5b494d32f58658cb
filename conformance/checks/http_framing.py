"""Checks of where messages end, and of what stands around them (RFC 9110, RFC 9112)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_field, expect_status
from conformance.evidence import (
    eventually,
    expect_content,
    expect_offset,
    expect_untouched,
    finish,
    sample,
    unknown,
)
from conformance.wire import Response, WireError, chunked

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)
LARGE = 64 * 1024 * 1024


def _send(tus: Target, url: str, *pieces: bytes) -> Response | None:
    """Send pieces and read the answer; None when the server closes without one."""
    with tus.connect(url) as connection:
        try:
            for piece in pieces:
                connection.send(piece)
            connection.half_close()
            return connection.read_response("PATCH")
        except (WireError, OSError):
            return None


@check("HTTP-04", needs=CREATION)
def a_bad_length_is_refused(tus: Target) -> None:
    """A Content-Length that is no number, or two different ones, is 400 or a closed connection."""
    data = sample(10)
    url = tus.create(10)
    lengths: list[str | list[str]] = ["-5", "+5", "abc", "5 5", "0x5", "1" + "0" * 30, ["5", "6"]]
    for length in lengths:
        fields = {"Upload-Offset": "0", "Content-Length": length}
        response = _send(tus, url, tus.raw("PATCH", url, fields, data[:5]))
        expect_offset(tus, url, 0, f"after Content-Length: {length}")
        if response is not None:
            expect_status(response, 400, 413, 411, 501)
    expect_untouched(tus, url, data, 0)


@check("HTTP-04", needs=CREATION)
def a_length_beside_chunks_does_not_count(tus: Target) -> None:
    """Content-Length beside Transfer-Encoding is refused, or the chunks count and it closes."""
    data = sample(10)
    url = tus.create(10)
    fields = {"Upload-Offset": "0", "Transfer-Encoding": "chunked", "Content-Length": "3"}
    with tus.connect(url) as connection:
        connection.send(tus.raw("PATCH", url, fields, chunked(data[:5])))
        try:
            response = connection.read_response("PATCH")
        except WireError:
            return
    if response.status >= 400:
        expect_status(response, 400)
        expect_untouched(tus, url, data, 0)
    else:
        expect_field(response, "Upload-Offset", "5")
        finish(tus, url, data, 5)


@check("HTTP-06", needs=CREATION)
def what_follows_the_length_is_the_next_request(tus: Target) -> None:
    """Exactly Content-Length bytes are stored; the rest is read as another request."""
    data = sample(10)
    url = tus.create(10)
    patch = tus.raw("PATCH", url, {"Upload-Offset": "0"}, data[:5])
    with tus.connect(url) as connection:
        connection.send(patch + tus.raw("HEAD", url))
        response = connection.read_response("PATCH")
        expect_status(response, 204, 200)
        expect_field(response, "Upload-Offset", "5")
        if not response.closes:
            second = connection.read_response("HEAD")
            expect_field(second, "Upload-Offset", "5")
    expect_untouched(tus, url, data, 5)


@check("HTTP-07", needs=CREATION)
def chunks_are_read_exactly(tus: Target) -> None:
    """Chunks of one byte, extensions and trailers of chunks leave the bytes what they are."""
    data = sample(300)
    url = tus.create(300)
    fields = {"Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    body = b"A;name=value\r\n" + data[:10] + b"\r\n"
    body += chunked(*(bytes([byte]) for byte in data[10:200]), trailers=("X-Trailer: 1",))
    with tus.connect(url) as connection:
        connection.send(tus.raw("PATCH", url, fields, body))
        response = connection.read_response("PATCH")
    if response.status in {411, 422}:
        raise NotApplicable("no chunked body is taken")
    expect_status(response, 204, 200)
    expect_field(response, "Upload-Offset", "200")
    finish(tus, url, data, 200)


@check("HTTP-07", needs=CREATION)
def a_broken_chunk_ends_the_body(tus: Target) -> None:
    """A size of a chunk that is no number ends the body; at most what came before is kept."""
    data = sample(100)
    url = tus.create(100)
    fields = {"Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    body = chunked(data[:50], end=False) + b"zz\r\n" + data[50:60] + b"\r\n0\r\n\r\n"
    response = _send(tus, url, tus.raw("PATCH", url, fields, body))
    offset = _settled(tus, url)
    expect(offset <= 50, f"expected an offset of 50 at most, got {offset}")
    if response is not None and response.status < 400:
        expect_field(response, "Upload-Offset", str(offset))
    finish(tus, url, data, offset)


@check("HTTP-07", needs=CREATION)
def a_missing_last_chunk_is_no_end(tus: Target) -> None:
    """A chunked body without its last chunk is not taken for more than what came."""
    data = sample(100)
    url = tus.create(100)
    fields = {"Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    body = chunked(data[:50], end=False)
    response = _send(tus, url, tus.raw("PATCH", url, fields, body))
    offset = _settled(tus, url)
    expect(offset <= 50, f"expected an offset of 50 at most, got {offset}")
    if response is not None and response.status < 400:
        expect_field(response, "Upload-Offset", str(offset))
    finish(tus, url, data, offset)


def _settled(tus: Target, url: str) -> int:
    eventually(lambda: tus.head(url).status in {200, 204}, seconds=10.0)
    return tus.settled_offset(url, 50, within=1.0)


@check("HTTP-08", needs=CREATION)
def an_expectation_is_answered(tus: Target) -> None:
    """Expect: 100-continue is answered by 100, or by the final status at once."""
    data = sample(10)
    url = tus.create(10)
    fields = {"Upload-Offset": "0", "Expect": "100-continue", "Content-Length": "5"}
    with tus.connect(url) as connection:
        connection.send(tus.raw("PATCH", url, fields))
        expect(connection.is_readable(5.0), "expected 100 Continue or a final status within 5 s")
        response = connection.read_interim()
        expect_status(response, 100)
        connection.send(data[:5])
        expect_status(connection.read_response("PATCH"), 204, 200)
    finish(tus, url, data, 5)


@check("HTTP-08", needs=CREATION)
def a_refusal_may_come_instead_of_100(tus: Target) -> None:
    """With Expect: 100-continue a request that is refused by its head gets a 4xx."""
    url = tus.create(10)
    fields = {"Upload-Offset": "3", "Expect": "100-continue", "Content-Length": "5"}
    with tus.connect(url) as connection:
        connection.send(tus.raw("PATCH", url, fields))
        expect(connection.is_readable(5.0), "expected 100 Continue or a final status within 5 s")
        try:
            connection.read_interim(timeout=5.0)
        except WireError:
            return  # a final status: the better answer
        connection.send(b"hello")
        expect_status(connection.read_response("PATCH"), 409)


@check("HTTP-09", needs=CREATION)
def a_sender_can_read_its_refusal(tus: Target) -> None:
    """A client that sends on after a 409 can read the 409."""
    url = tus.create(LARGE) if _takes(tus, LARGE) else tus.create(tus.announced.max_size)
    fields = {"Upload-Offset": "3", "Content-Length": str(LARGE)}
    with tus.connect(url) as connection:
        connection.send(tus.raw("PATCH", url, fields))
        # As a client that does not look for an answer before it is through with a mebibyte.
        # Where a system drops what it received when a reset comes, the answer is lost with it.
        lost: OSError | None = None
        try:
            for _ in range(16):
                connection.send(bytes(65536))
                time.sleep(0.005)
        except OSError as error:
            lost = error
        response = connection.read_response("PATCH")
    expect_status(response, 409, 413)
    text = f"expected to be read from for a moment after the refusal, not reset: {lost}"
    expect(lost is None, text, response)


def _takes(tus: Target, size: int) -> bool:
    return tus.announced.max_size is None or tus.announced.max_size >= size


@check("HTTP-18", needs=CREATION)
def pipelined_requests_are_answered_in_order(tus: Target) -> None:
    """Three requests sent at once get three answers in their order."""
    url = tus.create(10)
    with tus.connect(url) as connection:
        connection.send(
            tus.raw("PATCH", url, {"Upload-Offset": "0"}, b"hello")
            + tus.raw("HEAD", url)
            + tus.raw("PATCH", url, {"Upload-Offset": "5"}, b"world")
        )
        expect_field(connection.read_response("PATCH"), "Upload-Offset", "5")
        expect_field(connection.read_response("HEAD"), "Upload-Offset", "5")
        expect_field(connection.read_response("PATCH"), "Upload-Offset", "10")
    expect_content(tus, url, b"helloworld")


@check("HTTP-19", needs=CREATION)
def a_connection_stays_in_step_after_a_refusal(tus: Target) -> None:
    """After 404, 409 and 415 with a body the connection is closed, or the next answer is right."""
    url, missing = tus.create(100), unknown(tus)
    # The body looks like a request itself: a server that loses step answers it.
    body = tus.raw("OPTIONS", None, {"Tus-Resumable": None})
    refused = [
        (missing, {"Upload-Offset": "0"}),
        (url, {"Upload-Offset": "3"}),
        (url, {"Upload-Offset": "0", "Content-Type": "text/plain"}),
    ]
    for place, fields in refused:
        with tus.connect(url) as connection:
            connection.send(tus.raw("PATCH", place, fields, body))
            response = connection.read_response("PATCH")
            expect(response.status >= 400, f"expected a refusal: {response.status}", response)
            if response.closes:
                continue
            try:
                connection.send(tus.raw("HEAD", url))
                second = connection.read_response("HEAD")
            except (WireError, OSError):
                continue  # closed
            expect_field(second, "Upload-Offset", "0")


@check("HTTP-20", needs=CREATION)
def a_trickle_is_ended(tus: Target) -> None:
    """A head of which a byte comes now and then is given up by the server."""
    if not tus.settings.stall_wait:
        raise NotApplicable("runs with --stall-wait, longer than the server's time-out")
    end = time.monotonic() + tus.settings.stall_wait
    with tus.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nX-Slow: ")
        while time.monotonic() < end:
            try:
                connection.send(b"a")
            except OSError:
                return
            if connection.is_readable(1.0):
                return
    expect(False, "expected the connection to be closed")  # noqa: FBT003


@check("HTTP-06", needs=CREATION)
def a_split_head_is_one_head(tus: Target) -> None:
    """A head that comes byte by byte is read as one."""
    url = tus.create(10)
    with tus.connect(url) as connection:
        connection.trickle(tus.raw("PATCH", url, {"Upload-Offset": "0"}), size=3, pause=0.001)
        response = connection.read_response("PATCH")
    expect_field(response, "Upload-Offset", "0")
