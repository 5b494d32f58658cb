"""The trailers of chunked messages, which aiohttp's parsers read and drop (floor 5).

Source: RFC 9112 section 7.1 (chunked coding), RFC 9110 section 6.5 (trailer fields), tus
1.0.0, "Checksum" (checksum-trailer).

`Framing` follows the raw bytes of one connection beside the real parser: the head of each
message, then its length, its chunks and its trailer section. It looks at framing alone: bodies
are skipped by counting, and nothing is kept but an incomplete line and announced trailers.

Why a second reading is safe here. The parser gets the same bytes in the same order, whatever
is read here, so which bytes belong to which message is decided by the parser alone. Framing is
stricter than any parser: what it does not understand ends it for that connection (`lost`), and
then no trailers are announced or found. If both ever read one message differently, the number
of body bytes differs and the trailers are not used; if that were equal too, a wrong trailer
could only make a checksum fail, as the digest is compared with the bytes that the parser
delivered. Fields of a trailer never join the header fields: only an announced name can be
asked for, and never one that frames, routes or authenticates a message.

For the same reason the header fields of each head are counted: aiohttp's C parser (3.14.5) puts
the last field of a trailer section in front of the headers of the next request.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEAD = 1_150_000
"""The longest head of a message, in bytes: one field of the largest size and much beside it."""

MAX_SECTION = 16_384
"""The longest chunk-size line, and the longest trailer section, in bytes."""

_FIELD = re.compile(
    rb"\r\n(content-length|transfer-encoding|trailer|upgrade):([^\r\n]*)", re.IGNORECASE
)
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;.*)?")
_NAME = re.compile(rb"[0-9A-Za-z!#$%&'*+\-.^_`|~]+")

# RFC 9110 section 6.5.1; `Upload-Offset` would say where a body belongs after it was written.
_FORBIDDEN = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upload-length",
        "upload-offset",
    }
)

# What a parser reads of the head in which it finds them: slipped into the next one, they make two
# where one may be, or end its connection.
_READ_IN_HEADS = frozenset(
    {
        b"connection",
        b"content-length",
        b"content-location",
        b"content-range",
        b"content-type",
        b"etag",
        b"host",
        b"max-forwards",
        b"proxy-connection",
        b"server",
        b"transfer-encoding",
        b"upgrade",
        b"user-agent",
    }
)


class Trailers:
    """The announced trailers of one message; filled when its trailer section has arrived."""

    __slots__ = ("_announced", "_fields", "body_length", "complete")

    def __init__(self, announced: frozenset[str]) -> None:
        """Keep only these names, in lower case."""
        self._announced = announced - _FORBIDDEN
        self._fields: dict[str, str] = {}
        self.body_length = 0
        """The number of body bytes that were counted, chunk framing not included."""
        self.complete = False

    def get(self, name: str) -> str | None:
        """Give the value of an announced field, several joined by a comma; None if absent."""
        return self._fields.get(name.lower()) if self.complete else None

    def forget(self) -> None:
        """Keep nothing, now and when the section arrives."""
        self._announced = frozenset()
        self._fields.clear()

    def fill(self, section: bytes) -> bool:
        """Take the lines of a trailer section; tell whether it is well-formed."""
        for line in section.split(b"\r\n"):
            raw_name, colon, raw_value = line.partition(b":")
            if not colon or _NAME.fullmatch(raw_name) is None:
                return False
            name = raw_name.decode("ascii").lower()
            if name in self._announced:
                value = raw_value.strip(b" \t").decode("utf-8", "surrogateescape")
                earlier = self._fields.get(name)
                self._fields[name] = value if earlier is None else f"{earlier},{value}"
        self.complete = True
        return True


class Message(NamedTuple):
    """What is known of a message from its head."""

    trailers: Trailers | None
    """None when its framing is not understood: its body is not followed."""
    fields: int
    """The number of its header fields."""


class Framing:
    """Follows where each message of a connection begins and ends. Never waits, never raises."""

    __slots__ = ("_coming", "_left", "_open", "_partial", "_step", "is_too_long", "lost")

    def __init__(self) -> None:
        """Begin at the first byte of a connection."""
        self._step: Callable[[bytes, int], int] = self._head
        self._left = 0
        self._partial = b""
        self._open = _PLAIN
        # A deque would take 760 bytes of each connection, for one message at a time.
        self._coming: list[Message] = []
        self.lost = False
        """Something was not understood: nothing is followed any more."""
        self.is_too_long = False
        """The head that arrives now is longer than any that is accepted."""

    def feed(self, data: bytes) -> None:
        """Take the bytes that arrived; of a body costs one comparison."""
        if self.lost:
            return
        if self._partial:
            data, self._partial = self._partial + data, b""
        at = 0
        while at < len(data):
            after = self._step(data, at)
            if after < 0:
                # The rest of a line or head is still to come.
                self._partial = data[at:]
                return
            at = after

    def next(self) -> Message | None:
        """Give the next message, in the order of heads; None after the last that was read."""
        return self._coming.pop(0) if self._coming else None

    @property
    def body_left(self) -> int:
        """Give how much of a body of known length is still to come, in bytes."""
        if not self._left or self.lost or self._partial:
            return 0
        return self._left if self._step == self._body else 0

    def skip(self, count: int) -> None:
        """Note that so many bytes of a body of known length went another way."""
        self._left -= count
        if not self._left:
            self._step = self._head

    # Each step takes the position it stands at and gives the one after it, -1 for "need more".

    def _head(self, data: bytes, at: int) -> int:
        # Empty lines before a message are ignored (RFC 9112 section 2.2).
        if data.startswith(b"\r\n", at):
            return at + 2
        end = data.find(b"\r\n\r\n", at)
        if (end if end >= 0 else len(data)) > at + MAX_HEAD:
            self.is_too_long = True
            return self._give_up(data)
        if end < 0:
            return -1
        head = data[at:end]
        trailers = self._begin(head)
        self._coming.append(Message(trailers, head.count(b"\r\n")))
        if trailers is None:
            return self._give_up(data)
        self._open = trailers
        return end + 4

    def _begin(self, head: bytes) -> Trailers | None:
        """Read the framing fields of a head; None if they are not understood."""
        found = _FIELD.findall(head)
        is_odd = head.startswith(b"CONNECT ")
        if not found and not is_odd:
            return _PLAIN
        fields: dict[bytes, list[bytes]] = {}
        for name, value in found:
            fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
        framing = fields.get(b"content-length", []) + fields.get(b"transfer-encoding", [])
        if is_odd or b"upgrade" in fields or len(framing) > 1:
            return None
        if b"transfer-encoding" in fields:
            if framing[0].lower() != b"chunked":
                return None
            self._step = self._chunk_size
            return _announced(fields.get(b"trailer", []))
        return self._measured(framing[0]) if framing else _PLAIN

    def _measured(self, length: bytes) -> Trailers | None:
        """Await a body of this length, if it is one."""
        if _LENGTH.fullmatch(length) is None:
            return None
        self._left = int(length)
        if self._left:
            self._step = self._body
        return _PLAIN

    def _body(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        self._left -= taken
        if not self._left:
            self._step = self._head
        return at + taken

    def _chunk_size(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if (len(data) if end < 0 else end) - at > MAX_SECTION:
            return self._give_up(data)
        if end < 0:
            return -1
        found = _CHUNK_SIZE.fullmatch(data, at, end)
        if found is None:
            return self._give_up(data)
        size = int(found[1], 16)
        if self._open is not _PLAIN:
            self._open.body_length += size
        # The parser checks the line end after each chunk; here it is skipped with it.
        self._left = size + 2
        self._step = self._chunk if size else self._section
        return end + 2

    def _chunk(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        self._left -= taken
        if not self._left:
            self._step = self._chunk_size
        return at + taken

    def _section(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            self._open.complete = self._open is not _PLAIN
            self._step = self._head
            return at + 2
        end = data.find(b"\r\n\r\n", at)
        if (len(data) if end < 0 else end) - at > MAX_SECTION:
            return self._give_up(data)
        if end < 0:
            return -1
        section = data[at:end]
        if self._open is not _PLAIN and not self._open.fill(section):
            return self._give_up(data)
        if not _READ_IN_HEADS.isdisjoint(_names(section)):
            # The next request, perhaps another client's behind a proxy, must not pay for it.
            return self._give_up(data)
        self._step = self._head
        return end + 4

    def _give_up(self, data: bytes) -> int:
        self.lost = True
        return len(data)


_PLAIN = Trailers(frozenset())


def _names(section: bytes) -> set[bytes]:
    return {line.partition(b":")[0].strip(b" \t").lower() for line in section.split(b"\r\n")}


def _announced(lines: list[bytes]) -> Trailers:
    names = b",".join(lines).decode("latin-1").lower().split(",")
    announced = frozenset(name.strip(" \t") for name in names) - {""}
    return Trailers(announced) if announced else _PLAIN
