"""Which pages of other origins may use the server, and the headers that tell them so (floor 5).

Source: the Fetch standard, "HTTP-CORS protocol"; RFC 6454 for origins. The lists hold what
the clients in use send and read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tusserver.errors import ConfigError, OriginRefused
from tusserver.protocol.headers import is_token

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY = "*"
NULL = "null"

_METHODS = "POST, GET, HEAD, PATCH, DELETE, OPTIONS"
_ALLOWED = (
    "Authorization",
    "Content-Type",
    "Content-Disposition",
    "X-Requested-With",
    "X-Request-ID",
    "X-HTTP-Method-Override",
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-Draft-Interop-Version",
    "Range",
    "If-Range",
)
_EXPOSED = (
    "Location",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Expires",
    "Tus-Version",
    "Tus-Resumable",
    "Tus-Max-Size",
    "Tus-Extension",
    "Tus-Checksum-Algorithm",
    "Upload-Complete",
    "Upload-Limit",
    "Upload-Draft-Interop-Version",
    "Content-Location",
    "Content-Range",
    "Content-Disposition",
    "Accept-Ranges",
    "ETag",
    "Repr-Digest",
    "Retry-After",
)

_EXPOSED_LIST = ", ".join(_EXPOSED)
FOR_ALL = {
    "Access-Control-Allow-Origin": ANY,
    "Access-Control-Expose-Headers": _EXPOSED_LIST,
}
"""What an answer says where every page may read it."""

_ORIGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://"
    r"(?P<host>[A-Za-z0-9._~\-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
)
_WILDCARD = "*."
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: str


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """What the operator allows to pages of other origins.

    `origins` are exact (`https://example.org`), with all their subdomains
    (`https://*.example.org`, which is not the domain itself), `null`, or `*` for all.
    With `credentials` a page may send cookies and the like: `*` then lets every page act as
    the user who looks at it. `extra_headers` are request headers of the application's own.
    `max_age` is in seconds: how long a browser may remember a preflight.
    """

    origins: tuple[str, ...] = (ANY,)
    credentials: bool = False
    extra_headers: tuple[str, ...] = ()
    max_age: int = 86_400

    def __post_init__(self) -> None:
        """Refuse what no browser could match. Raises: ConfigError."""
        for pattern in self.origins:
            if pattern not in {ANY, NULL} and _parse_pattern(pattern) is None:
                raise ConfigError(
                    "cors_origins", pattern, "must be *, null, or scheme://host[:port], no path"
                )
        for name in self.extra_headers:
            if not is_token(name):
                raise ConfigError("cors_headers", name, "must be the name of a header")
        if self.max_age < 0:
            raise ConfigError("cors_max_age", self.max_age, "must not be negative")

    @property
    def varies(self) -> bool:
        """Tell whether the answer depends on the origin that asks."""
        return self.credentials or ANY not in self.origins


def check_origin(policy: CorsPolicy, origin: str | None, *, method: str, own_origin: str) -> None:
    """Refuse a request of a page that may not use this server, before it has an effect.

    `origin` is the request's `Origin`; None, which only browsers' plain GETs and other programs
    send, passes. So do pages of the server itself, `own_origin` (browsers name the origin on
    every POST), and OPTIONS, which changes nothing. `method` is the one in effect, after any
    override. Raises: OriginRefused.
    """
    if origin is None or method == "OPTIONS" or is_allowed(policy, origin):
        return
    parsed = _parse_origin(origin)
    if parsed is None or parsed != _parse_origin(own_origin):
        raise OriginRefused


def is_allowed(policy: CorsPolicy, origin: str) -> bool:
    """Tell whether pages of an origin may use the server."""
    if not policy.varies:
        return True
    # `null` is what any sandboxed page sends: with credentials, a star does not stand for it.
    if origin == NULL:
        return NULL in policy.origins
    asked = _parse_origin(origin)
    return asked is not None and (
        ANY in policy.origins or any(_matches(pattern, asked) for pattern in policy.origins)
    )


def response_headers(policy: CorsPolicy, origin: str | None) -> Mapping[str, str]:
    """Give the headers that let a page read an answer, an error as well.

    Where every page may, they are the same for all requests, so that a cache can give an answer
    that a program fetched to a page. Elsewhere `Vary` tells caches apart.
    """
    if not policy.varies:
        return FOR_ALL
    headers = {"Vary": "Origin"}
    if origin is None or not is_allowed(policy, origin):
        return headers
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = _EXPOSED_LIST
    if policy.credentials:
        headers["Access-Control-Allow-Credentials"] = "true"
    return headers


def preflight_headers(policy: CorsPolicy, origin: str | None) -> Mapping[str, str]:
    """Give the headers of an answer to OPTIONS, be it a preflight or a page's own request.

    The lists are given whole, never made from what was asked for.
    """
    headers = response_headers(policy, origin)
    return {**headers, **_lists(policy)} if "Access-Control-Allow-Origin" in headers else headers


@lru_cache(maxsize=16)
def _lists(policy: CorsPolicy) -> Mapping[str, str]:
    return {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": ", ".join((*_ALLOWED, *policy.extra_headers)),
        "Access-Control-Max-Age": str(policy.max_age),
    }


def _parse_origin(text: str) -> _Origin | None:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    port = match["port"] or _DEFAULT_PORTS.get(scheme, "")
    return _Origin(scheme, match["host"].lower(), port)


def _parse_pattern(pattern: str) -> tuple[_Origin, bool] | None:
    """Read an entry of the list: an origin, and whether its subdomains are meant instead."""
    scheme, separator, rest = pattern.partition("://")
    is_wildcard = rest.startswith(_WILDCARD)
    parsed = _parse_origin(scheme + separator + rest.removeprefix(_WILDCARD))
    return None if parsed is None else (parsed, is_wildcard)


def _matches(pattern: str, asked: _Origin) -> bool:
    parsed = _parse_pattern(pattern)
    if parsed is None:  # `*` and `null`, which were looked at before
        return False
    allowed, is_wildcard = parsed
    if not is_wildcard:
        return asked == allowed
    return asked._replace(host="") == allowed._replace(host="") and asked.host.endswith(
        f".{allowed.host}"
    )
