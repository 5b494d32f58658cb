"""Which upload a request's path names (floor 5).

The path is decoded once and compared whole: only an id of ours ever names an upload, and no
part of a path ever names a file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from aiohttp import web

TAIL = "{tail:.*}"

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def base_path_of(request: web.Request) -> str:
    """Give the path of the creation URL, with a trailing slash, wherever it is mounted."""
    resource = request.match_info.route.resource
    canonical = "/" if resource is None else resource.canonical
    return canonical.removesuffix("{tail}").rstrip("/") + "/"


def segment_of(request: web.Request, base_path: str) -> str | None:
    """Give the decoded segment that names the upload; None on the creation URL.

    A trailing slash is ignored. What cannot be decoded is given as it is: it is no id.
    """
    raw = request.rel_url.raw_path
    segment = raw.removeprefix(base_path)
    if segment.isalnum() and segment.isascii():
        return segment
    if raw in {base_path, base_path.rstrip("/")}:
        return None
    segment = segment.removesuffix("/")
    if _BROKEN_ESCAPE.search(segment):
        return segment
    return unquote(segment, errors="replace") or None
