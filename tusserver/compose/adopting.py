"""An upload directory that changes its state store (floor 5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.compose.engine import REDIS
from tusserver.errors import ConfigError
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.storage.wake import DatagramMailbox
from tusserver.values import LOCAL

if TYPE_CHECKING:
    from tusserver.config import Settings


async def adopt(settings: Settings) -> str:
    """Bind the upload directory to the state store of the settings; say what was done.

    Raises: ConfigError, StorageFault, StateUnavailable.
    """
    directory = Path(settings.upload_dir)
    busy = await asyncio.to_thread(DatagramMailbox(directory).others)
    if busy:
        reason = f"{len(busy)} server processes use it now: stop them before it changes its state"
        raise ConfigError("upload_dir", directory, reason)
    kind = LOCAL if settings.state == LOCAL else REDIS
    storage = LocalStorage(directory, reserve=0, state_kind=kind, mailbox_name="")
    if kind == LOCAL:
        store_id = await storage.adopt()
        return f"{settings.upload_dir} now keeps its state in its own ledger (store {store_id})"
    state = RedisState(settings.state)
    try:
        await state.list(None, 1)  # A Redis that does not answer must leave the directory alone.
        store_id = await storage.adopt()
        await state.adopt(store_id)
    finally:
        await state.close()
    return f"{settings.upload_dir} now keeps its state in Redis (store {store_id})"
