"""Settings into a running server (floor 5): the only place that knows the backends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.engine.core import UploadEngine
from tusserver.engine.parts import EngineParts
from tusserver.engine.records import Records
from tusserver.hooks.callables import CallableHooks
from tusserver.options import WebOptions
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.storage.wake import DatagramMailbox
from tusserver.upload import Durability
from tusserver.values import EXTENSIONS, LOCAL
from tusserver.web.app import plain_errors, tus_app
from tusserver.web.server import TusRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.config import Settings
    from tusserver.ports import Hooks, StateStore

REDIS = "redis"
"""The kind of state that `store.json` names for every URL of a Redis."""
DOWNLOAD = "download"
"""GET, which tus does not announce but which is switched off as an extension is."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Give the wall clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return time.monotonic()


def build_engine(settings: Settings, hooks: Hooks | None = None) -> UploadEngine:
    """Put an engine together from settings; it opens its store when it is started."""
    directory = Path(settings.upload_dir)
    mailbox = DatagramMailbox(directory)
    kind = LOCAL if settings.state == LOCAL else REDIS
    storage = LocalStorage(
        directory, reserve=settings.reserve, state_kind=kind, mailbox_name=mailbox.name
    )
    state: StateStore
    state = LocalState(storage) if kind == LOCAL else RedisState(settings.state)
    works = {*EXTENSIONS, DOWNLOAD} - set(settings.disable)
    parts = EngineParts(
        storage=storage,
        state=state,
        records=Records(storage, state),
        mailbox=mailbox,
        hooks=hooks or CallableHooks(),
        clock=SystemClock(),
        limits=settings.limits(),
        durability=Durability(settings.durability),
        extensions=frozenset(works if settings.download else works - {DOWNLOAD}),
        web=WebOptions(
            body_timeout=settings.body_timeout,
            cache_control=settings.cache_control,
            public_url=settings.public_url,
            cors_origins=settings.cors_origins,
            cors_credentials=settings.cors_credentials,
            cors_headers=settings.cors_headers,
        ),
    )
    return UploadEngine(
        parts, sweep_interval=settings.sweep_interval, sweep_grace=settings.sweep_grace
    )


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


async def adopt(settings: Settings) -> str:
    """Bind the upload directory to the state store of the settings; say what was done.

    Raises: ConfigError, StorageFault, StateUnavailable.
    """
    kind = LOCAL if settings.state == LOCAL else REDIS
    storage = LocalStorage(Path(settings.upload_dir), reserve=0, state_kind=kind, mailbox_name="")
    if kind == LOCAL:
        store_id = await storage.adopt()
        return f"{settings.upload_dir} now keeps its state in its own ledger (store {store_id})"
    state = RedisState(settings.state)
    try:
        await state.list(None, 1)  # A Redis that does not answer must leave the directory alone.
        store_id = await storage.adopt()
        await state.adopt(store_id)
    finally:
        await state.close()
    return f"{settings.upload_dir} now keeps its state in Redis (store {store_id})"


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
