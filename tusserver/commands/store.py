"""What the commands share that look at a store or change it (floor 6)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

from tusserver.commands.printing import output_may_end, printable
from tusserver.compose.administering import Administration, NoStoreError, administration
from tusserver.errors import HeaderInvalid
from tusserver.protocol.headers import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from tusserver.compose.administering import Found
    from tusserver.config import Settings
    from tusserver.upload import Upload

FAILED = 1
NOT_FOUND = 3


def on_store(
    settings: Settings, work: Callable[[Administration], Awaitable[int]], *, changing: bool = False
) -> int:
    """Open the store of the settings, do the work, give its exit status.

    `changing`: the work removes something.
    """

    async def run() -> int:
        status = 0
        async with administration(settings, changing=changing) as store:
            with output_may_end():
                status = await work(store)
        return status

    try:
        return asyncio.run(run())
    except NoStoreError as error:
        complain(str(error))
        return FAILED


def complain(text: str) -> None:
    """Print one line on stderr."""
    print(f"tusserver: {printable(text)}", file=sys.stderr)


def whole_number(text: str) -> int:
    """Read a number that is not negative. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)


# --- JSON: the schema of docs/admin.md -----------------------------------------------------


def entry(found: Found, now: datetime) -> dict[str, Any]:
    """Give an upload as JSON has it: bytes, and times in ISO 8601."""
    upload, holder = found.upload, found.holder
    return {
        "id": upload.upload_id,
        "status": upload.status.value,
        "kind": upload.kind.value,
        "offset": upload.offset,
        "length": upload.length,
        "synced": upload.synced,
        "created_at": moment(upload.created_at),
        "expires_at": None if upload.expires_at is None else moment(upload.expires_at),
        "expired": upload.expires_at is not None and upload.expires_at <= now,
        "owner": upload.owner,
        "grant": upload.grant,
        "metadata": metadata(upload),
        "metadata_raw": upload.metadata,
        "parts": list(upload.parts),
        "assembled": upload.assembled,
        "pinned_by": list(found.pins),
        "digest": upload.digest,
        "event": upload.event.value,
        "version": upload.version,
        "holder": None
        if holder is None
        else {"pid": holder.pid, "since": moment(holder.since), "mailbox": holder.mailbox},
        "data": str(found.data),
        "ledger": str(found.ledger),
    }


def moment(time: datetime) -> str:
    """Write a moment in UTC, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def metadata(upload: Upload) -> dict[str, str | None]:
    """Decode metadata; None for a value that is no text."""
    try:
        pairs = parse_metadata(upload.metadata)
    except HeaderInvalid:  # It was taken in by an older version, with other rules.
        return {}
    return {key: _text(value) for key, value in pairs.items()}


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
