"""The page of metrics (floor 5): for Prometheus beside the server, not for the world.

Who may read it is decided by the address at the other end of the connection. A request that
came through a proxy is refused: the address would be the proxy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.web.arrival import peer_of
from tusserver.web.forwarded import FIELDS, TrustedProxies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Write = Callable[[str], Awaitable[tuple[bytes, str]]]

PATH = "/metrics"

_SIGNS_OF_PROXIES = (*FIELDS, "Via", "X-Real-IP")


class MetricsPage:
    """Answers with metrics."""

    def __init__(self, write: Write, *, networks: Iterable[str]) -> None:
        """Answer `networks` alone. `write` takes `Accept`, gives text and its type."""
        self._write = write
        self._readers = TrustedProxies(networks)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer GET and HEAD; for who may not read it there is nothing here."""
        if not self._may_read(request):
            text = "not_found: Nothing is served at this path.\n"
            headers = {"Tus-Resumable": "1.0.0", "X-Content-Type-Options": "nosniff"}
            return web.Response(status=404, text=text, headers=headers)
        body, content_type = await self._write(",".join(request.headers.getall("Accept", ())))
        headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)

    def _may_read(self, request: web.Request) -> bool:
        if any(name in request.headers for name in _SIGNS_OF_PROXIES):
            return False
        return self._readers.trusts(peer_of(request))
