"""What is asked of the uploader (floor 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

ANY_ALGORITHM = "any"
"""Whichever of the server's checksum algorithms is the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Where files go, and how; sizes in bytes, times in seconds."""

    endpoint: str
    """The creation URL."""
    folder: Path
    """Where the URLs of unfinished uploads are kept."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with each request; values may be secrets."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Added to what is known of a file, or instead of it."""
    parts: int = 1
    chunk: int | None = None
    """The largest body of a PATCH; None: as large as it gets."""
    algorithm: str | None = None
    """Of the checksum of each PATCH; None: none is sent."""
    tls: ssl.SSLContext | bool = True
    """False believes any certificate."""
    patience: float = 600.0
    """For how long it is tried again without a byte of progress."""
    silence: float = 60.0
    """For how long nothing may move on a connection."""


def check_endpoint(text: str) -> str:
    """Give a creation URL back. Raises: ValueError, with the reason for people."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    usable = parts.scheme in {"http", "https"} and parts.hostname and port != 0
    if not usable or parts.fragment or not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("not a URL: write it as http://127.0.0.1:1080/files/")
    return text


def shown_url(url: str, *, query: bool = False) -> str:
    """Give a URL without what may be a secret: a password, and unless `query`, the query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, parts.query if query else "", ""))
