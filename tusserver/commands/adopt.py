"""`tusserver adopt`: give an upload directory another state store (floor 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tusserver import compose
from tusserver.commands.command import Command

if TYPE_CHECKING:
    import argparse

    from tusserver.config import Settings


def adopt(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Bind the upload directory to the state store of the settings."""
    print(asyncio.run(compose.adopt(settings)))
    return 0


ADOPT = Command(
    name="adopt",
    summary="bind the upload directory to the state store that --state names",
    run=adopt,
)
