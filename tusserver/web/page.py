"""The upload page (floor 5): its files, and the headers that keep it from running anything else.

The files are made when the package is built (`tusserver/page/`) and lie in memory. Their names
tell their content, so that browsers may keep them for ever. Source: Content Security Policy
Level 3; Trusted Types; RFC 8246 (immutable).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

ASSETS = "/page/"
PLACE = "{{settings}}"
"""Where the settings stand in the page."""

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_GUARDS = {
    **_GUARDS,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # For browsers that know no frame-ancestors.
    "X-Frame-Options": "DENY",
}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

MISSING = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>No upload page</title>
<h1>The upload page is missing</h1>
<p>The server works and takes uploads; only this page was not built.</p>
<p>For whoever runs it: {reason}</p>
"""


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The page and what it loads, by name."""

    index: str
    assets: Mapping[str, bytes]


def load_page(directory: Path) -> PageFiles | None:
    """Read the files of the page; None when it was not built. Blocks. Raises: OSError."""
    try:
        index = (directory / "index.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    found = {
        path.name: path.read_bytes()
        for path in sorted((directory / "assets").iterdir())
        if path.suffix in _KINDS
    }
    return PageFiles(index, found)


def page_routes(files: PageFiles, *, settings: str, connects: str | None) -> list[web.RouteDef]:
    """Make the routes of the page.

    `settings` is the JSON that the page reads; `connects` is the origin of uploads where that is
    another than the page's own.
    """
    text = files.index.replace(PLACE, escape(settings))
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {
        **_PAGE_GUARDS,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _policy(connects),
        "ETag": etag,
    }

    async def index(request: web.Request) -> web.Response:
        tags = ",".join(request.headers.getall("If-None-Match", ()))
        if etag in tags:
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return web.Response(text=text, content_type="text/html", headers=headers)

    return [web.get("/", index), web.get(f"{ASSETS}{{name}}", _assets(files.assets))]


def missing_routes(reason: str) -> list[web.RouteDef]:
    """Make the route that says what is missing; `reason` says to operators why."""
    headers = {
        **_PAGE_GUARDS,
        "Cache-Control": "no-store",
        "Content-Security-Policy": _NOTHING,
    }

    async def index(_request: web.Request) -> web.Response:
        text = MISSING.format(reason=escape(reason))
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return web.Response(status=status, text=text, content_type="text/html", headers=headers)

    return [web.get("/", index)]


def _assets(assets: Mapping[str, bytes]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def asset(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in assets:
            # Of another version, perhaps: the next look may find it.
            text = "not_found: Nothing is served at this path.\n"
            headers = {**_GUARDS, "Cache-Control": "no-store"}
            return web.Response(status=HTTPStatus.NOT_FOUND, text=text, headers=headers)
        headers = {
            **_GUARDS,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Content-Security-Policy": _NOTHING,
            "Content-Type": _KINDS[name[name.rindex(".") :]],
        }
        return web.Response(body=assets[name], headers=headers)

    return asset


def _policy(connects: str | None) -> str:
    origins = "'self'" if connects is None else f"'self' {connects}"
    return (
        f"{_NOTHING}; script-src 'self'; style-src 'self'; img-src 'self'; worker-src 'self'; "
        f"connect-src {origins}; trusted-types tusserver; require-trusted-types-for 'script'"
    )
