"""Which files are accepted: by what their metadata says, and by their first bytes (floor 4).

The first bytes are looked at before any of them is stored. Text has no marks that would tell
its kinds apart: it is accepted where its metadata names an allowed kind of text.
"""

from __future__ import annotations

import mimetypes
from collections import deque
from typing import TYPE_CHECKING

import puremagic

from tusserver.body import BodyEnd
from tusserver.caller import covers
from tusserver.errors import TypeRefused
from tusserver.protocol.headers import parse_media_type, parse_metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tusserver.body import Body
    from tusserver.caller import Caller

FIRST = 4096
"""Bytes at the beginning of a file by which its kind is known."""

TYPE_KEYS = ("filetype", "type", "contentType", "mimeType")
NAME_KEYS = ("filename", "name")

STRONG = 4
"""Bytes of a mark below which it may well stand in a text by chance."""

_SAME = {
    "image/x-ms-bmp": "image/bmp",
    "image/heic": "image/heif",
    "image/jpg": "image/jpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "application/x-gzip": "application/gzip",
    "application/x-zip-compressed": "application/zip",
    "text/xml": "application/xml",
    "video/avi": "video/x-msvideo",
}
"""Names that one kind of file goes by."""

_ENDINGS = mimetypes.MimeTypes()
"""What endings of names mean by Python's own table, the same on every machine."""
_TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/sql"})
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\f\r\x1b"))
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Marks of the byte order, at the beginning of texts."""


class Kinds:
    """The operator's rules about kinds of files; each caller may narrow the types."""

    def __init__(
        self,
        *,
        types: Sequence[str] = (),
        suffixes: Sequence[str] = (),
        looks_inside: bool = False,
    ) -> None:
        """Allow these media types and endings of names; empty: all."""
        self._types = types
        self._suffixes = suffixes
        self._looks_inside = looks_inside

    @property
    def looks_inside(self) -> bool:
        """Tell whether the first bytes of uploads decide."""
        return self._looks_inside

    def check_metadata(self, metadata: str, caller: Caller) -> None:
        """Check what a client says of its file; `metadata` is well-formed.

        A type that is not told is left to the first bytes, where they are looked at.
        Raises: TypeRefused.
        """
        if not (self._suffixes or self._types or caller.types):
            return
        told = parse_metadata(metadata)
        if self._suffixes and not _ends_with(_name(told), self._suffixes):
            raise TypeRefused(f"The name of a file must end with {_listed(self._suffixes)}.")
        claimed = _claimed(told)
        if claimed == "" and self._looks_inside:
            return
        for allowed in (self._types, caller.types):
            if allowed and not _is_allowed(claimed, allowed):
                raise TypeRefused(
                    f"Only files of {_listed(allowed)} are accepted here: name the type in the "
                    "metadata filetype."
                )

    def check_beginning(self, beginning: bytes, metadata: str, caller: Caller) -> None:
        """Check the first bytes of a file, all of them if it is short. Raises: TypeRefused."""
        told = parse_metadata(metadata)
        claimed = _claimed(told) or _ENDINGS.guess_type(_name(told))[0] or ""
        for allowed in (self._types, caller.types):
            if allowed and not _is_content_allowed(beginning, claimed, allowed):
                raise TypeRefused(
                    f"What the file holds is not of {_listed(allowed)}; nothing of it was kept."
                )


class PeekedBody:
    """A body whose first bytes were looked at before they are read."""

    def __init__(self, body: Body) -> None:
        """Look into this body."""
        self._body = body
        self._pieces: deque[bytes] = deque()

    async def peek(self, count: int) -> bytes:
        """Wait for `count` bytes, or the end; give what has come, which is still to be read."""
        have = sum(map(len, self._pieces))
        while have < count and (data := await self._body.read()):
            self._pieces.append(data)
            have += len(data)
        return b"".join(self._pieces)[:count]

    @property
    def length(self) -> int | None:
        """Give the announced length in bytes; None for a chunked body."""
        return self._body.length

    @property
    def end(self) -> BodyEnd | None:
        """Tell why the body ended; None while it has not, or bytes of it are still here."""
        return None if self._pieces else self._body.end

    @property
    def last_byte_at(self) -> float:
        """Give the loop time at which the last byte arrived."""
        return self._body.last_byte_at

    async def read(self) -> bytes:
        """Give the bytes that were looked at, then what follows."""
        return self._pieces.popleft() if self._pieces else await self._body.read()

    def stop(self, why: BodyEnd) -> None:
        """End the body; what arrived from a client that has gone is delivered before."""
        if why is not BodyEnd.DISCONNECTED:
            self._pieces.clear()
        self._body.stop(why)

    def trailer(self, name: str) -> str | None:
        """Give the value of a trailer field once the body is complete."""
        return None if self._pieces else self._body.trailer(name)


# --- what metadata tells ------------------------------------------------------------------


def _claimed(told: dict[str, bytes]) -> str:
    """Give the media type that the metadata names, in lower case; empty if it names none."""
    for key in TYPE_KEYS:
        if value := told.get(key):
            return parse_media_type(value.decode("utf-8", "replace"))
    return ""


def _name(told: dict[str, bytes]) -> str:
    for key in NAME_KEYS:
        if value := told.get(key):
            return value.decode("utf-8", "replace")
    return ""


def _ends_with(name: str, suffixes: Iterable[str]) -> bool:
    return any(name.lower().endswith(f".{suffix}") for suffix in suffixes)


def _is_allowed(media_type: str, allowed: Iterable[str]) -> bool:
    plain = _SAME.get(media_type, media_type)
    return any(covers(_SAME.get(one, one), plain) for one in allowed)


def _listed(allowed: Sequence[str]) -> str:
    return ", ".join(allowed)


# --- what the bytes tell ------------------------------------------------------------------


def _is_content_allowed(beginning: bytes, claimed: str, allowed: Collection[str]) -> bool:
    is_text = _is_text(beginning)
    found = _found(beginning, is_text=is_text)
    if any(_is_allowed(media_type, allowed) for media_type in found):
        return True
    if "application/xml" in found and claimed.endswith("+xml"):
        return claimed in allowed  # by name only: a drawing in XML may hold scripts
    if found:
        return "*/*" in allowed
    if is_text and _is_text_type(claimed):
        claimed = claimed or "text/plain"
        if _is_allowed(claimed, allowed) or "text/plain" in allowed:
            return True
    return _is_allowed("application/octet-stream", allowed)


def _found(beginning: bytes, *, is_text: bool) -> set[str]:
    """Give the kinds of file that begin so, by the marks that are not much weaker than others."""
    try:
        matches = puremagic.magic_string(beginning)
    except (puremagic.PureError, ValueError):
        return set()
    typed = [
        (match.mime_type.lower(), match)
        for match in matches
        if match.mime_type
        # A text may begin with a short mark by chance, and what is no text is no kind of it.
        and (len(match.byte_match) >= STRONG if is_text else not match.mime_type.startswith("text"))
    ]
    best = max((match.confidence for _, match in typed), default=0.0)
    return {name for name, match in typed if match.confidence >= best / 2}


def _is_text(beginning: bytes) -> bool:
    """Tell whether bytes look like text: UTF-8 without control characters, or marked as text."""
    if beginning.startswith(_MARKS[1:]):
        return True
    if beginning.translate(None, delete=_CONTROLS) != beginning:
        return False
    try:
        beginning.decode()
    except UnicodeDecodeError as error:
        # A character may be cut off at the end of what was looked at.
        return len(beginning) >= FIRST and error.start >= len(beginning) - 3
    return True


def _is_text_type(media_type: str) -> bool:
    """Tell whether a type is text by nature; what names no type may be."""
    if media_type == "":
        return True
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith("+json")
