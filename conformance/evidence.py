"""What several checks look at: the state of an upload, and its bytes compared one by one.

Where a server gives no finished upload back (no GET), its bytes cannot be seen from outside:
no extension of tus 1.0 tells them or a digest of them. What is left then is that offset and
length are right, and the comparison is passed over in silence.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, Violation, expect, expect_status
from conformance.wire import message

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.target import Target
    from conformance.wire import Connection, Fields, Response

PATCH_TYPE = "application/offset+octet-stream"
GONE = (404, 410)


def sample(size: int, seed: int = 1) -> bytes:
    """Give bytes in which nothing repeats, the same ones for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - nothing secret


def sha1(data: bytes) -> str:
    """Give the value of Upload-Checksum for some bytes."""
    return "sha1 " + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def pairs(value: str | None) -> list[tuple[str, str]]:
    """Take Upload-Metadata apart, with no judgement on its keys and values."""
    found = []
    for pair in (value or "").split(","):
        key, _, encoded = pair.strip().partition(" ")
        if key:
            found.append((key, encoded.strip()))
    return found


def is_ok(response: Response) -> bool:
    """Tell whether a request succeeded."""
    return 200 <= response.status < 300  # noqa: PLR2004


def expect_refused(response: Response, what: str) -> None:
    """Expect an answer that blames the client: 4xx."""
    is_refusal = 400 <= response.status < 500  # noqa: PLR2004
    expect(is_refusal, f"expected {what} refused with 4xx, got {response.status}", response)


def expect_not_created(response: Response, what: str) -> None:
    """Expect that a creation was refused, and that no Location says otherwise."""
    expect_refused(response, what)
    expect(response.get("Location") is None, f"expected no Location in the refusal of {what}")


def expect_gone(response: Response, what: str) -> None:
    """Expect 404 or 410, without the state of an upload."""
    expect_status(response, *GONE)
    for name in ("Upload-Offset", "Upload-Length"):
        expect(
            response.get(name) is None, f"expected no {name} in the {response.status} for {what}"
        )


def state(tus: Target, url: str) -> Response:
    """Ask by HEAD for the state of an upload that must be there."""
    response = tus.head(url)
    expect_status(response, 200, 204)
    return response


def expect_offset(tus: Target, url: str, offset: int, why: str = "") -> Response:
    """Expect an offset from HEAD; give the whole answer."""
    response = state(tus, url)
    told = response.get("Upload-Offset")
    expect(told == str(offset), f"expected Upload-Offset: {offset} from HEAD {why}, got {told}")
    return response


def unknown(tus: Target) -> str:
    """Give a URL that looks like those of uploads and is none."""
    if not tus.has("creation"):
        return tus.url.rstrip("/") + "/0123456789abcdef0123456789abcdef"
    url = tus.create(1)
    known = url.rstrip("/").rpartition("/")[2]
    swapped = "".join(
        {"0": "1", "a": "b", "A": "B"}.get(c, "0" if c.isdigit() else c) for c in known
    )
    other = swapped if swapped != known else known[::-1]
    return url.rstrip("/")[: -len(known)] + other


def gives_downloads(tus: Target) -> bool:
    """Find out by an upload whether finished ones can be fetched by GET."""
    return tus.content(tus.upload(b"download?")) is not None


def need_downloads(tus: Target) -> None:
    """Leave a check that has nothing to look at where there is no download."""
    if not gives_downloads(tus):
        raise NotApplicable("finished uploads are not given back by GET, so no byte can be seen")


def expect_content(tus: Target, url: str, data: bytes) -> None:
    """Expect that a finished upload tells its size, and holds exactly these bytes if GET shows."""
    expect_offset(tus, url, len(data), "of the finished upload")
    content = tus.content(url)
    if content is None:
        expect(
            not gives_downloads(tus), "expected the finished upload to be had by GET, as others are"
        )
        return
    expect(
        len(content) == len(data), f"expected {len(data)} bytes in the upload, got {len(content)}"
    )
    if content != data:
        at = next(
            i for i, (ours, theirs) in enumerate(zip(data, content, strict=True)) if ours != theirs
        )
        raise Violation(
            f"expected the bytes that were sent: {data[at : at + 8].hex()} at {at}, "
            f"got {content[at : at + 8].hex()}"
        )


def expect_untouched(tus: Target, url: str, data: bytes, offset: int) -> None:
    """Expect that nothing changed: the same offset, and after the rest was sent the right bytes."""
    expect_offset(tus, url, offset, "as before")
    if offset < len(data):
        finish(tus, url, data, offset)
    else:
        expect_content(tus, url, data)


def finish(tus: Target, url: str, data: bytes, offset: int) -> None:
    """Send what is missing of an upload, and compare all of it."""
    response = tus.append(url, offset, data[offset:])
    expect_status(response, 204)
    told = response.get("Upload-Offset")
    expect(
        told == str(len(data)), f"expected Upload-Offset: {len(data)} after the rest, got {told}"
    )
    expect_content(tus, url, data)


def location(tus: Target, response: Response) -> str:
    """Give the absolute URL of what a POST created."""
    expect_status(response, 201)
    found = response.get("Location")
    if not found:
        raise Violation("expected a Location in the 201", response)
    return tus.resolve(found)


def eventually(ready: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> bool:
    """Ask again until it is so, or until the time is over; tell which."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
    return True


def head_of(tus: Target, method: str, url: str, fields: Fields) -> bytes:
    """Write the head of a request as bytes, for those that are sent in pieces."""
    usual = {"Host": tus.authority, **tus.fields(method, fields)}
    return message(method, tus.path(url), usual)


def patch_head(tus: Target, url: str, offset: int, length: int | None, **more: str) -> bytes:
    """Write the head of a PATCH; the body is chunked if its length is None."""
    fields = {"Upload-Offset": str(offset)}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    if length is None:
        return head_of(tus, "PATCH", url, fields | {"Transfer-Encoding": "chunked"})
    return head_of(tus, "PATCH", url, fields | {"Content-Length": str(length)})


def send_raw(tus: Target, method: str, url: str, *pieces: bytes) -> Response:
    """Send the pieces of a request, each in packets of its own, and read the answer."""
    with tus.connect(url) as connection:
        for piece in pieces:
            connection.send(piece)
            time.sleep(0.01)
        return connection.read_response(method)


def part_way(
    tus: Target, url: str, offset: int, data: bytes, *, sent: int, **more: str
) -> Connection:
    """Begin a PATCH of all of `data`, of which only the first `sent` bytes are sent."""
    connection = tus.connect(url)
    connection.send(patch_head(tus, url, offset, len(data), **more) + data[:sent])
    return connection
