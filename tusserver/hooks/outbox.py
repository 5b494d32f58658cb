"""Events on their way to receivers, kept until they were taken (floor 4; docs/hooks.md)."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tusserver.errors import StorageFault, TusError
from tusserver.hooks.clerk import Clerk
from tusserver.hooks.payload import forwarded, read_decision
from tusserver.hooks.presence import Presence
from tusserver.hooks.shelf import Entry, Shelf
from tusserver.ports import Decision, EventKind
from tusserver.upload import UploadId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from tusserver.hooks.delivery import Delivery
    from tusserver.hooks.payload import Writer
    from tusserver.ports import Event

    Stop = Callable[[UploadId, Decision], Awaitable[bool]]

logger = logging.getLogger(__name__)

DIRECTORY = "outbox"
FILE = "events.db"
PROGRESS_AT_ONCE = 100
"""Uploads whose progress is written down together."""
_AFTER = (
    EventKind.POST_CREATE,
    EventKind.POST_RECEIVE,
    EventKind.POST_FINISH,
    EventKind.POST_TERMINATE,
)


class WebhookOutbox:
    """The outbox of one process; one process of a store delivers for all (`Delivery`)."""

    def __init__(
        self,
        directory: Path,
        *,
        writer: Writer,
        events: Collection[str],
        delivery: Delivery,
        forward: Sequence[str] = (),
        progress_interval: float = 1.0,
        syncs: bool = True,
    ) -> None:
        """Keep these events in `directory`; times are in seconds.

        With `syncs`, what is kept survives a power cut.
        """
        self._directory = directory
        self._writer = writer
        self._wanted = frozenset(kind for kind in _AFTER if kind.value in events)
        self._forward = tuple(forward)
        self._interval = progress_interval
        self._delivery = delivery
        self._presence = Presence(directory)
        self._clerk = Clerk(directory / FILE, targets=delivery.targets, syncs=syncs)
        self._newest: dict[UploadId, Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stop: Stop | None = None

    def wants(self, kind: EventKind) -> bool:
        """Tell whether receivers are told of this."""
        return kind in self._wanted

    # --- life

    async def open(self, stop: Stop) -> None:
        """Begin to keep and to deliver; see `gates.Outbox`."""
        self._stop = stop
        try:
            await asyncio.to_thread(self._enter)
        except OSError as error:
            logger.exception("%s cannot be used: check who may write there", self._directory)
            raise StorageFault from error
        await self._clerk.open()
        for work, name in (
            (self._delivery.run(self._clerk, self._presence, stop), "delivery of events"),
            (self._tell_progress(), "progress of uploads"),
        ):
            self._tasks.append(asyncio.create_task(work, name=name))

    def _enter(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._presence.enter()

    async def close(self) -> None:
        """Write down what is noted, and let go."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        await self._delivery.close()
        with suppress(TusError):  # It was logged; whoever delivers next finds out by itself.
            await self._clerk.do(partial(Shelf.disown, owner=self._presence.name))
        await self._clerk.close()
        with suppress(OSError):
            await asyncio.to_thread(self._presence.leave)

    # --- what happens

    async def intend(self, event: Event) -> None:
        """Note durably what is about to happen."""
        entry, owner = self._entry(event), self._presence.name
        step = partial(Shelf.put, entry=entry, owner=owner, now=time.time())
        await self._clerk.do(step, sync=True)

    def confirm(self, event: Event) -> None:
        """Say that what was noted has happened."""
        self._clerk.note(partial(Shelf.confirm, event_id=event.event_id, now=time.time()))
        self._newest.pop(event.upload.upload_id, None)
        self._delivery.poke()

    def doubt(self, event: Event) -> None:
        """Say that the records must tell."""
        owner = self._presence.name
        self._clerk.note(partial(Shelf.doubt, event_id=event.event_id, owner=owner))

    async def put(self, event: Event) -> None:
        """Keep durably what has happened."""
        entry = self._entry(event)
        self._newest.pop(event.upload.upload_id, None)
        step = partial(Shelf.put, entry=entry, owner="", now=time.time())
        await self._clerk.do(step, sync=True)
        self._delivery.poke()

    def progress(self, event: Event) -> None:
        """Tell how far an upload is, with the next lot."""
        self._newest[event.upload.upload_id] = event

    def _entry(self, event: Event) -> Entry:
        return Entry(
            event_id=event.event_id,
            upload_id=event.upload.upload_id,
            kind=event.kind.value,
            body=self._writer.write(event),
            fields=json.dumps(forwarded(event.request, self._forward)),
        )

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            while self._newest:
                await self._tell_some_progress()

    async def _tell_some_progress(self) -> None:
        some = list(itertools.islice(self._newest, PROGRESS_AT_ONCE))
        entries = [self._entry(self._newest.pop(upload_id)) for upload_id in some]
        try:
            step = partial(Shelf.progress, entries=entries, now=time.time())
            stops = await self._clerk.do(step)
            self._delivery.poke()
            for upload_id, decision in stops.items():
                if self._stop is not None:
                    await self._stop(UploadId(upload_id), read_decision(decision))
        except TusError as error:
            logger.debug("progress is not told: %s", error.message)
        except Exception:
            logger.exception("progress is not told")
