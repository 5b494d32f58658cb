"""The program's short way to its uploads, past the router (floor 5).

The router asks every part of a path for its resource, makes a match and wraps the handler in
middlewares: more work than some requests to uploads need in all. Where the program serves alone
it knows the one path that matters. What is not below it goes to the router as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tusserver.web.server import TusRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.web.server import TusServer

    Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class ShortWay:
    """Hands requests below the base path to the handler of uploads."""

    def __init__(self, base_path: str, uploads: Handler) -> None:
        """`base_path` ends with a slash, and is not the root: other things lie there too."""
        self._base_path = base_path
        self._creation = base_path.rstrip("/")
        self._uploads = uploads

    def past(self, router: Handler) -> Handler:
        """Give a handler that lets the router's have what is no upload."""
        base_path, creation, uploads = self._base_path, self._creation, self._uploads

        def handle(request: web.Request) -> Awaitable[web.StreamResponse]:
            # As it was sent: what is written in another way is the router's to judge.
            path = request.rel_url.raw_path
            is_upload = path.startswith(base_path) or path == creation
            return uploads(request) if is_upload else router(request)

        return handle


SHORT_WAY = web.AppKey("tusserver.short_way", ShortWay)
"""Where an application keeps its short way, if it has one."""


class ShortcutRunner(TusRunner):
    """Runs an application, and takes its short way."""

    async def _make_server(self) -> TusServer:
        server = await super()._make_server()
        short_way = self.app.get(SHORT_WAY)
        if short_way is not None:
            server.request_handler = short_way.past(server.request_handler)
        return server
