"""Settings: what the server tells about itself (floor 3)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from tusserver.config.fields import setting


class ObservingSettings(BaseModel):
    """What the server tells about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "LEVEL", "The least that is logged: debug, info, warning or error.", default="info"
    )
