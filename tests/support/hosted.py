"""An aiohttp application in a thread of its own, so that tests may block."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


async def _settle() -> None:
    """Let connections go that were accepted or closed just now: that takes turns of the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)


@contextmanager
def hosted(make_app: Callable[[], web.Application]) -> Iterator[int]:
    """Serve an application on a default runner; give its port."""
    started: list[int] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(make_app())
        try:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            started.append(runner.addresses[0][1])
            ready.set()
            await stop.wait()
        finally:
            await runner.cleanup()
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
