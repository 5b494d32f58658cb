"""Settings: who may use the server (floor 3)."""

from __future__ import annotations

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.values import FieldNames, Origins


class AccessSettings(BaseModel):
    """Who may use the server."""

    cors_origins: Origins = setting(
        "ORIGINS",
        "Web pages that may use the server, with commas between: https://example.org, "
        "https://*.example.org for its subdomains, * for all; empty for none.",
        default=("*",),
    )
    cors_credentials: bool = setting(
        "", "Let those pages send cookies; needs origins that are named.", default=False
    )
    cors_headers: FieldNames = setting(
        "NAMES",
        "Request headers those pages may send beside the usual, with commas between.",
        default=(),
    )
