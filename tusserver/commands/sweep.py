"""`tusserver sweep`: remove what is over, or say what would go (floor 6)."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from tusserver.commands.command import Command
from tusserver.commands.printing import counted, declare_json, print_json, size_text, span_text
from tusserver.commands.store import moment, on_store
from tusserver.config import flag_of
from tusserver.engine.clearing import Fate

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from tusserver.compose.administering import Administration
    from tusserver.config import Settings
    from tusserver.upload import Upload

QUIET = {Fate.NOT_YET, Fate.NEVER, Fate.GONE}
"""What is only counted."""
_KEPT = {
    Fate.NOT_YET: "not expired yet",
    Fate.NEVER: "never expire",
    Fate.IN_USE: "in use",
    Fate.PINNED: "needed by a final upload",
}


def sweep(settings: Settings, arguments: argparse.Namespace) -> int:
    """Remove what is expired now, and what a crash left."""
    grace = settings.sweep_grace
    work = partial(_sweep, arguments=arguments, grace=grace)
    return on_store(settings, work, changing=not arguments.dry_run)


async def _sweep(store: Administration, *, arguments: argparse.Namespace, grace: float) -> int:
    dry_run, counts = arguments.dry_run, Counter[Fate]()
    async for upload, fate in store.sweep(dry_run=dry_run):
        counts[fate] += 1
        if fate in QUIET:
            continue
        if arguments.json:
            print_json(_entry(upload, fate, dry_run=dry_run))
        else:
            print(_line(upload, fate, store.now(), grace=grace, dry_run=dry_run), flush=True)
    orphans = await store.sweep_orphans(dry_run=dry_run)
    if arguments.json:
        print_json(_summary(counts, orphans, dry_run=dry_run))
    else:
        print(_total(counts, orphans, dry_run=dry_run))
    return 0


def _word(fate: Fate, *, dry_run: bool) -> str:
    if not fate.goes:
        return "kept"
    return "would remove" if dry_run else "removed"


def _line(upload: Upload, fate: Fate, now: datetime, *, grace: float, dry_run: bool) -> str:
    if upload.is_unmade:
        why = "its creation was broken off" if fate.goes else "its creation has not come to an end"
    elif upload.expires_at is None or fate is Fate.MARKED:
        why = "its removal was broken off"
    else:
        over = (now - upload.expires_at).total_seconds()
        why = f"expired {span_text(over)} ago"
        if over < grace:
            why += f", servers wait {span_text(grace)} ({flag_of('sweep_grace')})"
    if not fate.goes:
        why += f", but {'is ' if fate is Fate.IN_USE else ''}{_KEPT[fate]}"
    what = f"{upload.upload_id} ({size_text(upload.offset)})"
    return f"{_word(fate, dry_run=dry_run)} {what}: {why}"


def _total(counts: Counter[Fate], orphans: int, *, dry_run: bool) -> str:
    gone = sum(number for fate, number in counts.items() if fate.goes)
    kept = [f"{counts[fate]} {words}" for fate, words in _KEPT.items() if counts[fate]]
    total = sum(counts[fate] for fate in _KEPT)
    rest = f"kept {total}" + (f": {', '.join(kept)}" if kept else "")
    verb = "would remove" if dry_run else "removed"
    return f"{verb} {counted(gone, 'upload')}, {counted(orphans, 'file')} without an upload; {rest}"


def _entry(upload: Upload, fate: Fate, *, dry_run: bool) -> dict[str, Any]:
    return {
        "id": upload.upload_id,
        "action": _word(fate, dry_run=dry_run).replace(" ", "_"),
        "reason": fate.name.lower(),
        "offset": upload.offset,
        "expires_at": None if upload.expires_at is None else moment(upload.expires_at),
    }


def _summary(counts: Counter[Fate], orphans: int, *, dry_run: bool) -> dict[str, Any]:
    return {
        "summary": {
            "dry_run": dry_run,
            "removed": sum(number for fate, number in counts.items() if fate.goes),
            "orphans": orphans,
            "kept": {fate.name.lower(): counts[fate] for fate in _KEPT},
        }
    }


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare how it is done."""
    text = "remove nothing; say what would go, and why the rest stays"
    parser.add_argument("--dry-run", action="store_true", default=False, help=text)
    declare_json(parser)


SWEEP = Command(
    name="sweep",
    summary="remove expired uploads now, and what a crash left",
    run=sweep,
    declare=declare,
)
