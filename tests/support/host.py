"""An application that tus is mounted into, on aiohttp's default runner; flags as the program's."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from aiohttp import web

from tusserver.compose import build_engine
from tusserver.config import load_settings
from tusserver.web.app import tus_app


async def hello(_request: web.Request) -> web.Response:
    """Answer what is the application's own."""
    return web.Response(text="hello from the application\n")


async def serve(words: list[str]) -> None:
    """Serve until SIGTERM."""
    settings = load_settings(words, os.environ)
    app = web.Application()
    app.router.add_get("/hello", hello)
    app.add_subapp(settings.base_path, tus_app(build_engine(settings)))
    runner = web.AppRunner(app)
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port).start()
        port = runner.addresses[0][1]
        url = f"http://{settings.host}:{port}{settings.base_path}"
        print(f"the application listens on {url}\n", end="", flush=True)  # noqa: T201
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        await told.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(sys.argv[1:]))
