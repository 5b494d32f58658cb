"""What the operator decides about HTTP (floor 2): carried by the engine, read by the web floor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Ingest(Enum):
    """How the bodies of requests are received."""

    AUTO = "auto"
    """From the socket, without aiohttp's parser, where that was found to work.

    Large ones of quick clients go to the file without coming into memory.
    """
    MEMORY = "memory"
    """The same, but all of them come into memory."""
    SOCKET = "socket"
    """From the socket for bodies of every size, each in both ways: what tests want."""
    PORTABLE = "portable"
    """From aiohttp's stream, always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How uploads are served over HTTP; times in seconds."""

    body_timeout: float = 60.0
    """Seconds without a byte after which a body is ended."""
    cache_control: str = "private, no-cache"
    """`Cache-Control` of downloads."""
    public_url: str | None = None
    """The creation URL as clients see it, with a trailing slash; None: path-absolute URLs."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks, addresses, and `unix`, whose `Forwarded` and `X-Forwarded-*` are believed."""
    access_log: bool = True
    """Whether requests that went well, or failed by the client's fault, are logged."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins of browser pages that may use the server; `*` for all."""
    cors_credentials: bool = False
    """Whether browsers may send cookies and the like."""
    cors_headers: tuple[str, ...] = ()
    """Request headers that pages may send beside those of tus."""
