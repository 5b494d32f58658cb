"""Digests of whole files: what the server tells, and what clients put into metadata (floor 2).

Pure. Sources: RFC 9530, section 3 (`Repr-Digest`) and its registry of algorithms; tus 1.0.0,
"Creation" (`Upload-Metadata`), which names no key for a digest: clients use several, and write
digests in several ways.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.errors import HeaderInvalid
from tusserver.protocol.headers import parse_metadata
from tusserver.protocol.messages import Checksum
from tusserver.upload import Kind

if TYPE_CHECKING:
    from tusserver.upload import Upload

TOLD = {"sha-256": "sha256", "sha-512": "sha512"}
"""What the server can tell, by its name in RFC 9530; those marked as insecure there are not."""

_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
"""Bytes of the digests that are recognised."""
_BY_SIZE = {size: algorithm for algorithm, size in _SIZES.items()}
_SAME = {"sha": "sha1", "sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}

_MEMBER = re.compile(r"[ \t]*([A-Za-z0-9-]+)=:([A-Za-z0-9+/]*={0,2}):[ \t]*")
_NAMED = re.compile(r"([A-Za-z0-9]+(?:-(?:1|256|512))?)[ :=-]([A-Za-z0-9+/]+={0,2})")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestRules:
    """Which digest of whole files the operator wants, and where clients tell theirs."""

    name: str = ""
    """One of `TOLD`; empty: nothing is computed and nothing is checked."""
    keys: tuple[str, ...] = ()
    """Keys of metadata whose values are digests."""

    def told(self, upload: Upload) -> str:
        """Name the algorithm whose digest is kept with an upload; empty for none.

        Parts get none: nobody is told that they are finished.
        """
        return "" if upload.kind is Kind.PARTIAL else TOLD.get(self.name, "")

    def expected(self, metadata: str) -> tuple[Checksum, ...]:
        """Give the digests that a client says its file has. Raises: HeaderInvalid."""
        if not self.name or not metadata:
            return ()
        found = parse_metadata(metadata)
        return tuple(
            checksum for key in self.keys if found.get(key) for checksum in _parse(key, found[key])
        )


def format_digest(algorithm: str, digest: bytes) -> str:
    """Write a digest as `Repr-Digest` has it; `algorithm` is one of the values of `TOLD`."""
    name = next(name for name, told in TOLD.items() if told == algorithm)
    return f"{name}=:{binascii.b2a_base64(digest, newline=False).decode('ascii')}:"


def _parse(key: str, value: bytes) -> list[Checksum]:
    """Read what one key says: digests in RFC 9530's form, or one, named or bare, or raw bytes."""
    meant = _algorithm(key)
    if len(value) == _SIZES.get(meant):
        return [Checksum(meant, value)]
    text = value.decode("latin-1").strip(" \t\r\n")
    members = [_MEMBER.fullmatch(member) for member in text.split(",")]
    if all(members):
        return [_named(key, match[1], match[2]) for match in members if match is not None]
    digest = _bare(text)
    if digest is not None and _BY_SIZE.get(len(digest)) == (meant or _BY_SIZE.get(len(digest), "")):
        return [Checksum(_BY_SIZE[len(digest)], digest)]
    if (match := _NAMED.fullmatch(text)) is not None:
        return [_named(key, match[1], match[2])]
    raise _invalid(key)


def _named(key: str, name: str, text: str) -> Checksum:
    algorithm, digest = _algorithm(name), _bare(text)
    if digest is None or len(digest) != _SIZES.get(algorithm):
        raise _invalid(key)
    return Checksum(algorithm, digest)


def _algorithm(name: str) -> str:
    """Give our name of an algorithm; empty if it is none that is recognised."""
    name = name.lower()
    name = _SAME.get(name, name)
    return name if name in _SIZES else ""


def _bare(text: str) -> bytes | None:
    """Read hexadecimal digits or Base64; the lengths of digests tell them apart."""
    if len(text) // 2 in _BY_SIZE and _HEX.fullmatch(text):
        return bytes.fromhex(text)
    return binascii.a2b_base64(text) if text and _BASE64.fullmatch(text) else None


def _invalid(key: str) -> HeaderInvalid:
    reason = f"the value of {key} is no digest by md5, sha1, sha256 or sha512, in hex or Base64"
    return HeaderInvalid("Upload-Metadata", reason)
