"""Settings: who is told of what happens to uploads (floor 3)."""

from __future__ import annotations

from pydantic import BaseModel


class HookingSettings(BaseModel):
    """Who is told of what happens to uploads."""
