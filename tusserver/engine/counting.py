"""The limits are counted anew from the records, in one process of a store (floor 4)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tusserver.errors import TusError

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts

logger = logging.getLogger(__name__)

CHORE = "count"
LOOK_SECONDS = 2.0
"""How often it is asked whether anything has to be counted anew."""


async def count_forever(parts: EngineParts) -> None:
    """Have the quota compare its counts with the ledger, at the start and now and then."""
    while True:
        try:
            if await parts.storage.elect(CHORE):
                await parts.quota.reconcile(parts.storage.scan)
        except TusError as error:
            logger.warning("counting uploads was broken off: %s", error.message)
        except Exception:
            logger.exception("counting uploads failed; it is tried again")
        await asyncio.sleep(LOOK_SECONDS)
