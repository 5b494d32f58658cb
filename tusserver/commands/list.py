"""`tusserver list`: which uploads there are (floor 6)."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from tusserver.commands.command import Command
from tusserver.commands.printing import columns, declare_json, print_json, size_text, span_text
from tusserver.commands.store import entry, on_store, whole_number
from tusserver.compose.administering import Wanted, checked_id
from tusserver.errors import ConfigError, UploadNotFound
from tusserver.upload import Status

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from tusserver.compose.administering import Administration, Found
    from tusserver.config import Settings
    from tusserver.upload import Upload, UploadId

PAGE = 100
HEAD = ("ID", "STATUS", "KIND", "OFFSET", "LENGTH", "DONE", "AGE", "EXPIRES", "OWNER", "WRITER")
LEAST = (32, 8, 7, 9, 9, 4, 8, 10)
"""The least widths of the first columns, so that pages stand beneath each other."""


def list_uploads(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print uploads in the order of their ids."""
    return on_store(settings, partial(_list, arguments=arguments))


async def _list(store: Administration, *, arguments: argparse.Namespace) -> int:
    status = arguments.status
    wanted = Wanted(
        owner=arguments.owner,
        status=None if status is None else Status(status),
        expired=arguments.expired,
    )
    shown, last = 0, None
    async for page in store.listed(_after(arguments.after), arguments.limit or None, wanted):
        if arguments.json:
            for found in page:
                print_json(entry(found, store.now()))
        else:
            rows = [row(found, store.now()) for found in page]
            lines = columns(rows, head=HEAD, least=LEAST)
            print(*(lines if last is None else lines[1:]), sep="\n", flush=True)
        shown, last = shown + len(page), page[-1].upload.upload_id
    if not arguments.json and last is not None and shown == arguments.limit:
        sys.stdout.flush()
        print(f"there may be more: --after {last}", file=sys.stderr)
    return 0


def _after(text: str | None) -> UploadId | None:
    if text is None:
        return None
    try:
        return checked_id(text)
    except UploadNotFound:
        raise ConfigError("--after", text, "not the id of an upload") from None


def row(found: Found, now: datetime) -> tuple[str, ...]:
    """Give the cells of one upload."""
    upload, holder = found.upload, found.holder
    return (
        upload.upload_id,
        upload.status.value,
        upload.kind.value,
        size_text(upload.offset),
        "?" if upload.length is None else size_text(upload.length),
        done_text(upload),
        span_text((now - upload.created_at).total_seconds()),
        expiry_text(upload, now),
        upload.owner or "-",
        "-" if holder is None else f"process {holder.pid}",
    )


def done_text(upload: Upload) -> str:
    """Say how much has been received: 100% only if it is all."""
    if upload.length is None:
        return "?"
    return f"{100 if upload.is_complete else min(99, upload.offset * 100 // (upload.length or 1))}%"


def expiry_text(upload: Upload, now: datetime) -> str:
    """Say when an upload expires, or that it has."""
    if upload.expires_at is None:
        return "never"
    left = (upload.expires_at - now).total_seconds()
    return f"in {span_text(left)}" if left > 0 else f"{span_text(left)} ago"


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare which uploads can be asked for."""
    parser.add_argument("--after", metavar="ID", default=None, help="begin behind this upload")
    parser.add_argument(
        "--limit",
        metavar="NUMBER",
        type=whole_number,
        default=PAGE,
        help=f"print so many at most; 0: all (default: {PAGE})",
    )
    parser.add_argument("--owner", metavar="NAME", default=None, help="only this owner's uploads")
    choices = [status.value for status in Status]
    parser.add_argument(
        "--status", choices=choices, default=None, help="only uploads in this status"
    )
    text = "only uploads whose time is up, and which a server will remove"
    parser.add_argument("--expired", action="store_true", default=False, help=text)
    declare_json(parser)


LIST = Command(
    name="list",
    summary="list uploads, by their ids",
    run=list_uploads,
    declare=declare,
)
