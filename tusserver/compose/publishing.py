"""Settings into what publishes finished files (floor 5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.storage.publishing import LinkPublisher
from tusserver.upload import Durability

if TYPE_CHECKING:
    from tusserver.config import Settings
    from tusserver.gates import Publisher


def build_publisher(settings: Settings) -> Publisher | None:
    """Make what publishes finished files; None when the settings ask for nothing."""
    if settings.publish is None or settings.publish_dir is None:
        return None
    return LinkPublisher(
        Path(settings.upload_dir),
        settings.publish_dir,
        template=settings.publish,
        collision=settings.publish_collision,
        mode=settings.publish_mode,
        sync=settings.durability is not Durability.PROCESS,
    )
