"""Whose turn it is at an upload in this process (floor 4).

Work is one request's or job's turn at one upload. The newest request wins: entering asks the
present holder to stop, and sends away whoever was already waiting. Between processes the
storage's lease decides; it is taken after the turn in this process.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from tusserver.body import BodyEnd
from tusserver.engine.flag import Flag
from tusserver.errors import AppendSuperseded, UploadLocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.errors import TusError
    from tusserver.upload import UploadId

LET_GO = 2.0
"""Seconds in which a holder must let go; then 423."""
FINISH_WAIT = 5.0
"""Seconds for which others wait for the outcome of a finish; then 423."""

_numbers = itertools.count()


class Phase(Enum):
    """What a holder is doing, as far as others must know."""

    STARTING = "starting"
    RECEIVING = "receiving"
    HOOK = "hook"
    """The application is being asked: others get 423 at once."""
    FINISHING = "finishing"
    """The last bytes are being put on the disk: others wait."""


class Work:
    """One turn at an upload; `stop` asks it to end, `wait` waits until it has let go."""

    __slots__ = (
        "_begun",
        "_gone",
        "_on_stop",
        "is_chore",
        "number",
        "phase",
        "progress",
        "refusal",
        "stopped",
        "superseded",
        "upload_id",
    )

    def __init__(self, upload_id: UploadId, *, chore: bool = False) -> None:
        """Make a turn that has not begun."""
        self.upload_id = upload_id
        self.is_chore = chore
        """No client's request: it neither sends requests away nor is sent away by them."""
        self.number = next(_numbers)
        """The place in the order in which requests came."""
        self.phase = Phase.STARTING
        self.stopped: BodyEnd | None = None
        self.superseded = False
        self.refusal: TusError | None = None
        """Why the application had it stopped: the answer to its client."""
        self.progress: LiveAppend | None = None
        self._gone = Flag()
        self._begun = Flag()
        self._on_stop: Callable[[BodyEnd], None] | None = None

    @property
    def is_finishing(self) -> bool:
        """Tell whether its outcome is worth waiting for: it cannot be stopped any more."""
        return self.phase is Phase.FINISHING

    def on_stop(self, callback: Callable[[BodyEnd], None]) -> None:
        """Have `callback` called when the work is asked to stop, at once if it already was."""
        self._on_stop = callback
        if self.stopped is not None:
            callback(self.stopped)

    def stop(self, why: BodyEnd) -> None:
        """Ask the work to end. Only the first reason counts."""
        if self.stopped is None:
            self.stopped = why
            if self._on_stop is not None:
                self._on_stop(why)

    def refuse(self, why: TusError) -> None:
        """Have the work end because the application says so, with this for its client."""
        self.refusal = self.refusal or why
        self.stop(BodyEnd.REFUSED)

    def begin(self, progress: LiveAppend) -> None:
        """Say that bytes are being received; from now on others may ask for the progress."""
        self.progress = progress
        self.phase = Phase.RECEIVING
        self._begun.set()

    def leave(self) -> None:
        """Say that the work has let go of everything, or came to nothing."""
        self._begun.set()
        self._gone.set()

    async def wait_for_begin(self) -> None:
        """Wait until the work receives, or has come to nothing."""
        await self._begun.wait()

    async def wait(self, timeout: float) -> bool:
        """Wait until the work has let go; False if it has not after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._gone.wait()
        except TimeoutError:
            return False
        return True


class LiveAppend(Protocol):
    """What others may ask of an append while it runs."""

    @property
    def uncommitted(self) -> bool:
        """Tell whether bytes are in the file that a commit would make count."""

    async def commit_now(self, *, at_once: bool) -> int:
        """Commit what is in the file; give the committed offset.

        Unless `at_once`, at most ten times a second: HEAD is answered with the last commit.
        """

    def silent_for(self) -> float:
        """Give the seconds since the last byte arrived."""


class Slots:
    """All work of this process, at most one holder an upload."""

    def __init__(self) -> None:
        """Start empty."""
        self.asking: set[UploadId] = set()
        """Uploads about whose removal the application is being asked."""
        self._holders: dict[UploadId, Work] = {}
        self._waiters: dict[UploadId, Work] = {}
        self._coming: dict[UploadId, list[Work]] = {}
        self._stopping: BodyEnd | None = None

    def coming(self, work: Work) -> _Coming:
        """Let requests that come later see an append before it has its turn."""
        return _Coming(self._coming, work)

    async def wait_for_earlier(self, upload_id: UploadId, *, timeout: float) -> None:
        """Wait until every append that has come receives or is over; `timeout` s at most."""
        if upload_id not in self._coming:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for work in list(self._coming.get(upload_id, ())):
                    await work.wait_for_begin()

    def holder(self, upload_id: UploadId) -> Work | None:
        """Give the work that has the turn, if any."""
        return self._holders.get(upload_id)

    def stop_all(self, why: BodyEnd) -> None:
        """Ask all work to stop, also what receives or assembles only later."""
        self._stopping = why
        for work in list(self._holders.values()):
            work.stop(why)

    @property
    def is_stopping(self) -> bool:
        """Tell whether all work was asked to stop."""
        return self._stopping is not None

    def on_stop(self, work: Work, callback: Callable[[BodyEnd], None]) -> None:
        """Have `callback` called when the work, or all work, is asked to stop."""
        work.on_stop(callback)
        if self._stopping is not None:
            work.stop(self._stopping)

    def is_free(self, upload_id: UploadId) -> bool:
        """Tell whether no work has the turn at an upload, waits for it or comes."""
        return not (
            upload_id in self._holders or upload_id in self._waiters or upload_id in self._coming
        )

    def turn(self, work: Work) -> _Turn:
        """Hold the turn at the work's upload; the present holder is asked to stop.

        Raises: UploadLocked when a hook runs there or the holder does not let go in time,
        AppendSuperseded when a newer request came meanwhile.
        """
        return _Turn(self, work)

    async def take(self, work: Work) -> None:
        """Wait for the turn, as `turn` does, and keep it until `give`."""
        upload_id = work.upload_id
        self._line_up(work)
        try:
            while (holder := self._holders.get(upload_id)) is not None:
                if _overtook(holder, work):
                    raise AppendSuperseded
                await self._push_out(holder, work)
                if work.superseded:
                    raise AppendSuperseded
            self._holders[upload_id] = work
        finally:
            if self._waiters.get(upload_id) is work:
                del self._waiters[upload_id]

    def give(self, work: Work) -> None:
        """End a turn."""
        del self._holders[work.upload_id]
        work.leave()

    def _line_up(self, work: Work) -> None:
        """Send away whoever was waiting; a chore lets all requests go first."""
        if work.is_chore:
            return
        other = self._waiters.get(work.upload_id)
        if other is not None:
            if _overtook(other, work):
                raise AppendSuperseded
            other.superseded = True
        self._waiters[work.upload_id] = work

    async def _push_out(self, holder: Work, work: Work) -> None:
        if holder.phase is Phase.HOOK:
            raise UploadLocked
        if not holder.is_finishing:
            if not (holder.is_chore and work.is_chore):
                holder.stop(BodyEnd.SUPERSEDED)
            if await holder.wait(LET_GO):
                return
        # What was being received may have become complete meanwhile: its outcome counts.
        if not holder.is_finishing or not await holder.wait(FINISH_WAIT):
            raise UploadLocked


def _overtook(other: Work, work: Work) -> bool:
    """Tell whether a request was overtaken on its way by one that came after it."""
    return not (other.is_chore or work.is_chore) and other.number > work.number


class _Coming:
    """The block in which an append can be seen to come."""

    __slots__ = ("_coming", "_work")

    def __init__(self, coming: dict[UploadId, list[Work]], work: Work) -> None:
        self._coming, self._work = coming, work

    def __enter__(self) -> None:
        self._coming.setdefault(self._work.upload_id, []).append(self._work)

    def __exit__(self, *_: object) -> None:
        work = self._work
        work.leave()
        present = self._coming[work.upload_id]
        present.remove(work)
        if not present:
            del self._coming[work.upload_id]


class _Turn:
    """The block in which a turn is held."""

    __slots__ = ("_slots", "_work")

    def __init__(self, slots: Slots, work: Work) -> None:
        self._slots, self._work = slots, work

    async def __aenter__(self) -> Work:
        await self._slots.take(self._work)
        return self._work

    async def __aexit__(self, *_: object) -> None:
        self._slots.give(self._work)
