"""The one process that brings events to the receivers (floor 4; docs/hooks.md).

Events of one upload go out one after the other; those of other uploads, and to other receivers,
wait for nobody. What was not taken is sent again, with the same id, at growing intervals.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tusserver.errors import TusError
from tusserver.hooks.payload import (
    AnswerMalformed,
    read_decision,
    read_response,
    stop_of,
    write_decision,
)
from tusserver.hooks.shelf import Shelf
from tusserver.hooks.webhook import DeliveryFailed
from tusserver.ports import EventKind
from tusserver.upload import Status, UploadId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tusserver.hooks.clerk import Clerk
    from tusserver.hooks.presence import Presence
    from tusserver.hooks.shelf import Row
    from tusserver.hooks.webhook import Answer, Receiver
    from tusserver.ports import Decision
    from tusserver.upload import Upload

    Stop = Callable[[UploadId, Decision], Awaitable[bool]]
    Elect = Callable[[str], Awaitable[bool]]
    Find = Callable[[UploadId], Awaitable[Upload | None]]

logger = logging.getLogger(__name__)

CHORE = "deliver"
AT_ONCE = 16
"""Deliveries to one receiver at the same time."""
PAGE = 200
POLL = 0.2
"""Seconds after which what other processes noted is seen."""
ELECTION_PAUSE = 1.0
CARE_PAUSE = 1.0
TIDY_PAUSE = 3600.0
RETRY_FIRST, RETRY_LAST = 1.0, 300.0
FARTHEST = 2 * RETRY_LAST
"""Seconds after which an event is due at the latest, unless the clock was set back."""
LAST_MOMENT = 2.0
"""Seconds that deliveries under way get at the end."""
LONGEST_ERROR = 300


class Delivery:
    """Delivers while this process is the elected one."""

    def __init__(
        self, receivers: Sequence[Receiver], *, elect: Elect, find: Find, give_up: float
    ) -> None:
        """Deliver to these; what was not taken for `give_up` seconds is set aside.

        `elect` makes this the one process that does a chore; `find` gives the record of an upload.
        """
        self._receivers = tuple(receivers)
        self._elect = elect
        self._find = find
        self._give_up = give_up
        self._poked = asyncio.Event()
        self._tasks: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._failing: set[int] = set()
        self._cared_at = self._tidied_at = float("-inf")

    @property
    def targets(self) -> int:
        """Give the number of receivers."""
        return len(self._receivers)

    def poke(self) -> None:
        """Say that there may be something to deliver."""
        self._poked.set()

    async def run(self, clerk: Clerk, presence: Presence, stop: Stop) -> None:
        """Deliver for ever, if nobody else does."""
        while True:
            pause = ELECTION_PAUSE
            try:
                if await self._elect(CHORE):
                    pause = POLL
                    await self._care(clerk, presence, stop)
                    await self._start_deliveries(clerk)
            except TusError as error:
                logger.warning("events wait: %s", error.message)
                pause = ELECTION_PAUSE
            except Exception:
                logger.exception("events wait")
                pause = ELECTION_PAUSE
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()
            self._poked.clear()

    async def close(self) -> None:
        """Let deliveries under way end, shortly; what they do not bring goes out again."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=LAST_MOMENT)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for receiver in self._receivers:
            await receiver.close()

    # --- deliveries

    async def _start_deliveries(self, clerk: Clerk) -> None:
        for target in range(self.targets):
            busy = sum(1 for key in self._tasks if key[0] == target)
            if busy >= AT_ONCE:
                continue
            limit = AT_ONCE + busy
            step = partial(Shelf.heads, target=target, now=time.time(), limit=limit)
            rows = await clerk.do(step)
            for row in rows:
                key = (target, row.upload_id)
                if key not in self._tasks and busy < AT_ONCE:
                    busy += 1
                    self._start(key, self._deliver(clerk, row))

    def _start(self, key: tuple[int, str], work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[key] = task

        def done(ended: asyncio.Task[None]) -> None:
            del self._tasks[key]
            self.poke()
            if not ended.cancelled() and (error := ended.exception()) is not None:
                logger.error("an event waits", exc_info=error)

        task.add_done_callback(done)

    async def _deliver(self, clerk: Clerk, row: Row) -> None:
        """Bring one event to its receiver, once."""
        receiver = self._receivers[row.target]
        fields = [(str(name), str(value)) for name, value in json.loads(row.fields)]
        try:
            answer = await receiver.send(row.event_id, row.body, fields=fields)
        except DeliveryFailed as error:
            await self._put_off(clerk, row, str(error))
            return
        if row.target in self._failing:
            self._failing.discard(row.target)
            logger.warning("%s takes events again", receiver.shown)
        if row.kind == EventKind.POST_RECEIVE.value:
            await self._note_stop(clerk, row, answer)
        await self._note(clerk, partial(Shelf.delivered, row=row, now=time.time()))

    async def _note(self, clerk: Clerk, outcome: Callable[[Shelf], object]) -> None:
        """Note what came of a delivery, whenever that can be done: it is not sent again before."""
        pause = RETRY_FIRST
        while True:
            try:
                await clerk.do(outcome)
            except TusError as error:
                logger.warning("what came of an event is noted later: %s", error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_LAST)
            else:
                return

    async def _put_off(self, clerk: Clerk, row: Row, reason: str) -> None:
        now = time.time()
        if row.target not in self._failing:
            self._failing.add(row.target)
            logger.warning("event %s waits: %s", row.event_id, reason)
        if row.kind == EventKind.POST_RECEIVE.value:
            # The next one tells more.
            await self._note(clerk, partial(Shelf.drop, row=row))
            return
        pause = min(RETRY_FIRST * 2.0 ** min(row.attempts, 30), RETRY_LAST)
        due: float | None = now + pause * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
        if now - row.made >= self._give_up:
            due = None
            logger.error(
                "event %s (%s of upload %s) is set aside: %s; when that is mended: "
                "tusserver resend %s",
                *(row.event_id, row.kind, row.upload_id, reason, row.event_id),
            )
        error = reason[:LONGEST_ERROR]
        await self._note(clerk, partial(Shelf.failed, row=row, error=error, due=due))

    async def _note_stop(self, clerk: Clerk, row: Row, answer: Answer) -> None:
        if not answer.is_json:
            return
        try:
            decision = stop_of(read_response(answer.body))
        except AnswerMalformed as error:
            logger.debug("the answer to event %s cannot be used: %s", row.event_id, error)
            return
        if decision is not None:
            text = write_decision(decision)
            await self._note(clerk, partial(Shelf.stop, upload_id=row.upload_id, decision=text))
            self._cared_at = float("-inf")

    # --- what else there is to do

    async def _care(self, clerk: Clerk, presence: Presence, stop: Stop) -> None:
        now = time.monotonic()
        if now - self._cared_at < CARE_PAUSE:
            return
        self._cared_at = now
        wall = time.time()
        latest = wall + FARTHEST
        await clerk.do(partial(Shelf.pull_forward, now=wall, latest=latest))
        await self._judge(clerk, presence)
        await self._stop_uploads(clerk, stop)
        if now - self._tidied_at >= TIDY_PAUSE:
            self._tidied_at = now
            gone = await clerk.do(partial(Shelf.tidy, now=time.time()))
            reason = "webhook-url names no such receiver any more"
            gone_targets = await clerk.do(partial(Shelf.give_up_on_targets, error=reason))
            if gone or gone_targets:
                logger.warning(
                    "%d dead events of long ago are forgotten; %d events are set aside: %s",
                    *(gone, gone_targets, reason),
                )

    async def _stop_uploads(self, clerk: Clerk, stop: Stop) -> None:
        """Stop the uploads that receivers want stopped; one that cannot be keeps no event."""
        failures: list[TusError] = []
        for upload_id, text in await clerk.do(partial(Shelf.stops, limit=PAGE)):
            try:
                stopped = await stop(UploadId(upload_id), read_decision(text))
            except TusError as error:
                failures.append(error)
                continue
            if stopped:
                await clerk.do(partial(Shelf.stopped, upload_id=upload_id))
        if failures:
            told = "%d uploads cannot be stopped yet: %s"
            logger.warning(told, len(failures), failures[0].message)

    async def _judge(self, clerk: Clerk, presence: Presence) -> None:
        """Find out whether what dead processes were about to do has happened."""
        for owner in await clerk.do(Shelf.owners):
            if await asyncio.to_thread(presence.is_dead, owner):
                await clerk.do(partial(Shelf.disown, owner=owner))
        for row in await clerk.do(partial(Shelf.doubtful, limit=PAGE)):
            try:
                record = await self._find(UploadId(row.upload_id))
            except TusError as error:
                logger.warning("event %s waits for its record: %s", row.event_id, error.message)
                continue
            is_gone = record is None or record.is_unmade or record.status is Status.REMOVED
            await clerk.do(partial(Shelf.settle, row=row, is_gone=is_gone, now=time.time()))
