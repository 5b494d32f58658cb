"""An aiohttp application in a thread of its own, so that tests may block."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Loop(asyncio.SelectorEventLoop):
    """A loop that knows its connections: a runner forgets some that come as it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.made: WeakSet[asyncio.Transport] = WeakSet()

    def _make_socket_transport(self, *given: Any, **named: Any) -> asyncio.Transport:
        made: asyncio.Transport = super()._make_socket_transport(*given, **named)  # type: ignore[misc]
        self.made.add(made)
        return made


async def _settle() -> None:
    """Let connections come and go that were accepted or closed just now: that takes turns."""
    for _ in range(10):
        await asyncio.sleep(0)


@contextmanager
def hosted(make_app: Callable[[], web.Application]) -> Iterator[int]:
    """Serve an application on a default runner; give its port."""
    started: list[int] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    loop = _Loop()
    stop = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(make_app())
        try:
            await runner.setup()
            listening = socket.create_server(("127.0.0.1", 0))
            await web.SockSite(runner, listening).start()
            started.append(runner.addresses[0][1])
            ready.set()
            await stop.wait()
            # What asyncio has just accepted when its server closes it forgets, and never closes.
            loop.remove_reader(listening)
            await _settle()
        finally:
            await runner.cleanup()
            for transport in list(loop.made):
                transport.abort()
            await _settle()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the test
            failed.append(error)
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        if started:
            yield started[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failed:
        raise failed[0]
