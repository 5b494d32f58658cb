"""Settings: how much each owner, and all together, may use (floor 3)."""

from __future__ import annotations

from pydantic import BaseModel


class LimitingSettings(BaseModel):
    """How much each owner, and all together, may use."""
