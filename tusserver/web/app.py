"""The aiohttp application of an engine (floor 5): mount it anywhere, or serve it alone."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.web.dispatch import SHORT_WAY, ShortWay
from tusserver.web.handlers import TusHandlers
from tusserver.web.interim import hold_continue
from tusserver.web.paths import TAIL
from tusserver.web.requestlog import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tusserver.engine.core import UploadEngine


def tus_app(
    engine: UploadEngine, *, routes: Sequence[web.RouteDef] = (), base_path: str | None = None
) -> web.Application:
    """Make the application of an engine, to be mounted by `add_subapp` or served alone.

    It starts the engine with the host's start-up and closes it with its clean-up. `routes` are
    served in the place of uploads of that name. Who knows where it will be mounted, and has
    nothing else below that, names the `base_path`: there is a `SHORT_WAY` then.
    """
    parts = engine.parts
    count = partial(counted, meter=parts.meter, every_request=parts.web.access_log)
    handlers = TusHandlers(engine)
    handle = count(handlers.handle)
    app = web.Application()
    if base_path is not None:
        uploads = count(partial(handlers.serve, base_path=base_path, is_direct=True))
        app[SHORT_WAY] = ShortWay(base_path, uploads)
    app.add_routes(routes)
    # A sub-application mounted at /files/ also gets /files: never a redirect, which would
    # turn a POST into a GET.
    for path in ("", "/" + TAIL):
        app.router.add_route("*", path, handle, expect_handler=hold_continue)

    async def start(_app: web.Application) -> None:
        await engine.start()

    async def stop_bodies(_app: web.Application) -> None:
        engine.stop_bodies()

    async def close(_app: web.Application) -> None:
        await engine.close()

    app.on_startup.append(start)
    app.on_shutdown.append(stop_bodies)
    app.on_cleanup.append(close)
    return app


@web.middleware
async def plain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what lies beside the base path in the words of the other errors."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        text = "not_found: Nothing is served at this path.\n"
        headers = {"Tus-Resumable": "1.0.0", "X-Content-Type-Options": "nosniff"}
        return web.Response(status=error.status, text=text, headers=headers)
