"""Settings: where and how the program listens (floor 3)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.options import Ingest
from tusserver.values import (
    BasePath,
    Connections,
    FileMode,
    Host,
    Networks,
    Port,
    Time,
    Wait,
    Workers,
)


class ServingSettings(BaseModel):
    """Where and how the program listens."""

    host: Host = setting(
        "ADDRESS",
        "Address or name to listen on; 0.0.0.0 for every address.",
        default="127.0.0.1",
    )
    port: Port = setting(
        "NUMBER",
        "TCP port to listen on; 0 lets the system choose one, which is printed.",
        default=1080,
    )
    unix_socket: Path | None = setting(
        "PATH", "Unix socket to listen on, instead of host and port.", default=None
    )
    unix_socket_mode: FileMode = setting(
        "MODE", "Who may connect to the unix socket, as chmod writes it.", default=0o660
    )
    tls_certificate: Path | None = setting(
        "FILE",
        "Serve HTTPS with this certificate: a file in PEM, with the chain that leads to it; needs "
        "tls-key. SIGHUP reads it anew.",
        default=None,
    )
    tls_key: Path | None = setting(
        "FILE",
        "The private key of the certificate: a file in PEM without a password.",
        default=None,
    )
    workers: Workers = setting(
        "NUMBER",
        "Processes that serve, at one socket; about as many as there are processors. 1: the "
        "program itself serves.",
        default=1,
    )
    base_path: BasePath = setting(
        "PATH",
        "Path of the creation URL; uploads lie below it.",
        default="/files/",
    )
    public_url: str | None = setting(
        "URL",
        "Where clients find the server when that is not what they asked for: an origin "
        "(https://example.org, the base path is added) or the whole creation URL. Locations of "
        "uploads are then absolute; without it they are paths.",
        default=None,
    )
    trusted_proxies: Networks = setting(
        "NETWORKS",
        "Proxies whose Forwarded and X-Forwarded-* headers are believed, with commas between: "
        "10.0.0.0/8, 127.0.0.1, ::1; unix for all that connect to a unix socket.",
        default=(),
    )
    ingest: Ingest = setting(
        "WAY",
        "How bodies are received: auto takes large ones straight from the socket, after a trial at "
        "the start, and has the kernel move those of quick clients to the file (splice); memory "
        "does without the latter; socket takes small ones too; portable leaves all to aiohttp, "
        "which costs more CPU.",
        default=Ingest.AUTO,
    )
    body_timeout: Wait = setting(
        "TIME",
        "How long a request body may be silent; what came before is kept.",
        default=60.0,
    )
    head_timeout: Wait = setting(
        "TIME", "How long the head of a request may take, from its first byte.", default=30.0
    )
    keepalive_timeout: Wait = setting(
        "TIME",
        "How long a connection may be idle; longer than a proxy in front keeps it.",
        default=75.0,
    )
    send_timeout: Wait = setting(
        "TIME", "How long a client may read nothing of what it is sent.", default=60.0
    )
    max_connections: Connections = setting(
        "NUMBER",
        "The most connections of one process; those beyond are answered 503. The limit of open "
        "files may be lower: a third of it counts.",
        default=10_000,
    )
    shutdown_timeout: Time = setting(
        "TIME",
        "How long the server may take to end when it is stopped; requests that still run are then "
        "cut off.",
        default=10.0,
    )


def serving_fault(settings: ServingSettings) -> tuple[str, str] | None:
    """Name a setting that contradicts another one, and say why; None when all agree."""
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        given, missing = "tls_certificate", "tls-key"
        if settings.tls_certificate is None:
            given, missing = "tls_key", "tls-certificate"
        return given, f"needs {missing} too"
    return None
