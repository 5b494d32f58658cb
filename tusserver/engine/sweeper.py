"""What keeps a store tidy (floor 4): expiry, and whatever a crash left half done.

One process of a store sweeps. It trusts no clock jump: nothing is removed that has not been
expired for five minutes of monotonic time in this process, and while wall and monotonic clock
are apart by a minute a round is left out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from tusserver.errors import StateUnavailable, TusError
from tusserver.protocol.rules import is_expired
from tusserver.upload import EventState, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from tusserver.engine.clearing import Clearing
    from tusserver.engine.concat import Concatenation
    from tusserver.engine.events import Events
    from tusserver.engine.idle import IdleSync
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.remove import Remover
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

PAGE = 500
AT_ONCE = 2
"""Uploads that are tended, and so removed, at the same time."""
BETWEEN = 0.0015
"""Seconds from one removal to the next: 10,000 take fifteen seconds."""
CHORE = "sweep"
CLOCK_TOLERANCE = 60.0
REST = 4
"""How much longer than it waits for records the sweeper rests between rounds, at least: reading a
large store keeps a processor busy."""
LONGEST_REST = 3_600.0
"""Seconds; a disk that hung for hours must not keep it away for days."""
ORPHAN_AGE = 86_400.0
ORPHANS_EVERY = 3_600.0
MAX_EXPIRED = 100_000
"""Expired uploads remembered between rounds; the others are seen again."""


class Sweeper:
    """Goes through all records again and again."""

    def __init__(
        self,
        parts: EngineParts,
        *,
        clearing: Clearing,
        remover: Remover,
        concatenation: Concatenation,
        events: Events,
        idle: IdleSync,
        interval: float,
        grace: float,
    ) -> None:
        """Sweep every `interval` seconds; remove what was expired for `grace` seconds."""
        self._parts = parts
        self._clearing = clearing
        self._remover = remover
        self._concatenation = concatenation
        self._events = events
        self._idle = idle
        self._interval = interval
        self._grace = grace
        self._seen: dict[UploadId, float] = {}
        self._seen_before: dict[UploadId, float] = {}
        self._turn = 0.0
        self._waited = 0.0
        """Seconds for which the round that is over had nothing to do but wait for records."""
        self._drift: float | None = None
        self._orphans_at = parts.clock.monotonic() - ORPHANS_EVERY

    async def run(self) -> None:
        """Sweep for ever; the first round, at the start, finishes what a crash left."""
        while True:
            try:
                await self.sweep()
            except TusError as error:
                logger.warning("sweeping was broken off: %s", error.message)
            except Exception:
                logger.exception("sweeping failed; it goes on with the next round")
            await asyncio.sleep(self.pause)

    @property
    def pause(self) -> float:
        """Seconds from the end of the last round to the next."""
        return max(self._interval, min(REST * self._waited, LONGEST_REST))

    async def sweep(self) -> int:
        """Go through all records once; give the number of uploads removed."""
        parts = self._parts
        if not self._clocks_agree() or not await parts.storage.elect(CHORE):
            return 0
        loop = asyncio.get_running_loop()
        begun, self._waited = loop.time(), 0.0
        self._seen_before, self._seen = self._seen, {}
        removed = await self._remove_seen()
        removed += await self._sweep_ledgers()
        if not parts.state.is_ledger:
            removed += await self._sweep_state()
        if removed:
            logger.info("swept %d uploads in %.1f s", removed, loop.time() - begun)
        await self._sweep_orphans()
        return removed

    async def _sweep_ledgers(self) -> int:
        """Tend all records that there are, a page at a time, while the next one is being read."""
        removed = 0
        reading = self._read_on(None)
        try:
            while page := await self._wait_for(reading):
                reading = self._read_on(page[-1].upload_id)
                removed += await self._in_turn(self._try_to_tend, page)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return removed

    async def _wait_for(self, reading: asyncio.Task[list[Upload]]) -> list[Upload]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        page = await reading
        self._waited += loop.time() - begun
        return page

    def _read_on(self, after: UploadId | None) -> asyncio.Task[list[Upload]]:
        page = self._parts.storage.scan(after, PAGE, gently=True)
        return asyncio.ensure_future(page)

    async def _sweep_state(self) -> int:
        """Remove expired records of the state store that have no ledger any more."""
        due = await self._parts.state.expired(self._parts.now(), PAGE)
        return await self._in_turn(self._try_to_look, due)

    async def _try_to_look(self, upload_id: UploadId) -> bool:
        """Do what a record calls for that the state store has; drop one without its upload."""
        return await self._left_alone(self._look(upload_id), upload_id)

    async def _look(self, upload_id: UploadId) -> bool:
        upload, _ = await self._parts.records.load(upload_id)
        if upload is not None:
            return await self._tend(upload)
        await self._parts.records.drop(upload_id)
        return False

    async def _remove_seen(self) -> int:
        """Remove what has been seen expired for long enough: it need not be looked for."""
        now = self._parts.clock.monotonic()
        seen = self._seen_before.items()
        due = [upload_id for upload_id, since in seen if now - since >= self._grace]
        return await self._in_turn(self._try_to_remove, due)

    async def _in_turn(self, act: Callable[[_T], Awaitable[bool]], todo: Iterable[_T]) -> int:
        """Do something for each, a few at a time; give the number of uploads removed."""
        waiting = iter(todo)

        async def work() -> int:
            removed = 0
            for one in waiting:
                removed += await act(one)
            return removed

        workers = [asyncio.create_task(work(), name="sweeping") for _ in range(AT_ONCE)]
        try:
            return sum(await asyncio.gather(*workers))
        finally:
            # One that failed has ended the round: the others must not go on behind it.
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _try_to_tend(self, upload: Upload) -> bool:
        """Do what a record calls for; one that cannot be helped must not keep the others."""
        return await self._left_alone(self._tend(upload), upload.upload_id)

    async def _try_to_remove(self, upload_id: UploadId) -> bool:
        """Remove an upload as `_remove` does; one that cannot be must not keep the others."""
        return await self._left_alone(self._remove(upload_id), upload_id)

    async def _left_alone(self, tending: Coroutine[Any, Any, bool], upload_id: UploadId) -> bool:
        """Log what fails for one upload; a state store that does not answer fails for all."""
        try:
            return await tending
        except StateUnavailable:
            raise
        except TusError as error:
            logger.warning("upload %s is left as it is: %s", upload_id, error.message)
            return False

    async def _tend(self, upload: Upload) -> bool:
        """Do what a record calls for; tell whether the upload was removed."""
        if upload.status is Status.REMOVED or upload.is_unmade:
            return await self._remove(upload.upload_id)
        if is_expired(upload, self._parts.now()):
            return self._is_due(upload.upload_id) and await self._remove(upload.upload_id)
        self._idle.adopt(upload)
        if upload.event is EventState.PENDING:
            self._events.deliver_soon(upload)
        if upload.kind is Kind.FINAL and not upload.assembled:
            await self._concatenation.resume(upload.upload_id)
        expires = self._parts.limits.expire_after is not None
        stays = upload.kind is Kind.PARTIAL and upload.expires_at is None
        if stays and expires and not await self._remover.is_pinned(upload):
            await self._concatenation.let_expire(upload.upload_id)
        return False

    def _is_due(self, upload_id: UploadId) -> bool:
        """Tell whether an upload has been seen expired for long enough."""
        now = self._parts.clock.monotonic()
        since = self._seen_before.get(upload_id, now)
        if len(self._seen) < MAX_EXPIRED:
            self._seen[upload_id] = since
        return now - since >= self._grace

    async def _remove(self, upload_id: UploadId) -> bool:
        """Remove an upload that nobody is using, if it is still due when its lease is held."""
        await self._pace()
        return (await self._clearing.clear(upload_id)).goes

    async def _pace(self) -> None:
        """Wait for the turn of the next removal, so that requests are served in between."""
        now = asyncio.get_running_loop().time()
        self._turn = max(now, self._turn) + BETWEEN
        await asyncio.sleep(self._turn - BETWEEN - now)

    def _clocks_agree(self) -> bool:
        """Tell whether the wall clock went as the monotonic one since the last round."""
        clock = self._parts.clock
        drift = clock.now().timestamp() - clock.monotonic()
        before, self._drift = self._drift, drift
        if before is None or abs(drift - before) < CLOCK_TOLERANCE:
            return True
        self._seen.clear()
        logger.warning(
            "the clock jumped by %.0f s: this round of expiry is left out", drift - before
        )
        return False

    async def _sweep_orphans(self) -> None:
        now = self._parts.clock.monotonic()
        if now - self._orphans_at >= ORPHANS_EVERY:
            self._orphans_at = now
            known = None if self._parts.state.is_ledger else self._is_known
            count = await self._parts.storage.sweep_orphans(older_than=ORPHAN_AGE, known=known)
            if count:
                logger.info("removed %d files that belonged to no upload", count)
            if self._parts.grants is not None:
                await self._parts.grants.forget(self._parts.now().timestamp() - ORPHAN_AGE)

    async def _is_known(self, upload_id: UploadId) -> bool:
        """Tell whether the state store has a record that is not marked as removed."""
        record = await self._parts.state.get(upload_id)
        return record is not None and record.status is not Status.REMOVED
