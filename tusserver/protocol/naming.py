"""Names for published files: a template, and what strangers may put into it (floor 2).

Pure. What comes out is always a relative path of plain components: no separator, no control or
bidirectional character, nothing hidden, nothing that another system reserves, in NFC, at most
255 bytes each.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import quote

from tusserver.errors import HeaderInvalid
from tusserver.protocol.headers import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tusserver.upload import Upload

FIELDS = ("year", "month", "day", "owner", "name", "stem", "extension", "id")
NAME_KEYS = ("filename", "name")
"""Where clients put a file's name in `Upload-Metadata`: tus-js-client and tuspy, then Uppy."""

MAX_COMPONENT = 255
"""Bytes of a name, on every file system that is in use."""
MAX_DEPTH = 16
MAX_EXTENSION = 16
"""Bytes; what is longer is no extension, but a part of the name."""

MAX_OWNER = 100
"""Bytes of an owner in a path; of a longer one the rest becomes a digest."""
NOBODY = "nobody"

# What no name on some system may hold; all of it is printable.
_FORBIDDEN = frozenset('/\\:*?"<>|')
_ODD_DOT = re.compile(r"^\.|\.(?=\.|$)")
_RESERVED = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Name:
    """A file's name, cut where its extension begins."""

    stem: str
    extension: str
    """Without its dot; empty when there is none."""

    def __str__(self) -> str:
        """Give the whole name."""
        return f"{self.stem}.{self.extension}" if self.extension else self.stem


def check_template(template: str) -> str:
    """Give a template for paths of published files back if it is one.

    Raises: ValueError, with the reason for people.
    """
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"not a template: {error}") from None
    named = {field for _, field, _, _ in pieces if field is not None}
    for _, field, form, conversion in pieces:
        if field is not None and (field not in FIELDS or form or conversion):
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ValueError(f"there is no {{{field}}}: use {known}")
    if not named & {"id", "name", "stem"}:
        raise ValueError("every file would get the same name: use {id}, {name} or {stem}")
    text = "".join(literal + ("x" if field else "") for literal, field, _, _ in pieces)
    _check_path(text)
    return template


def _check_path(path: str) -> None:
    if path.startswith("/"):
        raise ValueError("must not begin with /: it is a path below the directory")
    components = path.split("/")
    if len(components) > MAX_DEPTH:
        raise ValueError(f"has more than {MAX_DEPTH} directories")
    for component in components:
        if not component or component.startswith("."):
            raise ValueError("must not have empty or hidden components")
        if _plain(component) != component:
            raise ValueError(f"{component!r} is not a plain name")


def published_path(template: str, upload: Upload) -> tuple[str, ...]:
    """Give the components of the path under which an upload is to be published."""
    when = upload.created_at
    values = {
        "year": f"{when:%Y}",
        "month": f"{when:%m}",
        "day": f"{when:%d}",
        "owner": owner_name(upload.owner),
        "id": upload.upload_id,
    }
    name = file_name(upload)
    return tuple(_component(part, values, name) for part in template.split("/"))


def _component(part: str, values: Mapping[str, str], name: Name) -> str:
    """Fill one component of a template in; of what is too long the file's stem is shortened."""
    while True:
        parts = {"name": str(name), "stem": name.stem, "extension": name.extension or "bin"}
        filled = plain_name(part.format_map({**values, **parts}))
        excess = len(filled.encode()) - MAX_COMPONENT
        if excess <= 0 or len(name.stem) == 1:
            return str(fitting(split_name(filled or values["id"])))
        name = _shortened(name, max(1, len(name.stem.encode()) - excess))


def _shortened(name: Name, room: int) -> Name:
    stem = name.stem.encode()[:room].decode(errors="ignore").rstrip(" .")
    return Name(stem or "_", name.extension)


def owner_name(owner: str) -> str:
    """Make one path component of an owner: plain, and no other owner's.

    Percent-encoded but for letters, digits and a few marks.
    """
    if not owner:
        return NOBODY
    text = "".join(char if char.isalnum() else _encoded(char) for char in owner)
    if not unicodedata.is_normalized("NFC", text):
        text = _encoded(owner)
    text = _ODD_DOT.sub("%2E", text).replace("~", "%7E")
    if text[0] == "-" or text == NOBODY or _RESERVED.match(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if len(text.encode()) <= MAX_OWNER:
        return text
    rest = hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{text.encode()[:MAX_OWNER].decode(errors='ignore').rstrip('.')}~{rest}"


def _encoded(text: str) -> str:
    return quote(text, safe="@+,=", errors="surrogatepass")


def file_name(upload: Upload) -> Name:
    """Give the name that a client gave its file, made harmless; else the upload's id."""
    try:
        metadata = parse_metadata(upload.metadata)
    except HeaderInvalid:
        metadata = {}
    given = next((metadata[key] for key in NAME_KEYS if metadata.get(key)), b"")
    text = given.decode(errors="replace").replace("\\", "/").rstrip("/").rpartition("/")[2]
    return fitting(split_name(plain_name(text) or upload.upload_id))


def plain_name(text: str) -> str:
    """Make one path component of any text; empty when nothing of it can be kept."""
    plain = _plain(unicodedata.normalize("NFC", text)).strip(" .")
    # What stood between two characters may have kept them from being one.
    plain = unicodedata.normalize("NFC", plain)
    if plain.startswith("-"):  # Some program would take it for an option.
        plain = f"_{plain[1:]}"
    return f"_{plain}" if _RESERVED.match(plain) else plain


def _plain(text: str) -> str:
    return "".join("_" if char in _FORBIDDEN else char for char in text if _is_visible(char))


def _is_visible(char: str) -> bool:
    """Tell whether a character shows: no control, format (bidi), surrogate or private one."""
    return char == " " or unicodedata.category(char)[0] not in {"C", "Z"}


def split_name(text: str) -> Name:
    """Cut a name where its extension begins."""
    stem, dot, extension = text.rpartition(".")
    if not dot or not stem or not 0 < len(extension.encode()) <= MAX_EXTENSION:
        return Name(text, "")
    return Name(stem, extension)


def fitting(name: Name, *, tail: str = "") -> Name:
    """Shorten a name to what a file system takes, at a character; `tail` ends its stem."""
    room = MAX_COMPONENT - len(tail.encode())
    if name.extension:
        room -= len(name.extension.encode()) + 1
    stem = name.stem.encode(errors="replace")[:room].decode(errors="ignore").rstrip(" .")
    return Name(f"{stem or '_'}{tail}", name.extension)
