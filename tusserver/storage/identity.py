"""Whose directory this is, and in which life of the machine (floor 4).

`.tusserver/store.json` names the store and the kind of its state; the epoch names the boot of
the machine and the volume. Both are read once, at the start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.errors import ConfigError
from tusserver.storage.files import (
    PRIVATE_MODE,
    read_file,
    sync_directory,
    write_file,
    write_temporary,
)
from tusserver.storage.mounts import life_of_mount

if TYPE_CHECKING:
    from tusserver.storage.layout import Places

logger = logging.getLogger(__name__)

FORMAT = 1
BOOT_ID_VARIABLE = "TUSSERVER_BOOT_ID_FILE"
"""Names a file whose content changes whenever the page cache may have been lost."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_SHORT = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What store.json says."""

    store_id: str
    state: str
    """The kind of state the store was made with: `local` or `redis`."""


def open_identity(places: Places, *, state: str) -> Identity:
    """Read the identity of a store, or give it one. Blocks.

    Raises: ConfigError if the store has another kind of state or was damaged; OSError.
    """
    found = read_identity(places)
    if found is None:
        found = _create(places, state)
    if found.state != state:
        raise ConfigError(
            "state",
            state,
            f"{places.root} was made with state {found.state!r}, not {state!r}: start it with that "
            "one, or run `tusserver adopt` with the new one",
        )
    return found


def adopt_identity(places: Places, *, state: str) -> Identity:
    """Give a store another kind of state; its id stays. Blocks. Raises: ConfigError, OSError."""
    found = read_identity(places)
    if found is None:
        return _create(places, state)
    identity = Identity(found.store_id, state)
    write_file(places.identity, _format(identity), mode=PRIVATE_MODE, sync=True)
    sync_directory(places.private)
    return identity


def read_identity(places: Places) -> Identity | None:
    """Read the identity of a store; None if it has none yet. Blocks.

    Raises: ConfigError if it was damaged; OSError.
    """
    data = read_file(places.identity)
    if data is None:
        return None
    try:
        fields = json.loads(data)
        version, store_id, state = fields["format"], fields["store"], fields["state"]
    except (ValueError, TypeError, LookupError) as exc:
        raise _damaged(places) from exc
    if version != FORMAT:
        raise ConfigError(
            "upload_dir",
            str(places.root),
            f"its store has format {version!r}, this tusserver knows {FORMAT}: use a later one",
        )
    if not isinstance(store_id, str) or not isinstance(state, str) or not store_id:
        raise _damaged(places)
    return Identity(store_id, state)


def _damaged(places: Places) -> ConfigError:
    return ConfigError(
        "upload_dir",
        str(places.root),
        f"{places.identity} is damaged: restore it; each .meta file beside the data names the "
        "store's id",
    )


def _create(places: Places, state: str) -> Identity:
    """Write a new identity, unless another process is quicker: then give that one."""
    identity = Identity(secrets.token_hex(16), state)
    temporary = write_temporary(places.identity, _format(identity), mode=PRIVATE_MODE, sync=True)
    try:
        # A link, unlike a rename, never takes the place of another process's file.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, places.identity)
    finally:
        temporary.unlink()
    sync_directory(places.private)
    return read_identity(places) or identity


def _format(identity: Identity) -> bytes:
    fields = {"store": identity.store_id, "state": identity.state, "format": FORMAT}
    return json.dumps(fields).encode("ascii") + b"\n"


def read_epoch(directory: Path) -> str:
    """Name the present life of the machine, and of the mount of the directory's volume. Blocks.

    A short text without blanks; random, with a warning, if the boot of the machine has no id.
    """
    source = Path(os.environ.get(BOOT_ID_VARIABLE) or BOOT_ID)
    try:
        boot = source.read_bytes().strip()
        device = directory.stat().st_dev
    except OSError as exc:
        boot, device, reason = b"", 0, str(exc)
    else:
        reason = f"{source} is empty"
    if not boot:
        logger.warning(
            "the boot of this machine has no readable id (%s): after each start, offsets fall back "
            "to what was synced; name a file that changes at each boot in %s",
            reason,
            BOOT_ID_VARIABLE,
        )
        return f"random-{secrets.token_hex(16)}"
    text = boot.decode("ascii", errors="replace")
    if not _SHORT.fullmatch(text):
        text = hashlib.sha256(boot).hexdigest()
    return ".".join(filter(None, (f"{text}-{device:x}", life_of_mount(device))))
