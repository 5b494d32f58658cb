"""Settings into what publishes finished files (floor 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tusserver.config import Settings
    from tusserver.gates import Publisher


def build_publisher(settings: Settings) -> Publisher | None:
    """Make what publishes finished files; None when the settings ask for nothing."""
    del settings
    return None
