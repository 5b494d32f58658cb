"""The program's own server (floor 5): its application, its processes, its restarts."""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.compose.engine import build_engine
from tusserver.compose.health import build_readiness
from tusserver.compose.measuring import build_meter, metrics_routes, share_metrics
from tusserver.compose.paging import page_setup, tell_if_missing
from tusserver.compose.running import Alone, Post, serve_as_worker
from tusserver.compose.tls import build_tls
from tusserver.errors import ConfigError
from tusserver.process import handover
from tusserver.process.descriptors import connections_within, raise_descriptor_limit
from tusserver.process.listening import ACTIVATED, Address, Listening, activated, adopt, listen
from tusserver.process.notify import Notifier
from tusserver.process.supervisor import Supervisor
from tusserver.storage.placing import Placing
from tusserver.web.app import plain_errors, tus_app
from tusserver.web.dispatch import SHORT_WAY
from tusserver.web.health import health_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.config import Settings
    from tusserver.engine.core import UploadEngine
    from tusserver.ports import Hooks

logger = logging.getLogger(__name__)


def build_app(
    settings: Settings, hooks: Hooks | None = None, *, placing: Placing | None = None
) -> web.Application:
    """Make the program's application: the engine's at the base path, the program's own beside."""
    engine = build_engine(settings, hooks, meter=build_meter(settings), placing=placing)
    routes = routes_beside(settings, engine)
    if settings.base_path == "/":
        return tus_app(engine, routes=routes)
    app = web.Application(middlewares=[plain_errors])
    app.add_routes(routes)
    uploads = tus_app(engine, base_path=settings.base_path)
    app.add_subapp(settings.base_path, uploads)
    app[SHORT_WAY] = uploads[SHORT_WAY]
    return app


def routes_beside(settings: Settings, engine: UploadEngine) -> list[web.RouteDef]:
    """Give what the program serves beside uploads; it needs no headers of tus."""
    health = health_routes(build_readiness(settings, engine))
    metrics = metrics_routes(settings, engine.parts.meter)
    return [*health, *metrics, *page_setup(settings, engine)]


def serve(settings: Settings, *, announce: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends at once, SIGHUP starts anew.

    `announce` is called with host and port (`unix:PATH` and 0) once connections are accepted.
    Raises: ConfigError, StorageFault, StateUnavailable, OSError (the address cannot be used);
    SystemExit when a worker has said already what was wrong.
    """
    left = handover.take(os.environ)
    if left is not None and left.rehearsal:
        asyncio.run(_rehearse(settings))
        return
    tls = build_tls(settings)
    tell_if_missing(settings)
    notifier = Notifier(os.environ)
    listening = _listen(settings, left)
    survivors = () if left is None else left.workers
    limit = connections_within(raise_descriptor_limit(), settings.max_connections)

    def told() -> None:
        announce(*listening.place)
        notifier.ready("Accepting connections")

    placing = Placing.here()
    build = partial(build_app, settings, placing=placing)
    post = Post(settings, build, listening, tls, limit, placing)
    if settings.workers == 1 and not survivors:
        Alone(post, notifier=notifier, announce=told).run()
        return
    supervisor = Supervisor(
        listening,
        workers=settings.workers,
        shutdown_timeout=settings.shutdown_timeout,
        notifier=notifier,
        announce=told,
        left=survivors,
    )
    with share_metrics(settings):
        if (link := supervisor.run()) is not None:
            asyncio.run(serve_as_worker(post, link))


async def _rehearse(settings: Settings) -> None:
    """Make everything that is made before a start, and leave no trace. Raises: ConfigError."""
    build_tls(settings)
    build_app(settings)


def _listen(settings: Settings, left: handover.Handover | None) -> Listening:
    """Get the sockets: from an earlier life, from systemd, or new ones."""
    address = Address(settings.host, settings.port, settings.unix_socket, settings.unix_socket_mode)
    if left is None:
        return activated(os.environ) or listen(address)
    before = adopt(list(left.sockets), left.origin)
    if left.origin in {ACTIVATED, address.text}:
        return before
    try:
        listening = listen(address)
    except (ConfigError, OSError) as exc:
        logger.error(  # noqa: TRY400 - the trace tells nothing more
            "%s cannot be listened on (%s): the server goes on at %s; a restart of the process "
            "frees what it holds", address.text, exc, left.origin,
        )  # fmt: skip
        return before
    before.retire()
    return listening
