"""`tusserver remove`: remove uploads, also from under a running server (floor 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tusserver.commands.command import Command
from tusserver.commands.printing import declare_json, print_json
from tusserver.commands.store import FAILED, NOT_FOUND, complain, on_store
from tusserver.errors import PartPinned, UploadLocked, UploadNotFound

if TYPE_CHECKING:
    import argparse

    from tusserver.compose.administering import Administration
    from tusserver.config import Settings


def remove(settings: Settings, arguments: argparse.Namespace) -> int:
    """Remove uploads; one that cannot be removed does not keep the others."""
    return on_store(settings, partial(_remove, arguments=arguments), changing=True)


async def _remove(store: Administration, *, arguments: argparse.Namespace) -> int:
    status = 0
    for upload_id in dict.fromkeys(arguments.ids):
        reason = await _reason_against(store, upload_id)
        if arguments.json:
            print_json({"id": upload_id, "removed": reason is None, "reason": reason})
        elif reason is None:
            print(f"removed {upload_id}", flush=True)
        else:
            complain(f"{upload_id}: {_WORDS[reason]}")
        if reason is not None and status != FAILED:
            status = NOT_FOUND if reason == UploadNotFound.code else FAILED
    return status


async def _reason_against(store: Administration, upload_id: str) -> str | None:
    """Remove an upload; give the code of what stood against it."""
    try:
        await store.remove(upload_id)
    except (UploadNotFound, PartPinned, UploadLocked) as error:
        return error.code
    return None


_WORDS = {
    UploadNotFound.code: "there is no such upload",
    PartPinned.code: "a final upload is being assembled from it: try again when that is done",
    UploadLocked.code: "a process holds it and did not let go: `tusserver show` names it",
}


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare which uploads are meant."""
    parser.add_argument("ids", metavar="ID", nargs="+", help="the ids of uploads")
    declare_json(parser)


REMOVE = Command(
    name="remove",
    summary="remove uploads; a server that is writing one is made to stop",
    run=remove,
    declare=declare,
)
