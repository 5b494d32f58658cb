"""Opening a store: whose it is, what its file system can do (floor 4)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.storage.identity import open_identity, read_epoch
from tusserver.storage.leases import Leases
from tusserver.storage.mounts import file_system, is_network
from tusserver.storage.space import Space

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.storage.identity import Identity
    from tusserver.storage.layout import Places
    from tusserver.storage.leases import FileLease
    from tusserver.storage.pulse import Pulse

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """What is known of a store once it is open."""

    identity: Identity
    epoch: str
    durable_writes: bool
    file_system: str
    space: Space
    leases: Leases


def open_store(
    places: Places,
    *,
    reserve: int,
    state: str,
    mailbox: str,
    let_go: Callable[[FileLease], Awaitable[None]],
    pulse: Pulse,
) -> Opened:
    """Make or check a store; see `LocalStorage` for the arguments. Blocks.

    Raises: ConfigError, OSError.
    """
    places.make()
    identity = open_identity(places, state=state)
    epoch = read_epoch(places.root)
    kind = file_system(places.root)
    network = is_network(kind)
    if network:
        logger.warning(
            "%s lies on a network file system (%s): offsets are synced before they are told",
            places.root,
            kind,
        )
    space = Space(places.root, reserve=reserve, file_system=kind)
    space.probe(places.private)
    pulse.open(places.run)
    leases = Leases(
        places,
        store_id=identity.store_id,
        epoch=epoch,
        mailbox=mailbox,
        space=space,
        let_go=let_go,
    )
    return Opened(
        identity=identity,
        epoch=epoch,
        durable_writes=not network,
        file_system=kind,
        space=space,
        leases=leases,
    )
