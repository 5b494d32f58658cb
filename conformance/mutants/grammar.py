"""The values of tus header fields, read and written (tus 1.0.0)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from typing import TYPE_CHECKING

from conformance.mutants.exchange import LARGEST, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}

_DIGITS = re.compile("0*([0-9]{1,19})")
_KEY = re.compile(r"[!-+\--~]+")
_URL = re.compile("(?:https?://([^/?#]*))?([^?#]*)(?:[?#].*)?")


def read_integer(name: str, value: str) -> int:
    """Read a non-negative integer below 2^63. Raises: Refusal."""
    if not (match := _DIGITS.fullmatch(value)) or int(match[1]) > LARGEST:
        raise Refusal(400, f"{name} has to be a number of bytes.")
    return int(match[1])


def split_url(url: str) -> tuple[str | None, str]:
    """Give the authority, None where a URL has none, and the path. Raises: Refusal."""
    match = _URL.fullmatch(url)
    if not match or re.search("%(?![0-9A-Fa-f]{2})", match[2]):
        raise Refusal(400, "A URL is malformed.")
    return match[1], match[2]


def read_base64(name: str, value: str) -> bytes:
    """Decode the padded standard alphabet. Raises: Refusal."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"{name} has a value that is not Base64.") from error


def read_metadata(raw: str) -> dict[str, bytes]:
    """Read the pairs of Upload-Metadata. Raises: Refusal."""
    pairs: dict[str, bytes] = {}
    for member in raw.split(",") if raw.strip() else []:
        key, _, value = member.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in pairs:
            raise Refusal(400, "Upload-Metadata has a key that is malformed or there twice.")
        pairs[key] = read_base64("Upload-Metadata", value.strip())
    return pairs


def read_checksum(raw: str) -> tuple[str, bytes]:
    """Read the algorithm and the digest of Upload-Checksum. Raises: Refusal."""
    algorithm, blank, digest = raw.partition(" ")
    if not algorithm or not blank or not digest:
        raise Refusal(400, "Upload-Checksum has to be an algorithm and a digest.")
    if algorithm not in ALGORITHMS:
        raise Refusal(400, "Upload-Checksum names an algorithm that is not supported.")
    return algorithm, read_base64("Upload-Checksum", digest)
