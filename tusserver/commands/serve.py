"""`tusserver serve`: take uploads (floor 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver import compose
from tusserver.commands.command import Command
from tusserver.values import LOCAL

if TYPE_CHECKING:
    import argparse

    from tusserver.config import Settings

UNIX = "unix:"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not listened on


def serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP starts anew."""

    def announce(host: str, port: int) -> None:
        # One write: a log line that other threads or workers write cannot come in between.
        print("\n".join((*greeting(settings, host, port), "")), end="", flush=True)

    compose.serve(settings, announce=announce)
    return 0


def greeting(settings: Settings, host: str, port: int) -> list[str]:
    """Give the lines that say where a server listens, what it uses and how to try it.

    `host` and `port` are those that it really listens on; a unix socket is `unix:PATH`.
    """
    state = "local (records beside the data)" if settings.state == LOCAL else settings.state_shown
    return [
        f"tusserver listens on {_place(settings, host, port)}",
        f"uploads are kept in  {settings.upload_dir.absolute()}",
        f"state is kept in     {state}",
        *_page(settings, host, port),
        f"try it with          {_trial(settings, host, port)}",
    ]


def _page(settings: Settings, host: str, port: int) -> list[str]:
    if host.startswith(UNIX) or not compose.has_page(settings):
        return []
    url = _place(settings, _EVERYWHERE.get(host, host), port).removesuffix(settings.base_path)
    return [f"upload page at       {url}/"]


def _place(settings: Settings, host: str, port: int) -> str:
    if host.startswith(UNIX):
        return f"{host} (path {settings.base_path})"
    scheme = "http" if settings.tls_certificate is None else "https"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}{settings.base_path}"


def _trial(settings: Settings, host: str, port: int) -> str:
    url = _place(settings, _EVERYWHERE.get(host, host), port)
    way = ""
    if host.startswith(UNIX):
        url = _place(settings, "localhost", 80).replace(":80/", "/")
        way = f"--unix-socket '{host.removeprefix(UNIX)}' "
    if settings.tls_certificate is not None:
        way += "--insecure "  # The name in the certificate is seldom that of the address.
    if {"creation", "creation-with-upload"} & set(settings.disable) or not settings.is_open:
        return f"curl -i {way}-X OPTIONS -H 'Tus-Resumable: 1.0.0' '{url}'"
    headers = "Tus-Resumable: 1.0.0", "Upload-Length: 5"
    typed = "Content-Type: application/offset+octet-stream"
    flags = " ".join(f"-H '{header}'" for header in (*headers, typed))
    return f"curl -i {way}{flags} --data-binary hello '{url}'"


SERVE = Command(
    name="serve",
    summary="take uploads until SIGTERM or SIGINT (what happens without a command)",
    run=serve,
)
