"""Commits that follow the bytes of a running append (floor 4).

A checkpoint each second or 16 MiB: ledger, then state; one commit in flight; the body pauses
when 32 MiB are uncommitted. In the background an fdatasync moves `synced` up every 5 seconds
or 64 MiB. No checkpoint ever tells offset == length: that is the finish's.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd
from tusserver.engine.flag import Flag
from tusserver.engine.progress import ProgressTeller
from tusserver.errors import InternalError, StorageFault, TusError
from tusserver.ports import EventKind
from tusserver.protocol.rules import after_bytes, after_fault, after_sync
from tusserver.upload import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver.body import Body, Running
    from tusserver.engine.parts import EngineParts
    from tusserver.ports import Lease, RequestInfo
    from tusserver.upload import Limits, Upload, UploadId

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
COMMIT_BYTES = 16 * MIB
PAUSE_BYTES = 32 * MIB
SYNC_BYTES = 64 * MIB
SYNC_SECONDS = 5.0
EARLY_BYTES = 8 * MIB
"""Bytes that the disk is to begin with at a time, long before they must be there."""
NEVER = MAX_INTEGER
FORCED_PAUSE = 0.1
"""Commits forced by HEAD: at most one in so many seconds an upload."""


class Checkpoints:
    """Counts stored bytes and keeps the record behind them. Used under the lease."""

    __slots__ = (
        "_body",
        "_caught_up",
        "_committed",
        "_committed_at",
        "_context",
        "_early",
        "_ended",
        "_hashed",
        "_held_back",
        "_late_fault",
        "_lease",
        "_length",
        "_lock",
        "_loop",
        "_parts",
        "_running",
        "_settled",
        "_sync_task",
        "_synced_at",
        "_task",
        "_teller",
        "_turn",
        "digest",
        "error",
        "limits",
        "position",
        "record",
    )

    def __init__(
        self,
        parts: EngineParts,
        *,
        lease: Lease,
        record: Upload,
        length: int | None,
        limits: Limits,
        body: Body,
        held_back: bool,
        late_fault: Callable[[UploadId], None],
        request: RequestInfo | None,
        running: Running | None = None,
    ) -> None:
        """Start at the record's offset; `held_back`: nothing is committed before the end.

        `late_fault` is told of a sync that failed when the record could not be taken back here.
        `running` is the digest of the file, carried on with its bytes.
        """
        self._parts = parts
        self._lease = lease
        self._length = length
        self.limits = limits
        self._body = body
        self._held_back = held_back
        self._late_fault = late_fault
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._caught_up = Flag()
        # What commits log belongs to the request whose bytes they are.
        self._context = copy_context()
        self._turn: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._sync_task: asyncio.Task[None] | None = None
        wanted = parts.wants(EventKind.POST_RECEIVE)
        self._teller = ProgressTeller(parts, request) if wanted else None
        self._synced_at = self._committed_at = self._loop.time()
        self._committed = self._settled = self._ended = False
        self.record = record
        """The last committed record."""
        self.position = record.offset
        # By places in the file, not by requests: what comes in many small ones counts as well.
        self._early = record.offset // EARLY_BYTES * EARLY_BYTES if parts.syncs else NEVER
        self.error: TusError | None = None
        self._running = running
        self._hashed = self.digest = None if running is None else running.copy()
        """The digest at `position`, and the one at the record's offset unless that fell back."""

    # --- Progress, for the storage -------------------------------------------------------

    @property
    def blocked(self) -> bool:
        """Tell whether 32 MiB are uncommitted."""
        return not self._held_back and self.position - self.record.offset >= PAUSE_BYTES

    def advance(self, count: int) -> None:
        """Count bytes that are in the file; start a commit when one is due."""
        self.position += count
        self._parts.meter.bytes_received(count)
        if self.position - self._early >= EARLY_BYTES:
            self._write_early()
        if self._running is not None:
            # Now it stands exactly here, and no thread is at it.
            self._hashed = self._running.copy()
        if self._held_back or self._task is not None or self._settled:
            return
        if self.position - self.record.offset >= COMMIT_BYTES:
            self._start()
        elif self._turn is None:
            self._turn = self._parts.pace.ask(self, self._loop.time())

    def _write_early(self) -> None:
        end = self.position // EARLY_BYTES * EARLY_BYTES
        if self._parts.storage.write_early(self._lease, self._early, end):
            self._early = end

    async def unblocked(self) -> None:
        """Wait until commits have caught up, or failed."""
        while self.blocked and self.error is None:
            self._caught_up.clear()
            self._start()
            await self._caught_up.wait()

    # --- LiveAppend, for other requests --------------------------------------------------

    @property
    def uncommitted(self) -> bool:
        """Tell whether bytes are in the file that a commit would make count."""
        return not self._held_back and self.position > self.record.offset

    async def commit_now(self, *, at_once: bool) -> int:
        """Commit what is in the file; give the committed offset. See `LiveAppend`."""
        recently = self._committed and self._loop.time() - self._committed_at < FORCED_PAUSE
        if not self._held_back and (at_once or not recently):
            # Who asks may be cancelled; a commit that was begun must be known here in full.
            name = f"checkpoint of {self.record.upload_id} that was asked for"
            await asyncio.shield(self._parts.crew.start(self._run(self._commit), name=name))
        if self.error is not None:
            raise self.error
        return self.record.offset

    def silent_for(self) -> float:
        """Give the seconds since the last byte arrived."""
        return self._loop.time() - self._body.last_byte_at

    # --- commits -------------------------------------------------------------------------

    def tick(self) -> None:
        """Commit what has come in the last second."""
        self._turn = None
        self._context.run(self._commit_soon)

    def _commit_soon(self) -> None:
        if self._parts.strict or self._lock.locked() or self._settled or self.error is not None:
            self._start()
            return
        try:
            done = self._commit_at_once()
        except TusError as error:
            self._fail(error)
        except Exception:
            # It must not reach the others whose turn it is.
            logger.exception("checkpoint of %s failed", self.record.upload_id)
            self._fail(InternalError())
        else:
            if not done:
                self._start()

    def _commit_at_once(self) -> bool:
        """Commit without a task; False where that has to be waited for."""
        upload = self._next_record()
        if (upload.offset, upload.length) == (self.record.offset, self.record.length):
            return True
        if not self._parts.records.commit_at_once(self._lease, upload):
            return False
        self._note_committed(upload, self.hashed(upload.offset))
        return True

    def _start(self) -> None:
        self._cancel_tick()
        if self._task is None and self.error is None and not self._settled:
            name = f"checkpoint of {self.record.upload_id}"
            self._task = self._parts.crew.start(self._run(self._commit), name=name)
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._caught_up.set()
        if task.cancelled():
            return
        if (fault := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=fault)
            self._fail(InternalError())
        if self.error is not None or self._settled:
            return
        if self.position - self.record.offset >= COMMIT_BYTES:
            self._start()
        elif self.position > self.record.offset and self._turn is None:
            self._turn = self._parts.pace.ask(self, self._loop.time())

    async def _run(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run one step alone; an error ends the body and is kept for the append's answer."""
        async with self._lock:
            if self.error is not None or self._ended:
                return
            try:
                await step()
            except TusError as error:
                self._fail(error)

    def _fail(self, error: TusError) -> None:
        self.error = error
        self._caught_up.set()
        self._body.stop(BodyEnd.REFUSED)

    async def _commit(self) -> None:
        upload = self._next_record()
        if (upload.offset, upload.length) != (self.record.offset, self.record.length):
            await self._commit_record(upload)

    def _next_record(self) -> Upload:
        parts = self._parts
        return after_bytes(
            self.record,
            offset=self.position,
            length=self._length,
            epoch=parts.storage.epoch,
            now=parts.now(),
            limits=self.limits,
        )

    async def _commit_record(self, upload: Upload) -> None:
        parts, hashed = self._parts, self.hashed(upload.offset)
        if parts.strict:
            await self._sync_data()
            # One commit, one version: the offset and what is synced move together.
            upload = upload.changed(synced=upload.offset)
        await parts.records.commit(self._lease, upload, sync=parts.strict)
        self._note_committed(upload, hashed)

    def _note_committed(self, upload: Upload, hashed: Running | None) -> None:
        self.record, self.digest = upload, hashed
        self._committed_at = self._loop.time()
        self._committed = True
        if self._teller is not None:
            self._teller.committed(upload)
        self._sync_in_background()

    async def _sync_data(self) -> None:
        try:
            await self._parts.storage.sync(self.record.upload_id)
        except StorageFault:
            await self.fall_back()
            raise

    async def fall_back(self) -> None:
        """Commit that only what was synced before is known to be there: a sync failed.

        Raises what is in the way: then it is done as soon as it can be.
        """
        try:
            if self.record.offset > self.record.synced:
                fallen = after_fault(self.record)
                await self._parts.records.commit(self._lease, fallen)
                self.record = fallen
            await self._parts.storage.trim(self._lease, self.record.offset)
        except TusError:
            self._late_fault(self.record.upload_id)
            raise
        self.position = self.record.offset

    # --- the background sync -------------------------------------------------------------

    def _sync_in_background(self) -> None:
        if not self._parts.syncs or self._parts.strict or self._sync_task is not None:
            return
        if self._settled:
            return  # The finish, or the idle sync, does it.
        waited = self._loop.time() - self._synced_at
        if self.record.offset - self.record.synced < SYNC_BYTES and waited < SYNC_SECONDS:
            return
        name = f"sync of {self.record.upload_id}"
        self._sync_task = self._parts.crew.start(self._sync(self.record.offset), name=name)

    async def _sync(self, offset: int) -> None:
        try:
            await self._parts.storage.sync(self.record.upload_id)
        except StorageFault as error:
            await self._run(partial(self._fall_back_for, error))
            if self.error is not error:
                self._late_fault(self.record.upload_id)
        else:
            await self._run(lambda: self._commit_synced(offset))
        finally:
            self._synced_at = self._loop.time()
            self._sync_task = None

    async def _fall_back_for(self, error: StorageFault) -> None:
        await self.fall_back()
        raise error

    async def _commit_synced(self, offset: int) -> None:
        upload = after_sync(self.record, synced=offset)
        await self._parts.records.commit(self._lease, upload, sync=True)
        self.record = upload

    # --- the end -------------------------------------------------------------------------

    def _cancel_tick(self) -> None:
        if self._turn is not None:
            self._parts.pace.forget(self, self._turn)
            self._turn = None

    async def settle(self) -> None:
        """Wait for the commit in flight; none is started by itself afterwards."""
        self._settled = True
        self._cancel_tick()
        while self._task is not None:
            await asyncio.wait([self._task])
            # The callback that forgets the task runs in the loop's next turn.
            await asyncio.sleep(0)

    async def commit_rest(self) -> None:
        """Commit what is in the file, after the last write has returned.

        Also an empty PATCH is a sign of life: it slides the expiry.
        """
        await self.settle()
        await self._run(lambda: self._commit_record(self._next_record()))

    async def end(self) -> None:
        """Let nothing be committed from here on but what the caller commits; safe to repeat.

        A cancellation comes through only when no commit is under way: then the lease may go.
        A sync in flight goes on without the append: the idle sync comes back to the upload.
        """
        self._settled = self._ended = True
        self._cancel_tick()
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                async with self._lock:
                    break
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def sync_outcome(self) -> None:
        """Wait for a background sync in flight: its failure is told to no other sync.

        Raises: StorageFault.
        """
        while self._sync_task is not None:
            await asyncio.wait([self._sync_task])
            await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    def hashed(self, offset: int) -> Running | None:
        """Give the digest at an offset that has just been reached; None if it is not known."""
        return None if self._hashed is None else self._hashed.at(offset)

    def discard(self) -> None:
        """Forget the bytes of an append whose checksum did not hold."""
        self.position = self.record.offset

    def accept(self) -> None:
        """Let held back bytes be committed: their checksum held."""
        self._held_back = False
