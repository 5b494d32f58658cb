"""`tusserver events` and `tusserver resend`: what receivers have not taken yet (floor 6)."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from tusserver.commands.command import Command
from tusserver.commands.printing import (
    columns,
    counted,
    declare_json,
    output_may_end,
    print_json,
    span_text,
)
from tusserver.compose.hooks import open_shelf, shown_receivers
from tusserver.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from tusserver.config import Settings
    from tusserver.hooks.shelf import Row, Shelf

PAGE = 500
HEAD = ("EVENT", "TYPE", "UPLOAD", "RECEIVER", "AGE", "TRIES", "LAST ERROR")


def events(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the events that wait, or those that were set aside."""
    shelf = open_shelf(settings)
    if shelf is None:
        rows: Iterator[Row] = iter(())
    else:
        rows = _all(shelf, dead=getattr(arguments, "dead", False))
    receivers = shown_receivers(settings)
    with output_may_end():
        if arguments.json:
            for row in rows:
                print_json(_entry(row, receivers))
        else:
            cells = [_cells(row, receivers) for row in rows]
            print(*columns(cells, head=HEAD), sep="\n")
    if shelf is not None:
        shelf.close()
    return 0


def _all(shelf: Shelf, *, dead: bool) -> Iterator[Row]:
    after = 0
    while page := shelf.listed(dead=dead, after=after, limit=PAGE):
        yield from page
        after = page[-1].seq


def _receiver(row: Row, receivers: tuple[str, ...]) -> str:
    return receivers[row.target] if row.target < len(receivers) else f"number {row.target + 1}"


def _entry(row: Row, receivers: tuple[str, ...]) -> dict[str, str | int | float]:
    return {
        "event": row.event_id,
        "type": row.kind,
        "upload": row.upload_id,
        "receiver": _receiver(row, receivers),
        "state": {"intent": "not yet certain", "ready": "waiting", "dead": "set aside"}[row.state],
        "made": datetime.fromtimestamp(row.made, UTC).isoformat(timespec="milliseconds"),
        "tries": row.attempts,
        "error": row.error,
    }


def _cells(row: Row, receivers: tuple[str, ...]) -> tuple[str, ...]:
    age = span_text(time.time() - row.made)
    place = _receiver(row, receivers)
    return (row.event_id, row.kind, row.upload_id, place, age, str(row.attempts), row.error)


def declare_events(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    text = "print the events that were set aside, not those that wait"
    parser.add_argument("--dead", action="store_true", default=False, help=text)
    declare_json(parser)


def resend(settings: Settings, arguments: argparse.Namespace) -> int:
    """Let events that were set aside go out again; the running server sends them."""
    wanted: list[str] = getattr(arguments, "events", [])
    everything: bool = getattr(arguments, "all", False)
    if everything == bool(wanted):
        raise ConfigError("resend", "", "name events, as `tusserver events --dead` does, or --all")
    shelf = open_shelf(settings)
    if shelf is None:
        count = 0
    else:
        with closing(shelf):
            ids: list[str | None] = [None] if everything else list(wanted)
            now = time.time()
            steps = [partial(shelf.revive, one, now=now) for one in ids]
            counts = shelf.batch(steps, sync=True)
            unknown = [one for one, found in zip(ids, counts, strict=True) if one and not found]
            if unknown:
                raise ConfigError("resend", unknown[0], "no such event was set aside")
            count = sum(counts)
    print(f"{counted(count, 'delivery', 'deliveries')} will be tried again")
    return 0


def declare_resend(parser: argparse.ArgumentParser) -> None:
    """Declare which events."""
    parser.add_argument("events", nargs="*", metavar="EVENT", help="the id of an event")
    parser.add_argument("--all", action="store_true", default=False, help="all of them")


EVENTS = Command(
    name="events",
    summary="print the events that receivers have not taken yet, or with --dead never did",
    run=events,
    declare=declare_events,
)
RESEND = Command(
    name="resend",
    summary="send events again that were set aside",
    run=resend,
    declare=declare_resend,
)
