"""Counting anew from the records (floor 4): what crashes and losses left wrong is put right."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from tusserver.quota.counter import Dues, Filled, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.gates import Records
    from tusserver.quota.counter import Counter
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

EVERY = 600.0
PAGE = 250
PAUSE = 0.05
"""Seconds between pages when there is no hurry."""
GRACE = 300.0
"""Seconds in which a counted upload must have got its record."""


class Recount:
    """Compares the counts with the records, a page at a time."""

    def __init__(
        self,
        counter: Counter,
        row: Callable[[Upload], Row],
        *,
        kept: Filled,
        clock: Callable[[], float],
    ) -> None:
        """Make rows of records with `row`; `kept` is how complete the counts are afterwards."""
        self._counter = counter
        self._row = row
        self.kept = kept
        self._clock = clock
        self._due = clock()
        self._runs = False
        self._gone: set[UploadId] = set()
        """What has ended since the page that is compared began to be read."""

    def note_gone(self, upload_id: UploadId) -> None:
        """Note what no longer counts: a page that was read before may still name it."""
        if self._runs:
            self._gone.add(upload_id)

    def want(self) -> None:
        """Have everything counted anew the next time."""
        self._due = self._clock()

    async def run(self, records: Records, *, waited_for: bool) -> None:
        """Count anew if that is due, or if nothing is known. Raises what both sides raise.

        `waited_for`: nothing can be created until something is known.
        """
        filled = await self._counter.filled()
        hurry = not filled.serves(self.kept)
        ghosts = await self._counter.ghosts() if self._counter.holds else ()
        if not (hurry or ghosts) and self._clock() < self._due:
            return
        if hurry:
            await self._counter.set_filled(filled)  # So that it is missed once all is lost.
        read = partial(records, gently=not (hurry and waited_for))
        self._runs = True
        try:
            total, changed = await self._compare_all(read, hurry=hurry)
        finally:
            self._runs = False
            self._gone.clear()
        if ghosts:
            await self._counter.bury(ghosts)
        await self._counter.tidy()
        if not await self._counter.confirm_filled(self.kept):
            logger.warning("counts were lost while they were compared: they are counted anew")
            return  # Nothing is known again, so this is done anew at once.
        self._due = self._clock() + EVERY
        if changed:
            told = "compared the counts of %d uploads with their records: corrected %d"
            logger.info(told, total, changed)

    async def _compare_all(self, read: Records, *, hurry: bool) -> tuple[int, int]:
        """Compare page after page; give the number of records and of what was put right."""
        total = changed = 0
        after: UploadId | None = None
        while True:
            self._gone.clear()
            page = await read(after, PAGE)
            upto = page[-1].upload_id if page else None
            found = await self._compare(read, page, after=after, upto=upto)
            total, changed = total + len(page), changed + found
            if upto is None:
                return total, changed
            after = upto
            await asyncio.sleep(0 if hurry else PAUSE)

    async def _compare(
        self, read: Records, page: list[Upload], *, after: UploadId | None, upto: UploadId | None
    ) -> int:
        rows = [
            row for row in map(self._row, page) if not (row.gone or row.upload_id in self._gone)
        ]
        found = await self._counter.compare(rows, after=after, upto=upto, grace=GRACE)
        if found.added:
            # One that was removed since it was read would count for ever.
            again = await read(after, PAGE)
            # New ones among them may have pushed the last ones to the next page.
            end = again[-1].upload_id if len(again) == PAGE else None
            still = {one.upload_id for one in again if not self._row(one).gone}
            gone = {row.upload_id: _gone(row) for row in rows if row.upload_id in found.added}
            lost = {
                name: row
                for name, row in gone.items()
                if name not in still and (end is None or name <= end)
            }
            await self._counter.settle(Dues(rows=lost))
        return len(found.added) + found.changed + found.dropped


def _gone(row: Row) -> Row:
    return Row(
        upload_id=row.upload_id,
        owner=row.owner,
        length=row.length,
        offset=row.offset,
        is_open=False,
        version=row.version,
        gone=True,
    )
