"""The grammar of the tus 1.0 headers, as pairs of parse_x and format_x.

Floor 2, pure. Source: tus 1.0.0, "Headers" of the core protocol, "Creation", "Checksum",
"Expiration", "Concatenation"; RFC 9110 for lists, media types and dates.

Values may hold lone surrogates (bytes that are not UTF-8): they match no grammar. What the
client sent is never repeated in an error.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from math import floor
from typing import TYPE_CHECKING

from tusserver.errors import ChecksumAlgorithmUnsupported, HeaderInvalid, PartNotFound
from tusserver.protocol.messages import Checksum, Part
from tusserver.upload import MAX_INTEGER, UploadId, is_upload_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tusserver.protocol.messages import Headers

_MAX_DIGITS = len(str(MAX_INTEGER))

_INTEGER = re.compile(r"[0-9]+")
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
)
# Printable ASCII without space and comma: metadata keys and names of algorithms.
_WORD = re.compile(r"[!-+\--~]+")
_PART_URL = re.compile(
    r"(?:(?i:https?)://[A-Za-z0-9\-._~%:\[\]]+(?=/))?"  # any host: only the path counts
    r"(?P<path>(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})+)"
    r"(?:\?(?P<query>[!-\"$-\[\]-~]*))?",
)
_PERCENT_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_QUERY = re.compile(r"\?[^ ]*")


# --- reading fields -----------------------------------------------------------------------


def single(headers: Headers, name: str) -> str | None:
    """Give the value of a field that may be sent once, without blanks; None if it was not sent.

    Raises: HeaderInvalid when it was sent again, even with an equal value: a proxy on the way
    may have looked at another one of them.
    """
    if name not in headers:
        return None
    values = headers.getall(name)
    if len(values) > 1:
        raise HeaderInvalid(name, "was sent more than once")
    return values[0].strip(" \t")


def joined(headers: Headers, name: str) -> str:
    """Join the lines of a list field by commas (RFC 9110 section 5.3); "" if there are none.

    An empty line equals none.
    """
    if name not in headers:
        return ""
    lines = (line.strip(" \t") for line in headers.getall(name))
    return ",".join(line for line in lines if line)


def parse_tokens(headers: Headers, name: str) -> tuple[str, ...]:
    """Read a list of tokens without case, over all lines of a field, in lower case."""
    if name not in headers:
        return ()
    items = (item.strip(" \t").lower() for item in joined(headers, name).split(","))
    return tuple(item for item in items if item)


def is_token(value: str) -> bool:
    """Tell whether a value is a token (RFC 9110 section 5.6.2), as names of methods are."""
    return _TOKEN.fullmatch(value) is not None


def parse_media_type(value: str) -> str:
    """Read type and subtype of a `Content-Type`, in lower case, without parameters."""
    return value.partition(";")[0].strip(" \t").lower()


# --- integers and dates -------------------------------------------------------------------


def parse_integer(header: str, value: str) -> int:
    """Read `1*DIGIT`, at most 2^63-1; leading zeros are digits like others.

    Raises: HeaderInvalid.
    """
    if _INTEGER.fullmatch(value) is None:
        raise HeaderInvalid(header, "must be a non-negative integer")
    digits = value.lstrip("0")
    # Counted first: converting a string of many thousand digits is slow, or refused.
    number = int(digits or "0") if len(digits) <= _MAX_DIGITS else MAX_INTEGER + 1
    if number > MAX_INTEGER:
        raise HeaderInvalid(header, f"must not be larger than {MAX_INTEGER}")
    return number


def format_imf_fixdate(moment: datetime) -> str:
    """Format an aware time for `Upload-Expires` (RFC 9110 section 5.6.7), in whole seconds."""
    return imf_fixdate(floor(moment.timestamp()))


@lru_cache(maxsize=16)
def imf_fixdate(seconds: int) -> str:
    """Write so many seconds since 1970 as a date of HTTP."""
    # Uploads of the same second expire in the same second.
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


# --- Upload-Metadata ----------------------------------------------------------------------


def parse_metadata(value: str) -> dict[str, bytes]:
    """Read `Upload-Metadata`, its lines joined; an empty value holds nothing.

    Blanks around commas are no part of a pair; a key alone has an empty value; bits beyond
    the last whole byte of a value are not looked at. Raises: HeaderInvalid.
    """
    metadata: dict[str, bytes] = {}
    if not value:
        return metadata
    for pair in value.split(","):
        key, _, encoded = pair.strip(" \t").partition(" ")
        if _WORD.fullmatch(key) is None:
            raise HeaderInvalid("Upload-Metadata", "a key is empty or not printable ASCII")
        if _BASE64.fullmatch(encoded) is None:
            raise HeaderInvalid("Upload-Metadata", "a value is not standard, padded Base64")
        if key in metadata:
            raise HeaderInvalid("Upload-Metadata", "a key occurs more than once")
        metadata[key] = binascii.a2b_base64(encoded)
    return metadata


def format_metadata(metadata: Mapping[str, bytes]) -> str:
    """Write `Upload-Metadata`; nothing gives an empty string.

    Raises: ValueError for a key that the grammar does not allow.
    """
    return ",".join(_format_pair(key, value) for key, value in metadata.items())


def _format_pair(key: str, value: bytes) -> str:
    if _WORD.fullmatch(key) is None:
        raise ValueError(f"metadata key {key!r} is empty or has a space, comma or non-ASCII")
    encoded = binascii.b2a_base64(value, newline=False).decode("ascii")
    return f"{key} {encoded}" if encoded else key


# --- Upload-Checksum ----------------------------------------------------------------------


def parse_checksum(value: str, algorithms: Sequence[str]) -> Checksum:
    """Read `Upload-Checksum`: the name of an algorithm, one space, a digest in Base64.

    A digest of the wrong length is no error here: it matches no body. Names are lower case,
    and compared as they are. Raises: HeaderInvalid, ChecksumAlgorithmUnsupported.
    """
    algorithm, _, encoded = value.partition(" ")
    if not encoded or _WORD.fullmatch(algorithm) is None or _BASE64.fullmatch(encoded) is None:
        raise HeaderInvalid("Upload-Checksum", "must be an algorithm, a space and Base64")
    if algorithm not in algorithms:
        raise ChecksumAlgorithmUnsupported(tuple(algorithms))
    return Checksum(algorithm, binascii.a2b_base64(encoded))


def format_checksum(algorithm: str, digest: bytes) -> str:
    """Write `Upload-Checksum`."""
    return f"{algorithm} {binascii.b2a_base64(digest, newline=False).decode('ascii')}"


# --- Upload-Concat ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat:
    """What `Upload-Concat` asks for: a partial upload, or a final one of these parts."""

    parts: tuple[Part, ...] = ()
    """In the order of the list; empty: a partial upload."""
    text: str
    """The value for HEAD: as received, but for the query strings of the parts."""


def parse_concat(value: str, *, base_path: str, max_parts: int) -> Concat:
    """Read `Upload-Concat`: `partial`, or `final;` and URLs of parts with spaces between.

    URLs are absolute (of any host: clients know the server by other names than it does
    itself), of an absolute path, or relative to the creation URL; the path must be
    `base_path` and one segment. Whether a part exists is checked later.

    Raises: HeaderInvalid; PartNotFound for a segment that can name no upload of ours.
    """
    if value == "partial":
        return Concat(text=value)
    keyword, semicolon, listed = value.partition(";")
    urls = [url for url in listed.split(" ") if url]
    if keyword + semicolon != "final;" or not urls:
        raise HeaderInvalid("Upload-Concat", "must be partial, or final; and URLs of parts")
    if len(urls) > max_parts:
        raise HeaderInvalid("Upload-Concat", f"must not list more than {max_parts} parts")
    base = _decode_unreserved(base_path)
    parts = tuple(_parse_part(url, base) for url in urls)
    return Concat(parts=parts, text=f"final;{_QUERY.sub('', listed)}")


def _parse_part(url: str, base: str) -> Part:
    match = _PART_URL.fullmatch(url)
    if match is None:
        raise HeaderInvalid("Upload-Concat", "a part's URL is not well-formed")
    path = _decode_unreserved(match["path"])
    # One trailing slash is no other upload (as in the request's own path).
    segment = path.removeprefix(base).removesuffix("/")
    # Anything left of `//`, `..`, `%2F` or another path than ours fails here.
    if _UNRESERVED.fullmatch(segment) is None or segment in {".", ".."}:
        raise HeaderInvalid("Upload-Concat", "a part's URL is not one of this server")
    if not is_upload_id(segment):
        raise PartNotFound
    return Part(upload_id=UploadId(segment), query=match["query"] or "")


def _decode_unreserved(path: str) -> str:
    """Decode what needs no percent-encoding (RFC 3986 section 6.2.2.2), once; only that."""

    def decode(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if _UNRESERVED.fullmatch(character) else match[0].upper()

    return _PERCENT_ENCODED.sub(decode, path)
