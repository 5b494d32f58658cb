"""`tusserver show`: everything that is known of one upload (floor 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tusserver.commands.command import Command
from tusserver.commands.list import done_text, expiry_text
from tusserver.commands.printing import declare_json, pairs, print_json, size_text, span_text
from tusserver.commands.store import NOT_FOUND, complain, entry, metadata, moment, on_store
from tusserver.errors import UploadNotFound
from tusserver.upload import Kind

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from datetime import datetime

    from tusserver.compose.administering import Administration, Found
    from tusserver.config import Settings
    from tusserver.upload import Upload


def show(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what is known of one upload."""
    return on_store(settings, partial(_show, arguments=arguments))


async def _show(store: Administration, *, arguments: argparse.Namespace) -> int:
    try:
        found = await store.find(arguments.id)
    except UploadNotFound:
        complain(f"there is no upload {arguments.id}")
        return NOT_FOUND
    if arguments.json:
        print_json(entry(found, store.now()))
    else:
        print(*pairs(_fields(found, store.now())), sep="\n")
    return 0


def _fields(found: Found, now: datetime) -> Iterator[tuple[str, str]]:
    upload, holder = found.upload, found.holder
    age = span_text((now - upload.created_at).total_seconds())
    yield "id", upload.upload_id
    yield "status", upload.status.value
    yield "kind", upload.kind.value
    yield "received", f"{_bytes(upload.offset)}, {done_text(upload)} of {_length(upload)}"
    yield "on the disk", _bytes(upload.synced)
    yield "created", f"{moment(upload.created_at)} ({age} ago)"
    yield "expires", _expiry(upload, now)
    yield "owner", upload.owner or "nobody in particular"
    if upload.grant:
        yield "signed URL", upload.grant
    for key, value in metadata(upload).items():
        yield f"metadata {key}", "(not text)" if value is None else value
    if upload.kind is Kind.FINAL:
        yield "assembled", "yes" if upload.assembled else "not yet"
    for part_id in upload.parts:
        yield "part", part_id
    for final_id in found.pins:
        yield "needed by", final_id
    if upload.digest:
        yield "digest", upload.digest
    yield "finish event", upload.event.value
    if holder is None:
        yield "writer", "nobody"
    else:
        yield "writer", f"process {holder.pid} since {moment(holder.since)} ({holder.mailbox})"
    yield "data", str(found.data)
    yield "ledger", str(found.ledger)
    yield "version", str(upload.version)


def _bytes(size: int) -> str:
    return f"{size} bytes ({size_text(size)})"


def _length(upload: Upload) -> str:
    return "a length not yet known" if upload.length is None else _bytes(upload.length)


def _expiry(upload: Upload, now: datetime) -> str:
    if upload.expires_at is None:
        return "never"
    return f"{moment(upload.expires_at)} ({expiry_text(upload, now)})"


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare which upload is meant."""
    parser.add_argument("id", metavar="ID", help="the id of the upload: the end of its URL")
    declare_json(parser)


SHOW = Command(
    name="show",
    summary="print everything that is known of one upload",
    run=show,
    declare=declare,
)
