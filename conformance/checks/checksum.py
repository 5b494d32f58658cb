"""Checks of the checksum extension (tus 1.0.0, Checksum); trailers have a file of their own.

CHK-09 (a server killed between writing and verifying) is not to be seen from outside: somebody
would have to kill the server. What can be seen of it is CHK-08, the lost connection.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
import zlib
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_status
from conformance.evidence import (
    expect_content,
    expect_offset,
    expect_refused,
    expect_untouched,
    finish,
    is_ok,
    part_way,
    patch_head,
    sample,
    send_raw,
    sha1,
    state,
)
from conformance.wire import chunked

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.target import Target
    from conformance.wire import Response

CHECKSUM = ("creation", "checksum")
HASHLIB = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


def crc32c(data: bytes) -> bytes:
    """Compute CRC-32C (Castagnoli), bit by bit, with the high byte first."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


def _hashed(name: str) -> Callable[[bytes], bytes]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()


DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    **{name: _hashed(name) for name in HASHLIB},
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": crc32c,
}


def value(algorithm: str, digest: bytes) -> str:
    """Write the value of Upload-Checksum."""
    return f"{algorithm} {base64.b64encode(digest).decode()}"


def append(tus: Target, url: str, offset: int, data: bytes, checksum: str) -> Response:
    """Send bytes with a checksum in the header."""
    return tus.append(url, offset, data, {"Upload-Checksum": checksum})


def _raw_sha1(data: bytes) -> bytes:
    return DIGESTS["sha1"](data)


@check("CHK-01")
def algorithms_are_announced(tus: Target) -> None:
    """With checksum goes a list of algorithms in lower case, sha1 among them."""
    listed = ",".join(tus.options().all("Tus-Checksum-Algorithm"))
    if not tus.has("checksum"):
        expect(not tus.has("checksum-trailer"), "expected checksum announced with checksum-trailer")
        raise NotApplicable("checksum is not announced")
    names = [name.strip() for name in listed.split(",")]
    expect("sha1" in names, f"expected sha1 in Tus-Checksum-Algorithm, got {listed}")
    for name in names:
        good = re.fullmatch(r"[!-+\--@\[-~]+", name)
        expect(good, f"expected names of algorithms without upper case and blanks, got {name!r}")


@check("CHK-02", needs=CHECKSUM)
def right_sha1_is_accepted(tus: Target) -> None:
    """The example of the specification: sha1 of "hello world" is accepted."""
    url = tus.create(11)
    response = append(tus, url, 0, b"hello world", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
    expect_status(response, 204)
    expect(response.get("Upload-Offset") == "11", "expected Upload-Offset: 11 in the 204")
    expect_content(tus, url, b"hello world")


@check("CHK-03", needs=CHECKSUM)
def wrong_digest_keeps_nothing(tus: Target) -> None:
    """A chunk with the digest of other bytes is refused and leaves no trace, wherever it stands."""
    data = sample(3_000)
    for start, end in ((0, 1_000), (1_000, 2_000), (1_000, 3_000)):
        url = tus.create(len(data))
        if start:
            expect_status(tus.append(url, 0, data[:start]), 204)
        damaged = bytes(byte ^ 0xFF for byte in data[start:end])
        response = append(tus, url, start, damaged, sha1(data[start:end]))
        expect_refused(response, "a chunk with a wrong digest")
        expect_offset(tus, url, start, "after a wrong digest")
        expect_status(append(tus, url, start, data[start:end], sha1(data[start:end])), 204)
        expect_untouched(tus, url, data, end)


@check("CHK-03", needs=CHECKSUM)
def digest_is_compared_to_the_last_bit(tus: Target) -> None:
    """One wrong bit anywhere in the digest, or one wrong byte of the body, is noticed."""
    data = sample(100_000)
    digest = _raw_sha1(data)
    url = tus.create(len(data))
    for at in (0, 4, 10, 19):
        wrong = digest[:at] + bytes([digest[at] ^ 1]) + digest[at + 1 :]
        response = append(tus, url, 0, data, value("sha1", wrong))
        expect_refused(response, f"a digest with another byte {at}")
        expect_offset(tus, url, 0, "after a wrong digest")
    for at in (0, 50_000, 99_999):
        body = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        expect_refused(append(tus, url, 0, body, sha1(data)), f"a body with another byte {at}")
        expect_offset(tus, url, 0, "after a wrong byte")
    expect_refused(append(tus, url, 0, data[::-1], sha1(data)), "a body in another order")
    expect_untouched(tus, url, data, 0)


@check("CHK-03", needs=CHECKSUM)
def short_chunk_after_a_mismatch_leaves_no_rest(tus: Target) -> None:
    """What a refused chunk wrote does not show behind a shorter one that comes after it."""
    data = sample(10_000)
    url = tus.create(len(data))
    expect_refused(append(tus, url, 0, bytes(9_000), sha1(b"other")), "a wrong digest")
    expect_status(tus.append(url, 0, data[:10]), 204)
    expect_untouched(tus, url, data, 10)


@check("CHK-03", needs=CHECKSUM)
def wrong_digest_of_a_chunked_body_keeps_nothing(tus: Target) -> None:
    """A chunked body is verified against the header as well."""
    data = sample(5_000)
    url = tus.create(len(data))
    body = chunked(data[:1_000], data[1_000:])
    head = patch_head(tus, url, 0, None, Upload_Checksum=sha1(data[:1_000]))
    expect_refused(send_raw(tus, "PATCH", url, head, body), "a chunked body with a wrong digest")
    expect_offset(tus, url, 0, "after a wrong digest")
    head = patch_head(tus, url, 0, None, Upload_Checksum=sha1(data))
    expect_status(send_raw(tus, "PATCH", url, head, body), 204)
    expect_content(tus, url, data)


@check("CHK-04", needs=CHECKSUM)
def unknown_algorithm_keeps_nothing(tus: Target) -> None:
    """A checksum by an algorithm that is not announced is refused, and nothing is stored."""
    data = sample(10)
    url = tus.create(10)
    for name in ("foo", "sha0", "sha-1", "none", "sha1x"):
        if name not in tus.announced.algorithms:
            response = append(tus, url, 0, data, value(name, _raw_sha1(data)))
            expect_refused(response, f"the algorithm {name}")
            expect_offset(tus, url, 0, f"after the algorithm {name}")
    expect_untouched(tus, url, data, 0)


@check("CHK-05", needs=CHECKSUM)
def malformed_checksum_is_400(tus: Target) -> None:
    """What is no algorithm and digest is 400, and nothing is stored."""
    data = b"0123456789"
    good = sha1(data)
    url = tus.create(10)
    for bad in (
        "sha1",
        "sha1 ",
        "sha1 !!",
        " AAA=",
        good + " b",
        "",
        good[:-1],
        good[5:],
        "=",
        ",",
    ):
        response = append(tus, url, 0, data, bad)
        expect_status(response, 400)
        expect_offset(tus, url, 0, f"after Upload-Checksum: {bad!r}")
    expect_untouched(tus, url, data, 0)


@check("CHK-06", needs=CHECKSUM)
def digest_of_wrong_length_is_refused(tus: Target) -> None:
    """A digest that is cut off or too long does not count as right."""
    data = b"0123456789"
    digest = _raw_sha1(data)
    url = tus.create(10)
    for wrong in (b"\0\0\0", digest[:4], digest[:-1], digest + b"\0", digest * 2):
        response = append(tus, url, 0, data, value("sha1", wrong))
        expect_status(response, 400, 460)
        expect_offset(tus, url, 0, f"after a digest of {len(wrong)} bytes")
    expect_untouched(tus, url, data, 0)


@check("CHK-07", needs=CHECKSUM)
def digest_is_that_of_its_own_request(tus: Target) -> None:
    """Each PATCH is verified by its own body, neither by the upload so far nor by a part."""
    data = sample(200_000)
    middle = 120_000
    url = tus.create(len(data))
    expect_status(append(tus, url, 0, data[:middle], sha1(data[:middle])), 204)
    wrong = {"the whole upload": sha1(data), "its first packet": sha1(data[middle : middle + 1000])}
    for what, digest in wrong.items():
        response = append(tus, url, middle, data[middle:], digest)
        expect_refused(response, f"the digest of {what}")
        expect_offset(tus, url, middle, f"after the digest of {what}")
    expect_status(append(tus, url, middle, data[middle:], sha1(data[middle:])), 204)
    expect_content(tus, url, data)


@check("CHK-07", needs=CHECKSUM)
def empty_body_has_a_digest_too(tus: Target) -> None:
    """An empty PATCH with the digest of nothing is no mismatch."""
    url = tus.create(5)
    if not is_ok(tus.append(url, 0, b"")):
        raise NotApplicable("an empty PATCH is refused here, with a digest or without")
    response = append(tus, url, 0, b"", sha1(b""))
    expect_status(response, 204)
    expect_untouched(tus, url, b"hello", 0)


@check("CHK-07", needs=CHECKSUM)
def slow_body_is_hashed_whole(tus: Target) -> None:
    """A body in many packets, with pauses, is verified as one."""
    data = sample(4_000)
    url = tus.create(len(data))
    head = patch_head(tus, url, 0, len(data), Upload_Checksum=sha1(data))
    pieces = [data[start : start + 400] for start in range(0, len(data), 400)]
    expect_status(send_raw(tus, "PATCH", url, head, *pieces), 204)
    expect_content(tus, url, data)


@check("CHK-08", needs=CHECKSUM)
def broken_body_with_a_digest_keeps_nothing(tus: Target) -> None:
    """Bytes of a body that was to be verified are forgotten when its end never comes."""
    data = sample(100_000)
    half = 60_000
    for digest in (sha1(data), sha1(data[:half])):
        for end in ("close", "reset", "half_close"):
            url = tus.create(len(data))
            connection = part_way(tus, url, 0, data, sent=half, Upload_Checksum=digest)
            time.sleep(0.1)
            getattr(connection, end)()
            tus.settled_offset(url, 0)
            _expect_forgotten(tus, url, end)
            connection.close()
            _retry(tus, url, data)


def _expect_forgotten(tus: Target, url: str, end: str) -> None:
    """Look twice: a server may write down what it has a moment after the end."""
    expect_offset(tus, url, 0, f"after a {end} within a body with a digest")
    time.sleep(0.3)
    expect_offset(tus, url, 0, f"after a {end} within a body with a digest")


def _retry(tus: Target, url: str, data: bytes) -> None:
    """Send the same chunk again, this time whole."""
    expect_status(append(tus, url, 0, data, sha1(data)), 204)
    expect_content(tus, url, data)


@check("CHK-10", needs=CHECKSUM)
def names_in_upper_case_are_not_ignored(tus: Target) -> None:
    """SHA1 is refused or understood: a wrong digest under that name is never accepted."""
    url = tus.create(5)
    expect_refused(append(tus, url, 0, b"hello", "SHA1" + sha1(b"other")[4:]), "SHA1, and wrong")
    expect_offset(tus, url, 0)
    response = append(tus, url, 0, b"hello", "SHA1" + sha1(b"hello")[4:])
    expect_status(response, 204, 400)
    expect_untouched(tus, url, b"hello", 5 if is_ok(response) else 0)


@check("CHK-11", needs=CHECKSUM)
def every_announced_algorithm_works(tus: Target) -> None:
    """Each algorithm accepts its digest of the bytes, and refuses that of others."""
    data = sample(2_000)
    known = [name for name in tus.announced.algorithms if name in DIGESTS]
    for name in known:
        digest = DIGESTS[name]
        url = tus.create(len(data))
        response = append(tus, url, 0, data, value(name, digest(data[1:])))
        expect_refused(response, f"a wrong digest by {name}")
        expect_offset(tus, url, 0, f"after a wrong digest by {name}")
        response = append(tus, url, 0, data[:1_500], value(name, digest(data[:1_500])))
        expect_status(response, 204)
        response = append(tus, url, 1_500, data[1_500:], value(name, digest(data[1_500:])))
        expect_status(response, 204)
        expect_content(tus, url, data)


@check("CHK-12", needs=("creation",))
def checksum_without_the_extension_does_no_harm(tus: Target) -> None:
    """Where checksum is not announced, Upload-Checksum is ignored or 400."""
    if tus.has("checksum"):
        raise NotApplicable("checksum is announced")
    url = tus.create(5)
    response = append(tus, url, 0, b"hello", sha1(b"hello"))
    expect_status(response, 204, 400)
    offset = state(tus, url).get("Upload-Offset")
    expect(
        offset == ("5" if is_ok(response) else "0"), f"expected the bytes kept or not, got {offset}"
    )
    expect_untouched(tus, url, b"hello", int(offset or 0))


@check("CHK-13", needs=CHECKSUM)
def two_digests_are_400(tus: Target) -> None:
    """Two Upload-Checksum lines for one body are 400, and nothing is stored."""
    data = b"hello"
    url = tus.create(5)
    for first, second in ((data, b"other"), (b"other", data)):
        both = [sha1(first), sha1(second)]
        response = tus.append(url, 0, data, {"Upload-Checksum": both})
        expect_status(response, 400)
        expect_offset(tus, url, 0, "after two digests")
    finish(tus, url, data, 0)
