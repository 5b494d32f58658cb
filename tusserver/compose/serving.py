"""The program's own server (floor 5): listens, serves, stops."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.compose.engine import build_engine
from tusserver.web.app import plain_errors, tus_app
from tusserver.web.server import TusRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.config import Settings
    from tusserver.ports import Hooks


def build_app(settings: Settings, hooks: Hooks | None = None) -> web.Application:
    """Make the program's application: the engine's, mounted at the base path."""
    tus = tus_app(build_engine(settings, hooks))
    if settings.base_path == "/":
        return tus
    app = web.Application(middlewares=[plain_errors])
    app.add_subapp(settings.base_path, tus)
    return app


async def serve(settings: Settings, *, announce: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    `announce` is called with host and port once connections are accepted. Raises: ConfigError,
    StorageFault, StateUnavailable, OSError (the address cannot be used).
    """
    told = _stop_signal()
    runner = TusRunner(build_app(settings), shutdown_timeout=settings.shutdown_timeout)
    try:
        await runner.setup()
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await site.start()
        host, port = runner.addresses[0][:2]
        announce(str(host), int(port))
        await told.wait()
    finally:
        await runner.cleanup()


def _stop_signal() -> asyncio.Event:
    """Give what is set by the first SIGTERM or SIGINT; the second one ends the process."""
    told = asyncio.Event()

    def stop() -> None:
        if told.is_set():
            os._exit(1)
        told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return told
