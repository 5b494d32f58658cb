"""Settings: where and how the program listens (floor 3)."""

from __future__ import annotations

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.values import BasePath, Host, Networks, Port, Time, Wait


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
    body_timeout: Wait = setting(
        "TIME",
        "How long a request body may be silent; what came before is kept.",
        default=60.0,
    )
    shutdown_timeout: Time = setting(
        "TIME",
        "How long running requests may take to end when the server is stopped.",
        default=10.0,
    )
