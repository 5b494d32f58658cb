"""Take-over: the newest request wins, a healthy append is not disturbed (floor 4).

Within this process a holder is asked directly, in another one by a message. What decides is
never the message but the storage's lease, which the kernel frees when its holder dies.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.body import BodyEnd
from tusserver.engine.waiting import Waiting
from tusserver.engine.work import FINISH_WAIT, LET_GO, Phase, Work
from tusserver.errors import AppendSuperseded, ShuttingDown, TusError, UploadLocked
from tusserver.ports import Answer, Outcome, Verb
from tusserver.protocol.rules import check_exists
from tusserver.upload import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tusserver.engine.parts import EngineParts
    from tusserver.engine.work import LiveAppend
    from tusserver.ports import Holder, Lease
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

SILENCE = 0.2
"""Seconds without a byte after which HEAD may end an append."""
LOOK_LIMIT = 0.5
"""Seconds that HEAD waits for silence at most."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at a running append found."""

    offset: int | None
    """The committed offset of an append that goes on; None: read the record (again)."""
    waited: bool = True
    """Whether anybody was asked; if not, what was just read still holds."""


_RECORD = Sight(None)
_NOBODY = Sight(None, waited=False)
_FREE = Answer(Outcome.FREE)


class Takeover:
    """Finds out about, stops, and succeeds the holders of uploads."""

    def __init__(self, parts: EngineParts) -> None:
        """Use the engine's parts."""
        self._parts = parts

    # --- taking the turn -----------------------------------------------------------------

    def hold(self, work: Work) -> _Hold:
        """Take the turn in this process, then the lease; None if there is no data file.

        The holder is asked to stop, wherever it is. Raises: UploadLocked, AppendSuperseded.
        """
        return _Hold(self, work)

    async def take(self, work: Work) -> Lease | None:
        """Take turn and lease, as `hold` does, to be given back by `give`."""
        slots = self._parts.slots
        with self._waiting(work) as waiting:
            await slots.take(work)
            lease = None
            try:
                lease = await self._parts.storage.lease(
                    work.upload_id,
                    on_contended=lambda holder: self._push_out(work.upload_id, holder, waiting),
                    timeout=LET_GO,
                )
                _check_wanted(work)
                waiting.over()
            except BaseException:
                await self.give(work, lease)
                raise
            return lease

    async def give(self, work: Work, lease: Lease | None) -> None:
        """Give lease and turn back."""
        try:
            if lease is not None:
                await lease.release()
        finally:
            self._parts.slots.give(work)

    def _waiting(self, work: Work) -> Waiting:
        held = self._parts.slots.holder(work.upload_id) is not None
        return Waiting(self._parts.meter, contended=held, counts=not work.is_chore)

    @asynccontextmanager
    async def hold_if_free(self, work: Work) -> AsyncIterator[Lease | None]:
        """Take turn and lease at once; None if there is no data file.

        Raises: UploadLocked when somebody has them or wants them.
        """
        slots = self._parts.slots
        if not slots.is_free(work.upload_id):
            raise UploadLocked
        async with slots.turn(work):
            lease = await self._parts.storage.lease(
                work.upload_id, on_contended=_leave_alone, timeout=0.0
            )
            try:
                yield lease
            finally:
                if lease is not None:
                    await lease.release()

    async def _push_out(self, upload_id: UploadId, holder: Holder | None, waiting: Waiting) -> None:
        """Ask the holder in another process to stop. Raises: UploadLocked while a hook runs."""
        waiting.contended = True
        if holder is None or not self._is_elsewhere(holder):
            return
        answer = await self._ask(holder, Verb.STOP, upload_id)
        if answer is not None and answer.outcome is Outcome.BUSY:
            raise UploadLocked

    async def _ask(self, holder: Holder, verb: Verb, upload_id: UploadId) -> Answer | None:
        """Ask another worker; while it finishes the upload, wait for the outcome."""
        ask = self._parts.mailbox.ask
        answer = await ask(holder.mailbox, verb, upload_id, timeout=LET_GO)
        if answer is not None and answer.outcome is Outcome.FINISHING:
            answer = await ask(holder.mailbox, Verb.WAIT, upload_id, timeout=FINISH_WAIT)
        if answer is None:
            logger.warning(
                "upload %s: process %d holds it since %s and does not answer; if it is stopped or "
                "its disk hangs, end it: its lock is freed at once",
                upload_id,
                holder.pid,
                holder.since.isoformat(timespec="seconds"),
            )
        return answer

    # --- finding out -----------------------------------------------------------------------

    async def load(
        self, upload_id: UploadId, *, known: Upload | None = None
    ) -> tuple[Upload | None, Holder | None]:
        """Load a record as `Records.load` does, but none that looks complete before it is.

        A completion can be read while the ledger is still on its way to the disk: it is waited
        for. Raises: UploadLocked when that takes too long.
        """
        upload, holder = await self._parts.records.load(upload_id, known=known)
        if upload is not None and upload.is_complete and await self._await_finish(upload, holder):
            return await self._parts.records.load(upload_id)
        return upload, holder

    async def find(
        self, upload_id: UploadId, *, known: Upload | None = None
    ) -> tuple[Upload, Holder | None]:
        """Load an upload that is there for clients; one that is being written does not expire.

        `known` is what was found a moment ago.

        Raises: UploadNotFound, UploadLocked.
        """
        upload, holder = await self.load(upload_id, known=known)
        written = holder is not None or self._parts.slots.holder(upload_id) is not None
        if upload is not None and written and upload.status is Status.OPEN:
            if upload.is_unmade:
                raise UploadLocked
            return upload, holder
        return check_exists(upload, self._parts.now()), holder

    async def _await_finish(self, upload: Upload, holder: Holder | None) -> bool:
        """Wait for who may be finishing an upload; tell whether there was anybody."""
        work = self._parts.slots.holder(upload.upload_id)
        if work is not None and work.is_finishing:
            await _outcome(work)
        elif holder is not None and self._is_elsewhere(holder):
            _sight(await self._ask(holder, Verb.LOOK, upload.upload_id))
        else:
            return False
        return True

    async def offset_for_append(self, upload: Upload, holder: Holder | None) -> Sight:
        """Find the true offset for a PATCH; a running append commits and goes on.

        Raises: UploadLocked while a hook runs or when the holder does not answer.
        """
        work = self._writer(upload.upload_id, holder)
        if work is not None:
            return await self._tell(work)
        if holder is None:
            return _NOBODY
        if not self._is_elsewhere(holder):
            return _RECORD
        return _sight(await self._ask(holder, Verb.TELL, upload.upload_id))

    def has_moved(self, upload_id: UploadId) -> bool:
        """Tell whether a running append of this process stored bytes since its last commit."""
        work = self._parts.slots.holder(upload_id)
        return work is not None and work.progress is not None and work.progress.uncommitted

    async def offset_for_head(self, upload: Upload, holder: Holder | None) -> Sight:
        """Find the true offset for a HEAD: a silent append is ended, a flowing one commits.

        Raises: UploadLocked when the holder does not answer in time.
        """
        work = self._writer(upload.upload_id, holder)
        if work is not None:
            return await self._look(work)
        if holder is None or not self._is_elsewhere(holder):
            return _RECORD
        answer = await self._ask(holder, Verb.LOOK, upload.upload_id)
        if answer is not None and answer.outcome is Outcome.BUSY:
            return _RECORD  # A pre-hook runs: HEAD is answered from the record.
        return _sight(answer)

    def _is_elsewhere(self, holder: Holder) -> bool:
        return holder.mailbox != self._parts.mailbox.name

    def _writer(self, upload_id: UploadId, holder: Holder | None) -> Work | None:
        """Give the work of this process that may be writing.

        One that only waits for the lease of another process knows nothing of its offset.
        """
        work = self._parts.slots.holder(upload_id)
        waits = work is not None and work.phase is Phase.STARTING
        return None if waits and holder is not None and self._is_elsewhere(holder) else work

    async def _tell(self, work: Work) -> Sight:
        if work.phase is Phase.HOOK:
            raise UploadLocked
        if work.is_finishing:
            await _outcome(work)
        if work.progress is None or work.phase is not Phase.RECEIVING:
            return _RECORD
        return await _commit(work, work.progress, at_once=True)

    async def _look(self, work: Work) -> Sight:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOOK_LIMIT
        while work.phase is Phase.RECEIVING and work.progress is not None:
            silent = work.progress.silent_for()
            if silent >= SILENCE:
                work.stop(BodyEnd.SUPERSEDED)
                if not await work.wait(LET_GO) and work.phase is Phase.RECEIVING:
                    raise UploadLocked
                break  # A pre-hook may run by now: HEAD is answered from the record.
            left = deadline - loop.time()
            if left <= 0:
                return await _commit(work, work.progress, at_once=False)
            if await work.wait(min(SILENCE - silent, left)):
                return _RECORD
        if work.is_finishing:
            await _outcome(work)
        return _RECORD

    # --- answering other processes -----------------------------------------------------------

    async def answer(self, verb: Verb, upload_id: UploadId) -> Answer:
        """Answer what another worker asks about an upload that this one holds."""
        work = self._parts.slots.holder(upload_id)
        if work is None:
            return _FREE
        if verb is Verb.WAIT:
            return Answer(Outcome.FREE if await work.wait(FINISH_WAIT) else Outcome.BUSY)
        if work.is_finishing or work.phase is Phase.HOOK:
            return _busy(work)
        if verb is Verb.STOP:
            return await _let_go(work)
        try:
            sight = await (self._tell(work) if verb is Verb.TELL else self._look(work))
        except UploadLocked:
            return Answer(Outcome.BUSY)
        return _FREE if sight.offset is None else Answer(Outcome.RUNNING, sight.offset)


async def _commit(work: Work, progress: LiveAppend, *, at_once: bool) -> Sight:
    """Have a running append commit; one that fails is to say so to its own client only."""
    try:
        async with asyncio.timeout(LET_GO):
            return Sight(await progress.commit_now(at_once=at_once))
    except TimeoutError:
        # The disk does not answer: the append commits when it does.
        raise UploadLocked from None
    except TusError as error:
        logger.debug("upload %s: its append ends: %s", work.upload_id, error.message)
    if not await work.wait(LET_GO):
        raise UploadLocked
    return _RECORD


async def _let_go(work: Work) -> Answer:
    work.stop(BodyEnd.SUPERSEDED)
    if await work.wait(LET_GO):
        return _FREE
    return _busy(work)


def _busy(work: Work) -> Answer:
    return Answer(Outcome.FINISHING if work.is_finishing else Outcome.BUSY)


async def _outcome(work: Work) -> None:
    """Wait for what comes of an upload that is being finished."""
    if not await work.wait(FINISH_WAIT):
        raise UploadLocked


def _sight(answer: Answer | None) -> Sight:
    if answer is None or answer.outcome in {Outcome.BUSY, Outcome.FINISHING}:
        raise UploadLocked
    return Sight(answer.offset) if answer.outcome is Outcome.RUNNING else _RECORD


def _check_wanted(work: Work) -> None:
    """Give up a turn that somebody newer asked for before it had begun."""
    if work.is_chore:
        return
    if work.stopped is BodyEnd.SHUTDOWN:
        raise ShuttingDown
    if work.stopped is not None:
        raise AppendSuperseded


async def _leave_alone(_holder: Holder | None) -> None:
    """Let the holder go on."""


class _Hold:
    """The block in which turn and lease are held."""

    __slots__ = ("_lease", "_takeover", "_work")

    def __init__(self, takeover: Takeover, work: Work) -> None:
        self._takeover, self._work = takeover, work
        self._lease: Lease | None = None

    async def __aenter__(self) -> Lease | None:
        self._lease = await self._takeover.take(self._work)
        return self._lease

    async def __aexit__(self, *_: object) -> None:
        await self._takeover.give(self._work, self._lease)
