"""What a browser is told to do with the bytes of an upload: type and disposition (floor 5).

Metadata is the client's word and never trusted: only types that run no code are shown in
the browser, everything else is saved; types that could run code are not even named.
Source: RFC 6266, RFC 8187 (`filename*`), RFC 6838 section 4.2 (names of types), tus 1.0.0,
"Creation" (`Upload-Metadata`). Which keys are looked at follows the clients in use.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

OCTETS = "application/octet-stream"

_NAME_KEYS = ("filename", "name")
_TYPE_KEYS = ("filetype", "type", "contentType")

_INLINE = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
    "image/avif": "image/avif",
    "video/mp4": "video/mp4",
    "audio/mp4": "audio/mp4",
    "video/webm": "video/webm",
    "audio/webm": "audio/webm",
    "audio/mpeg": "audio/mpeg",
    "audio/mp3": "audio/mpeg",
    "audio/ogg": "audio/ogg",
    "video/ogg": "video/ogg",
    "application/ogg": "application/ogg",
    "text/plain": "text/plain; charset=utf-8",
}
"""Types that are shown, and how they are sent; two of them are common misspellings."""

_MEDIA_TYPE = re.compile(
    r"(?P<type>[a-z0-9][a-z0-9!#$&\-^_.+]{0,126})/(?P<subtype>[a-z0-9][a-z0-9!#$&\-^_.+]{0,126})"
    r"(?:[ \t]*;.*)?",
)
_CONTAINERS = frozenset({"multipart", "message"})
_ACTIVE = re.compile(
    r"x?html|mhtml|xml|xslt?|svg|mathml|pdf|css|wasm"
    r"|(?:java|j|live|vb|ecma)script[0-9]*",
)
"""Words of a subtype that browsers render, run, or take as part of a page."""

_MAX_NAME = 255
"""Bytes that a name may have in most file systems."""
_MAX_EXTENSION = 32

_ZERO_WIDTH_JOINERS = "\u200c\u200d"
"""Invisible, but scripts and emoji are written with them."""
_BLANKS = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
_EDGES = f".{_BLANKS}{_ZERO_WIDTH_JOINERS}"
"""What a name neither begins nor ends with."""
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NEEDS_EXTENDED = re.compile(r"[^ -~]|[\"%]")
_NOT_ASCII = re.compile(r"[^ -~]")
_ATTR_CHARS = "!#$&+-.^_`|~"


def content_type(metadata: Mapping[str, bytes]) -> str:
    """Give the `Content-Type` of an upload; `application/octet-stream` in all doubt."""
    media_type = _media_type(metadata)
    return _INLINE.get(media_type, media_type)


def content_disposition(metadata: Mapping[str, bytes]) -> str:
    """Give the `Content-Disposition` of an upload, in printable ASCII.

    `inline` for the safe types, else `attachment`; with a filename if the metadata names one
    that is left of separators, controls and leading dots.
    """
    disposition = "inline" if _media_type(metadata) in _INLINE else "attachment"
    name = filename(metadata)
    if not name:
        return disposition
    plain = _NOT_ASCII.sub("_", name).replace('"', '\\"')
    disposition = f'{disposition}; filename="{plain}"'
    if _NEEDS_EXTENDED.search(name) is None:
        return disposition
    # Some browsers decode `%41` in the plain form and cut it at an escaped quote: those
    # prefer the extended one, too.
    return f"{disposition}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def filename(metadata: Mapping[str, bytes]) -> str:
    """Give a harmless name to save an upload under, or an empty string."""
    for key in _NAME_KEYS:
        name = _clean_name(metadata.get(key, b"").decode("utf-8", "replace"))
        if name:
            return name
    return ""


def _clean_name(raw: str) -> str:
    last = re.split(r"[/\\]", raw)[-1]
    visible = "".join(
        character
        for character in last
        if character in _ZERO_WIDTH_JOINERS or unicodedata.category(character) not in _INVISIBLE
    )
    # What could not be decoded says nothing, and an "unknown" sign in a name is a nuisance.
    return _shorten(visible.replace("\ufffd", "_").strip(_EDGES)).strip(_EDGES)


def _shorten(name: str) -> str:
    """Cut a name to what file systems take, its extension kept."""
    encoded = name.encode()
    if len(encoded) <= _MAX_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = f"{dot}{extension}".encode()
    if not stem or len(tail) > _MAX_EXTENSION:
        return encoded[:_MAX_NAME].decode("utf-8", "ignore")
    return (stem.encode()[: _MAX_NAME - len(tail)] + tail).decode("utf-8", "ignore")


def _media_type(metadata: Mapping[str, bytes]) -> str:
    """Give the type that the metadata names, without parameters, if it is valid and passive."""
    for key in _TYPE_KEYS:
        declared = metadata.get(key, b"").decode("ascii", "replace").strip().lower()
        match = _MEDIA_TYPE.fullmatch(declared)
        if match is None:
            continue
        if match["type"] in _CONTAINERS or _is_active(match["subtype"]):
            return OCTETS
        return f"{match['type']}/{match['subtype']}"
    return OCTETS


def _is_active(subtype: str) -> bool:
    return any(_ACTIVE.fullmatch(word) for word in re.split(r"[^a-z0-9]", subtype))
