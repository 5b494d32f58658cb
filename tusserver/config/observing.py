"""Settings: what the server tells about itself (floor 3)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.values import Networks

PRIVATE = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
)
"""This machine, and networks that are not the internet (RFC 1918, RFC 4193)."""


class ObservingSettings(BaseModel):
    """What the server tells about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "LEVEL", "The least that is logged: debug, info, warning or error.", default="info"
    )
    log_format: Literal["text", "json"] = setting(
        "FORMAT",
        "How log lines are written on stderr: text for people, json for programs.",
        default="text",
    )
    access_log: bool = setting(
        "", "Log a line for each request; without it, only for those that fail here.", default=True
    )
    metrics: bool = setting(
        "", "Count what happens, and tell it at /metrics as Prometheus reads it.", default=True
    )
    metrics_networks: Networks = setting(
        "NETWORKS",
        "Who may read /metrics, with commas between: 10.0.0.0/8, 127.0.0.1, ::1. Requests that "
        "came through a proxy never may.",
        default=PRIVATE,
    )
