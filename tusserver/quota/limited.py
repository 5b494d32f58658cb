"""The limits, for the engine (floor 4): admits, slows down, counts, and counts anew."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter as Tally
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from tusserver.errors import TusError
from tusserver.quota.body import LimitedBody
from tusserver.quota.ceilings import CLAMP, STEP
from tusserver.quota.counter import NEW_SECONDS, Claim, Dues, Entry, Filled, Refusal, Row
from tusserver.quota.places import HELD_SECONDS, Places
from tusserver.quota.recount import Recount
from tusserver.quota.refusals import Refusals
from tusserver.upload import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tusserver.body import Body
    from tusserver.gates import Records
    from tusserver.quota.ceilings import Ceilings
    from tusserver.quota.counter import Counter
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

MAX_NOTES = 20_000
"""Uploads whose news wait to be counted; what is beyond is found when all are counted anew."""
MANY_NOTES = 500
"""So many of them are counted without waiting for more."""
BEAT_SECONDS = 3.0
PAUSE_AFTER_FAULT = 1.0
GIVEN_BACK_WITHIN = 6
"""Questions in which places that are held elsewhere are given back."""
_NO_DUES = Dues()


class LimitedQuota:
    """A `Quota` that keeps to ceilings by what a counter counts for all processes."""

    def __init__(
        self,
        counter: Counter,
        ceilings: Ceilings,
        *,
        is_empty: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_empty` tells, and may block, whether the store surely holds no upload."""
        self._counter = counter
        self._ceilings = ceilings
        self._is_empty = is_empty
        self._refusals = Refusals(ceilings)
        # What the ceilings say is asked for with each commit.
        self._of_uploads, self._of_bytes = ceilings.uploads, ceilings.bytes
        self._of_progress = ceilings.unwritten
        self._of_appends, self._of_bandwidth = ceilings.appends, ceilings.bandwidth
        self._needed = Filled.BYTES if ceilings.bytes else Filled.NO
        kept = Filled.BYTES if ceilings.bytes else Filled.OPEN
        self._recount = Recount(counter, self.row, kept=kept, clock=clock)
        # Places of a number can be held ahead; bytes are counted one upload at a time.
        self._holds = counter.holds and ceilings.number is not None
        self._places = Places(lapse=counter.lapse, clock=clock)
        self._rows: dict[UploadId, Row] = {}
        self._left: list[str] = []
        self._refunds: Tally[str] = Tally()
        self._entries: dict[str, Entry] = {}
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []
        self._lost_news = False

    async def open(self) -> None:
        """Make ready. Raises: StorageFault, StateUnavailable."""
        await self._counter.open()
        if self._ceilings.uploads:
            found = await self._counter.filled()
            if found is not self._recount.kept and found.serves(self._recount.kept):
                # From now on less is counted than before.
                await self._counter.set_filled(self._recount.kept)
            elif found is not self._recount.kept:
                if await asyncio.to_thread(self._is_empty):
                    await self._counter.set_filled(self._recount.kept)
                else:
                    logger.warning(
                        "the limits do not know the uploads that are there: counting them%s",
                        "; new ones must wait" if self._needed is not Filled.NO else "",
                    )
        self._chores.append(asyncio.create_task(self._settle_forever(), name="quota"))
        if self._counter.beats and self._ceilings.appends:
            self._chores.append(asyncio.create_task(self._beat_forever(), name="quota beats"))

    async def close(self) -> None:
        """Write down what is noted, and let go."""
        for chore in self._chores:
            chore.cancel()
        for chore in self._chores:
            with suppress(asyncio.CancelledError):
                await chore
        if self._chores:
            try:
                await self._settle(is_last=True)
            except TusError as error:
                logger.warning("some of what happened was not counted: %s", error.message)
        self._chores.clear()
        await self._counter.close()

    # --- Quota ---------------------------------------------------------------------------

    async def admit(self, upload: Upload) -> None:
        """Count a new upload in; see `Quota.admit`."""
        if not self._of_uploads:
            return
        if self._holds and self._take_place(upload):
            return
        length = None if upload.length is None else min(upload.length, CLAMP)
        ahead = 0 if upload.parts or not self._of_bytes else STEP
        claim = Claim(
            upload_id=upload.upload_id,
            owner=upload.owner,
            # One whose length is not known needs room for its first byte.
            least=min(1, ahead) if length is None else length,
            most=ahead if length is None else length,
            creating=True,
        )
        answer = await self._ask(claim)
        tries = GIVEN_BACK_WITHIN
        while isinstance(answer, Refusal) and answer.is_held and tries:
            # Who holds places near the limit sees that, and gives them back.
            await asyncio.sleep(HELD_SECONDS / 2)
            answer = await self._ask(claim)
            tries -= 1
        self._allowed(claim, answer)

    def _take_place(self, upload: Upload) -> bool:
        """Give a new upload a place that is held here, if there is any."""
        places = self._places
        places.see()
        is_taken = places.take(upload)
        if places.are_few:
            self._tell_soon()
        return is_taken

    def appending(
        self, upload: Upload, body: Body, *, length: int | None
    ) -> AbstractAsyncContextManager[Body]:
        """Count a running append; see `Quota.appending`."""
        grows = self._of_bytes and upload.length is None
        if not (grows or self._of_appends or self._of_bandwidth):
            return nullcontext(body)
        return self._limited(upload, body, length=length if grows else None, grows=grows)

    @asynccontextmanager
    async def _limited(
        self, upload: Upload, body: Body, *, length: int | None, grows: bool
    ) -> AsyncIterator[Body]:
        """Keep an append to the limits; `length` is what is just declared for what `grows`."""
        async with self._slot(upload):
            if length is not None:
                most = min(length, CLAMP)
                claim = Claim(
                    upload_id=upload.upload_id,
                    owner=upload.owner,
                    least=most,
                    most=most,
                    written=upload.offset,
                )
                await self._claim(claim)
                grows = False
            if not grows and not self._of_bandwidth:
                yield body
                return
            limited = LimitedBody(
                body,
                position=upload.offset,
                piece=self._ceilings.piece,
                grow=partial(self._grow, upload) if grows else None,
                draw=partial(self._counter.draw, upload.owner) if self._of_bandwidth else None,
            )
            try:
                yield limited
            finally:
                if limited.credit and len(self._refunds) < MAX_NOTES:
                    self._refunds[upload.owner] += limited.credit
                    self._tell_soon()

    def note(self, upload: Upload) -> None:
        """Count an upload as its record says; see `Quota.note`."""
        if not self._matters(upload):
            return
        if self._places.give_back(upload.upload_id):
            self._recount.note_gone(upload.upload_id)
            return
        row, before = self.row(upload), self._rows.get(upload.upload_id)
        if row.gone:
            self._recount.note_gone(upload.upload_id)
        if before is None and len(self._rows) >= MAX_NOTES:
            if not self._lost_news:
                logger.warning("too much happens to be counted at once: it will be counted anew")
            self._lost_news = True
            return
        if before is None or not before.gone:
            self._rows[upload.upload_id] = row
        self._tell_soon(patient=True)

    async def reconcile(self, records: Records) -> None:
        """Count anew, if that is due; see `Quota.reconcile`."""
        if self._ceilings.uploads:
            if self._lost_news:
                self._lost_news = False
                self._recount.want()
            await self._recount.run(records, waited_for=self._needed is not Filled.NO)

    # --- what counts ---------------------------------------------------------------------

    def row(self, upload: Upload) -> Row:
        """Say how an upload counts."""
        is_open = upload.status is Status.OPEN
        counts = is_open or (upload.status is Status.COMPLETE and self._of_bytes)
        length = upload.length
        if length is None and upload.parts:
            length = 0  # What its parts will hold is counted when that is known.
        return Row(
            upload_id=upload.upload_id,
            owner=upload.owner,
            length=None if length is None else min(length, CLAMP),
            offset=upload.offset,
            is_open=is_open,
            version=upload.version,
            gone=not counts,
            is_new=self._holds and _is_new(upload),
        )

    def _matters(self, upload: Upload) -> bool:
        """Tell whether a commit changed anything that is limited."""
        if upload.status is not Status.OPEN:
            return self._of_uploads
        return self._of_bytes and (self._of_progress or upload.length is not None)

    async def _claim(self, claim: Claim) -> int:
        return self._allowed(claim, await self._ask(claim))

    def _allowed(self, claim: Claim, answer: int | Refusal) -> int:
        if isinstance(answer, Refusal):
            raise self._refusals.error(answer, owner=claim.owner, least=claim.least)
        return answer

    async def _ask(self, claim: Claim) -> int | Refusal:
        needed = self._needed if claim.creating else Filled.NO
        dues = self._take_dues()
        try:
            return await self._counter.claim(claim, dues, needed)
        except BaseException:
            self._put_back(dues)
            raise

    async def _grow(self, upload: Upload, position: int) -> int:
        """Reserve space for at least one byte more."""
        claim = Claim(
            upload_id=upload.upload_id,
            owner=upload.owner,
            least=position + 1,
            most=max((position // STEP + 1) * STEP, position + 1),
            written=position,
        )
        return await self._claim(claim)

    @asynccontextmanager
    async def _slot(self, upload: Upload) -> AsyncIterator[None]:
        """Hold the place of a running append."""
        if not self._of_appends:
            yield
            return
        entry = Entry(secrets.token_hex(8), upload.upload_id, upload.owner)
        dues = self._take_dues()
        self._entries[entry.token] = entry
        try:
            try:
                refusal = await self._counter.enter(entry, dues)
            except BaseException:
                self._put_back(dues)
                raise
            if refusal is not None:
                raise self._refusals.error(refusal, owner=upload.owner)
            yield
        finally:
            del self._entries[entry.token]
            # Also of one that was cancelled on its way in: it may have come to be.
            self._left.append(entry.token)
            # While nobody counts, those before the last ones never came to be.
            del self._left[:-MAX_NOTES]
            self._tell_soon()

    # --- what is due ---------------------------------------------------------------------

    def _tell_soon(self, *, patient: bool = False) -> None:
        """Have what is due counted; what can wait goes with the next question, if one comes."""
        if not patient or len(self._rows) >= MANY_NOTES:
            self._hurry.set()
        self._news.set()

    def _take_dues(self) -> Dues:
        """Give what a question is to count first.

        Refunds go alone: a question may be cancelled without anybody knowing whether it was asked,
        and they alone are not to be done twice.
        """
        if not (self._rows or self._left):
            return _NO_DUES
        dues = Dues(self._rows, self._left)
        self._rows, self._left = {}, []
        return dues

    def _put_back(self, dues: Dues) -> None:
        for upload_id, row in dues.rows.items():
            newer = self._rows.get(upload_id)
            if newer is None or (row.gone and not newer.gone):
                self._rows[upload_id] = row
        self._left[:0] = dues.left
        self._refunds.update(dues.refunds)
        self._tell_soon()

    async def _settle(self, *, is_last: bool = False) -> None:
        places = self._places
        wanted = 0 if is_last else places.wanted
        holds = wanted or places.held or places.are_untold
        if not (self._rows or self._left or self._refunds or holds):
            return
        dues = Dues(self._rows, self._left, self._refunds)
        self._rows, self._left, self._refunds = {}, [], Tally()
        try:
            if holds:
                await self._hold(dues, wanted)
            else:
                await self._counter.settle(dues)
        except BaseException:
            self._put_back(dues)
            raise

    async def _hold(self, dues: Dues, wanted: int) -> None:
        """Tell what was made in places that are held here, and hold so many from now on."""
        told = self._places.begin(wanted)
        try:
            made = {upload_id: self.row(upload) for upload_id, upload in told.items()}
            holding = await self._counter.hold(dues, made, wanted)
        except BaseException:
            ended = {upload_id for upload_id, row in self._rows.items() if row.gone}
            self._places.fail({one: told[one] for one in told.keys() - ended})
            raise
        self._places.end(holding)
        if not holding.is_ample and (holding.places or self._places.are_untold):
            self._tell_soon()

    async def _settle_forever(self) -> None:
        while True:
            if not self._places.held:
                await self._news.wait()
            await self._be_patient()
            self._news.clear()
            self._hurry.clear()
            try:
                await self._settle()
            except TusError:
                # Who counts has logged it.
                await asyncio.sleep(PAUSE_AFTER_FAULT)

    async def _be_patient(self) -> None:
        """Wait for a question that takes the news along, if nobody is refused for it."""
        patience = HELD_SECONDS if self._places.held else self._counter.patience
        if patience and not self._hurry.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._hurry.wait()

    async def _beat_forever(self) -> None:
        while True:
            with suppress(TusError):
                await self._counter.beat(list(self._entries.values()))
            await asyncio.sleep(BEAT_SECONDS)


def _is_new(upload: Upload) -> bool:
    age = (datetime.now(UTC) - upload.created_at).total_seconds()
    return abs(age) < NEW_SECONDS
