"""The upload engine (floor 4): every verb of the protocol, without a word of HTTP.

Each request runs as a task of the engine's own, so that a cancelled handler or a lost
connection ends the body but never a commit.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, TypeVar

from tusserver.body import ALGORITHMS, BodyEnd
from tusserver.caller import EVERYONE, Caller
from tusserver.engine.append import Appender
from tusserver.engine.clearing import Clearing
from tusserver.engine.concat import Concatenation
from tusserver.engine.counting import count_forever
from tusserver.engine.create import Creator
from tusserver.engine.describe import Describer
from tusserver.engine.events import Events
from tusserver.engine.falls import Falls
from tusserver.engine.finish import Finisher
from tusserver.engine.granted import Granted
from tusserver.engine.idle import IdleSync
from tusserver.engine.lost import Lost
from tusserver.engine.receive import Receiver
from tusserver.engine.remove import Remover
from tusserver.engine.stopping import Stopper
from tusserver.engine.sweeper import Sweeper
from tusserver.engine.takeover import Takeover
from tusserver.errors import ShuttingDown, TusError
from tusserver.gates import NoQuota
from tusserver.protocol.messages import Features

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from tusserver.body import Body
    from tusserver.engine.parts import EngineParts
    from tusserver.ports import RequestInfo, Segment
    from tusserver.protocol.messages import (
        Append,
        Appended,
        Create,
        Created,
        Described,
        Terminated,
    )
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

STOP_SECONDS = 10.0


class UploadEngine:
    """Creates, fills, finishes, describes and removes uploads."""

    def __init__(
        self, parts: EngineParts, *, sweep_interval: float = 60.0, sweep_grace: float = 300.0
    ) -> None:
        """Put the engine together; nothing runs before `start`."""
        self.parts = parts
        self._closing = False
        self._chores: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._takeover = Takeover(parts)
        self._events = Events(parts)
        self._remover = Remover(parts, self._takeover, self._events)
        self.clearing = Clearing(parts, self._takeover, self._remover)
        self._stopper = Stopper(parts, self._takeover, self._remover)
        finisher = Finisher(parts, self._events)
        self._digests = finisher.digests
        concatenation = Concatenation(
            parts,
            takeover=self._takeover,
            finisher=finisher,
            remover=self._remover,
        )
        finisher.concatenation = concatenation
        falls = Falls(parts, self._takeover)
        self._idle = IdleSync(parts, self._takeover, falls)
        receiver = Receiver(parts, finisher, self._idle, falls)
        self._appender = Appender(
            parts,
            takeover=self._takeover,
            receiver=receiver,
            lost=Lost(parts),
            falls=falls,
            remover=self._remover,
        )
        self._creator = Creator(
            parts,
            receiver=receiver,
            remover=self._remover,
            concatenation=concatenation,
            events=self._events,
            granted=Granted(parts, takeover=self._takeover, remover=self._remover),
            clearing=self.clearing,
        )
        self._describer = Describer(parts, self._takeover, concatenation)
        self.sweeper = Sweeper(
            parts,
            clearing=self.clearing,
            remover=self._remover,
            concatenation=concatenation,
            events=self._events,
            idle=self._idle,
            interval=sweep_interval,
            grace=sweep_grace,
        )

    # --- life ----------------------------------------------------------------------------

    async def start(self, *, chores: bool = True) -> None:
        """Open the store, answer other workers, begin to sweep and to sync what falls idle.

        Without `chores` it only does what it is told to, beside servers that do the rest.

        Raises: ConfigError, StorageFault, StateUnavailable. Nothing is left open then.
        """
        try:
            await self.parts.storage.open()
            await self.parts.mailbox.open()
            await self.parts.state.attach(self.parts.storage.store_id)
            await self.parts.quota.open()
            if self.parts.publisher is not None:
                await self.parts.publisher.open()
            await self.parts.outbox.open(self._stopper.stop)
        except BaseException:
            await self.close()
            raise
        self.parts.mailbox.serve(self._takeover.answer)
        if not chores:
            return
        for chore, name in ((self.sweeper.run(), "sweeper"), (self._idle.run(), "idle sync")):
            self._chores.append(asyncio.create_task(chore, name=name))
        if not isinstance(self.parts.quota, NoQuota):
            counting = count_forever(self.parts)
            self._chores.append(asyncio.create_task(counting, name="count"))

    def stop_bodies(self) -> None:
        """Take no new work, and end all bodies: what they brought is committed."""
        self._closing = True
        self._events.close()
        if self.parts.publisher is not None:
            self.parts.publisher.stop()
        self.parts.slots.stop_all(BodyEnd.SHUTDOWN)

    async def close(self) -> None:
        """Stop, see commits through, sync what is open, and let go of everything.

        A cancellation does not stop it. Does nothing the second time.
        """
        self.stop_bodies()
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="end of the engine")
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        async with AsyncExitStack() as stack:
            for part in (self.parts.storage, self.parts.state, self.parts.mailbox):
                stack.push_async_callback(part.close)
            stack.push_async_callback(self._digests.close)
            if self.parts.grants is not None:
                stack.push_async_callback(self.parts.grants.close)
            for chore in self._chores:
                chore.cancel()
            for chore in self._chores:
                with suppress(asyncio.CancelledError):
                    await chore
            await self.parts.crew.drain(timeout=STOP_SECONDS)
            await self._idle.sync_everything()
            await self.parts.outbox.close()
            await self.parts.quota.close()
            if self.parts.publisher is not None:
                await self.parts.publisher.close()

    # --- verbs ---------------------------------------------------------------------------

    def features(self, *, base_path: str, trailers: bool) -> Features:
        """Say what can really be done, on a connection that delivers trailers or does not."""
        parts = self.parts
        extensions = parts.extensions
        if not parts.storage.can_concat:
            extensions -= {"concatenation"}
        if parts.limits.expire_after is None and parts.limits.expire_finished is None:
            extensions -= {"expiration"}
        return Features(
            extensions=extensions,
            algorithms=tuple(ALGORITHMS) if "checksum" in extensions else (),
            max_size=parts.limits.max_size,
            max_parts=parts.limits.max_parts,
            trailers=trailers and "checksum" in extensions,
            base_path=base_path,
        )

    async def create(
        self,
        command: Create,
        body: Body,
        *,
        proceed: Callable[[], Awaitable[None]],
        request: RequestInfo | None = None,
    ) -> Created:
        """Make an upload; see `Creator.create` for what may be raised."""
        work = self._creator.create(command, body, proceed=proceed, request=request)
        try:
            return await self._run(work, body)
        except TusError as error:
            self.parts.meter.upload_rejected(error.code)
            raise

    def append(
        self,
        command: Append,
        body: Body,
        *,
        proceed: Callable[[], Awaitable[None]],
        request: RequestInfo | None = None,
    ) -> Coroutine[Any, Any, Appended]:
        """Store the body at the upload's offset; see `Appender.append`."""
        work = self._appender.append(command, body, proceed=proceed, request=request)
        return self._run(work, body)

    async def describe(
        self, upload_id: UploadId, *, request: RequestInfo | None = None
    ) -> Described:
        """Tell where an upload is; see `Describer.describe`.

        Here and below, without a `request` the uploads of all owners are there.
        """
        # The work of requests that came before is a task: let it take its first step first.
        await asyncio.sleep(0)
        return await self._describer.describe(upload_id, _caller(request))

    async def content(
        self, upload_id: UploadId, *, request: RequestInfo | None = None
    ) -> tuple[Upload, list[Segment]]:
        """Find the bytes of a finished upload; see `Describer.content`."""
        return await self._describer.content(upload_id, _caller(request))

    async def terminate(
        self, upload_id: UploadId, *, request: RequestInfo | None = None
    ) -> Terminated:
        """Remove an upload; see `Remover.terminate`."""
        return await self._run(self._remover.terminate(upload_id, request=request), None)

    async def evict(self, upload_id: UploadId) -> Upload:
        """Remove an upload for the operator; see `Remover.evict`."""
        return await self._run(self._remover.evict(upload_id), None)

    async def _run(self, work: Coroutine[Any, Any, _T], body: Body | None) -> _T:
        """Run a request's work so that a cancelled handler ends the body, never a commit."""
        if self._closing:
            work.close()
            raise ShuttingDown
        task = self.parts.crew.start(work, name="request")
        try:
            await self.parts.crew.end_of(task)
            return task.result()
        except asyncio.CancelledError:
            if body is not None:
                body.stop(BodyEnd.DISCONNECTED)
            task.add_done_callback(_forget)
            raise


def _caller(request: RequestInfo | None) -> Caller:
    return EVERYONE if request is None else request.caller


def _forget(task: asyncio.Task[Any]) -> None:
    """Look at the outcome of work whose client has gone, so that asyncio does not complain."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("%s ended after its client had gone: %s", task.get_name(), error)
