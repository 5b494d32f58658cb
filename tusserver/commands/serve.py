"""`tusserver serve`: take uploads (floor 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tusserver import compose
from tusserver.commands.command import Command
from tusserver.values import LOCAL

if TYPE_CHECKING:
    import argparse

    from tusserver.config import Settings

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not listened on


def serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""

    def announce(host: str, port: int) -> None:
        print(*greeting(settings, host, port), sep="\n", flush=True)

    asyncio.run(compose.serve(settings, announce=announce))
    return 0


def greeting(settings: Settings, host: str, port: int) -> list[str]:
    """Give the lines that say where a server listens, what it uses and how to try it.

    `host` and `port` are those that it really listens on.
    """
    url = _url(_EVERYWHERE.get(host, host), port, settings.base_path)
    state = "local (records beside the data)" if settings.state == LOCAL else settings.state_shown
    return [
        f"tusserver listens on {_url(host, port, settings.base_path)}",
        f"uploads are kept in  {settings.upload_dir.absolute()}",
        f"state is kept in     {state}",
        f"try it with          {_trial(settings, url)}",
    ]


def _url(host: str, port: int, path: str) -> str:
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


def _trial(settings: Settings, url: str) -> str:
    if {"creation", "creation-with-upload"} & set(settings.disable):
        return f"curl -i -X OPTIONS -H 'Tus-Resumable: 1.0.0' '{url}'"
    headers = "Tus-Resumable: 1.0.0", "Upload-Length: 5"
    typed = "Content-Type: application/offset+octet-stream"
    flags = " ".join(f"-H '{header}'" for header in (*headers, typed))
    return f"curl -i {flags} --data-binary hello '{url}'"


SERVE = Command(
    name="serve",
    summary="take uploads until SIGTERM or SIGINT (what happens without a command)",
    run=serve,
)
