"""What many requests ask for, done together in one thread (floor 4).

Those that ask in one turn of the loop, or while a batch runs, share the next batch: it costs one
way to the thread and one way back, however many they are. A thread with a plain queue is woken for
little more than half of what an executor takes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tusserver.errors import StorageFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.errors import TusError

    Outcome = tuple[Any, TusError | None]
    """What a step gave, or the error for whoever asked for it."""

logger = logging.getLogger(__name__)

_S = TypeVar("_S")
_T = TypeVar("_T")


class Batches(Generic[_S]):
    """A queue of steps, and the thread that does them in the order in which they were asked for."""

    def __init__(
        self, run: Callable[[list[Callable[[_S], Any]]], list[Outcome]], *, name: str
    ) -> None:
        """Do steps by `run`, which blocks, and gives an outcome for each."""
        self._run = run
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting: list[tuple[Callable[[_S], Any], asyncio.Future[Any]]] = []
        self._is_busy = False
        self._idle = asyncio.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    async def stop(self, last: Callable[[], None]) -> None:
        """Do what was asked for, then a last call, and end the thread. Raises: what that does."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        while self._is_busy:
            self._idle.clear()
            await self._idle.wait()
        try:
            await self.call(last)
        finally:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def call(self, work: Callable[[], _T]) -> _T:
        """Have something else done in the thread, when it has come through its queue."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()

        def job() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - it is for whoever waits
                told = partial(_fail, done, error)
            else:
                told = partial(_give, done, result)
            loop.call_soon_threadsafe(told)

        self._jobs.put(job)
        return await done

    async def do(self, step: Callable[[_S], _T]) -> _T:
        """Do a step in the next batch; one that is cancelled before that is left out.

        Raises: StorageFault, StorageFull.
        """
        if self._thread is None:
            raise StorageFault
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self._waiting.append((step, done))
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._hand_over, loop)
        return await done

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have everything done that was asked for up to now."""
        batch = [one for one in self._waiting if not one[1].done()]
        self._waiting.clear()
        if batch:
            self._jobs.put(partial(self._do_batch, loop, batch))
        else:
            self._is_busy = False
            self._idle.set()

    def _done(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Callable[[_S], Any], asyncio.Future[Any]]],
        outcomes: list[Outcome],
    ) -> None:
        for (_, done), (result, error) in zip(batch, outcomes, strict=True):
            if error is None:
                _give(done, result)
            else:
                _fail(done, error)
        self._hand_over(loop)

    # --- in the thread -------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with suppress(RuntimeError):  # The loop has been closed: nobody waits.
                job()

    def _do_batch(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Callable[[_S], Any], asyncio.Future[Any]]],
    ) -> None:
        try:
            outcomes = self._run([step for step, _ in batch])
        except BaseException:
            # Nobody may wait for ever, whatever it was.
            logger.exception("%s failed", self._name)
            outcomes = [(None, StorageFault()) for _ in batch]
        loop.call_soon_threadsafe(self._done, loop, batch, outcomes)


def _give(done: asyncio.Future[Any], result: object) -> None:
    """Give a request its result, unless it has been cancelled meanwhile."""
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
