"""What one signed upload URL may make (floor 4; docs/secure.md, "One upload").

The newest creation wins, because the answer to an older one may have been lost on its way: the
client then asks again, and nobody knows the URL of the first upload. So an unfinished upload of
the same grant is removed for the new one, and a complete one ends the grant. Parts of a parallel
upload may together declare twice what the grant allows, so that lost ones do no harm either.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.engine.work import Work
from tusserver.errors import Forbidden, QuotaExceeded, TusError, UploadLocked
from tusserver.gates import GrantEntry, GrantPage
from tusserver.protocol.rules import is_expired, limits_of
from tusserver.upload import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from tusserver.caller import Caller
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.remove import Remover
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import RequestInfo
    from tusserver.upload import Upload, UploadId

PARTS_FACTOR = 2
"""How often over the parts of a grant may declare its size."""
MAX_ENTRIES = 64
"""Uploads of one grant that exist at the same time."""
MAKING = 60.0
"""Seconds for which an upload without a record counts as one that is being made."""
AT_ONCE = 32

USED = "This upload URL was used: the upload that it was for is complete."


class AlreadyMade(Exception):
    """A final upload of the same parts is complete: the answer that told of it was lost."""

    def __init__(self, upload: Upload) -> None:
        """Carry the upload that is there."""
        super().__init__(upload.upload_id)
        self.upload = upload


class Granted:
    """Keeps the creations of each signed URL within what it is for."""

    def __init__(self, parts: EngineParts, *, takeover: Takeover, remover: Remover) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._remover = remover

    async def admit(self, upload: Upload, caller: Caller, request: RequestInfo | None) -> None:
        """Enter a new upload into its grant's page, and remove what it takes the place of.

        Raises: Forbidden (the grant was used), AlreadyMade (by this very request, sent again),
        UploadLocked (another creation is just being served), QuotaExceeded (parts that cannot be
        removed), StorageFault.
        """
        book = self._parts.grants
        if book is None or not upload.grant:
            return
        limit = limits_of(caller, self._parts.limits).max_size
        now = self._parts.now().timestamp()
        async with book.page(upload.grant) as page:
            page.ends = max(page.ends, caller.grant_ends)  # an id may be signed twice
            records, unmade = await self._records(page)
            page.used = page.used or any(map(_is_the_one, records.values()))
            if page.used:
                raise _refusal(upload, records.values())
            page.entries = [
                entry
                for entry in page.entries
                if entry.upload_id in records
                or (entry.upload_id in unmade and now - entry.made_at < MAKING)
            ]
            victims = _superseded(page, records, upload, limit)
            for victim in victims:
                await self._check_removable(records.get(victim.upload_id))
            page.entries.append(GrantEntry(upload.upload_id, upload.kind, upload.length, now))
        for victim in victims:
            await self._remove(victim.upload_id, request)

    async def give_back(self, upload: Upload) -> None:
        """Take an upload out of its grant's page that was not made after all."""
        book = self._parts.grants
        if book is None or not upload.grant:
            return
        with suppress(TusError):  # After a minute it counts no more.
            async with book.page(upload.grant) as page:
                page.entries = [e for e in page.entries if e.upload_id != upload.upload_id]

    async def _records(self, page: GrantPage) -> tuple[dict[UploadId, Upload], set[UploadId]]:
        """Load the uploads of a page that are there, and name those that have no record."""
        now, found, unmade = self._parts.now(), {}, set()
        ids = [entry.upload_id for entry in page.entries]
        for start in range(0, len(ids), AT_ONCE):
            batch = ids[start : start + AT_ONCE]
            loads = await asyncio.gather(*map(self._takeover.load, batch))
            for upload_id, (record, _) in zip(batch, loads, strict=True):
                if record is None:
                    unmade.add(upload_id)
                elif _is_alive(record, now):
                    found[upload_id] = record
        return found, unmade

    async def _check_removable(self, record: Upload | None) -> None:
        if record is None:
            raise UploadLocked("Another upload is just being created with this URL: try again.")
        await self._check_pins(record)

    async def _check_pins(self, record: Upload) -> None:
        if await self._remover.is_pinned(record):
            raise QuotaExceeded("The parts of this upload URL are in use: finish the upload first.")

    async def _remove(self, upload_id: UploadId, request: RequestInfo | None) -> None:
        """Remove an unfinished upload for a newer one.

        Raises: Forbidden if it got complete, QuotaExceeded if a final upload needs it now.
        """
        work = Work(upload_id)
        async with self._takeover.hold(work) as lease:
            record, _ = await self._parts.records.load(upload_id)
            if record is None or record.status.rank > Status.COMPLETE.rank:
                return
            if _is_the_one(record):
                raise Forbidden(USED)
            await self._check_pins(record)
            await self._remover.discard(work, lease, record, request)


def _is_alive(record: Upload, now: datetime) -> bool:
    """Tell whether an upload still counts; a complete one does until it is removed."""
    if record.status.rank > Status.COMPLETE.rank:
        return False
    return _is_the_one(record) or not is_expired(record, now)


def _is_the_one(record: Upload) -> bool:
    """Tell whether an upload is what its grant was for."""
    return record.is_complete and record.kind is not Kind.PARTIAL


def _refusal(new: Upload, records: Iterable[Upload]) -> Exception:
    """Say why nothing more is made; parts are named by their ids, so the same ones are the same."""
    if new.kind is Kind.FINAL:
        for record in records:
            if _is_the_one(record) and record.parts == new.parts:
                return AlreadyMade(record)
    return Forbidden(USED)


def _superseded(
    page: GrantPage, records: dict[UploadId, Upload], new: Upload, limit: int | None
) -> list[GrantEntry]:
    """Choose what goes for a new upload: of parts as few as will do, empty and old ones first."""
    if new.kind is not Kind.PARTIAL:
        return [entry for entry in page.entries if entry.kind is not Kind.PARTIAL]

    def size(length: int | None) -> int:
        return (limit or 0) if length is None else length

    parts = [entry for entry in page.entries if entry.kind is Kind.PARTIAL]
    parts.sort(key=lambda entry: (_has_bytes(records.get(entry.upload_id)), entry.made_at))
    total = sum(size(entry.length) for entry in parts) + size(new.length)
    count = len(page.entries) + 1
    victims: list[GrantEntry] = []
    for entry in parts:
        fits = limit is None or total <= PARTS_FACTOR * limit
        if fits and count <= MAX_ENTRIES:
            break
        victims.append(entry)
        total -= size(entry.length)
        count -= 1
    return victims


def _has_bytes(record: Upload | None) -> bool:
    return record is not None and record.offset > 0
