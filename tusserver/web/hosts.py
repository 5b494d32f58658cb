"""The header that names the server (floor 5; RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11
from aiohttp.hdrs import HOST

from tusserver.errors import RequestMalformed

if TYPE_CHECKING:
    from aiohttp import web

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.v]+\]|[0-9A-Za-z\-._~!$&'()*+,;=%]*)(?::[0-9]*)?")


def check_host(request: web.BaseRequest) -> None:
    """Refuse a request without exactly one valid `Host`. Raises: RequestMalformed."""
    hosts = request.headers.getall(HOST, ())
    if not hosts and request.version < HttpVersion11:
        return
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise RequestMalformed("A request must have exactly one valid header Host.")
