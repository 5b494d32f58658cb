"""The one thread that reads and writes the events of a process (floor 4).

What is asked for at the same time shares a transaction, and its sync.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from tusserver.errors import StorageFault, StorageFull, TusError
from tusserver.hooks.shelf import Shelf, ShelfDamaged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

BATCH = 256
"""Steps that share a transaction at most."""
WAITING = 2000
"""Steps that wait at the same time; further ones wait for a place."""
AGAIN = 1.0
"""Seconds after which notes that the file did not take are tried again."""
MOST_AGAIN = 10_000
"""Notes that wait for that; what others would have said, the records tell after the next start."""
FULL = 13
"""SQLITE_FULL: the disk, or the quota, is full."""


@dataclass(frozen=True, slots=True)
class _Step:
    work: Callable[[Shelf], object]
    sync: bool
    done: asyncio.Future[Any] | None


class Clerk:
    """Does steps with the shelf, in the order in which they were asked for."""

    def __init__(self, path: Path, *, targets: int, syncs: bool) -> None:
        """Use the file at `path`; without `syncs` nothing is ever synced."""
        self._path = path
        self._targets = targets
        self._syncs = syncs
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._places = asyncio.Semaphore(WAITING)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        # Of the thread:
        self._again: list[_Step] = []
        """Notes that the file did not take."""
        self._tried_at = 0.0
        self._works = True
        """Whether the file took what was last asked for."""

    async def open(self) -> None:
        """Open the file and begin. Raises: StorageFault, StorageFull."""
        loop = self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="outbox", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:
            self._thread = None
            raise

    async def close(self) -> None:
        """Do what was asked for, then close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._steps.put(None)
            await asyncio.to_thread(thread.join)

    async def do(self, work: Callable[[Shelf], _T], *, sync: bool = False) -> _T:
        """Do a step; with `sync` it is on the disk when this returns.

        It is done also when this is cancelled. Raises: StorageFull, StorageFault.
        """
        if self._loop is None or self._thread is None:
            raise StorageFault
        async with self._places:
            done: asyncio.Future[_T] = self._loop.create_future()
            self._steps.put(_Step(work, sync and self._syncs, done))
            return await done

    def note(self, work: Callable[[Shelf], object]) -> None:
        """Do a step some time soon, after all that was asked for before.

        What the file does not take is tried again: so it must be right, too, after later steps.
        """
        self._steps.put(_Step(work, sync=False, done=None))

    # --- in the thread

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            shelf = Shelf(self._path, targets=self._targets)
        except (sqlite3.Error, ShelfDamaged) as error:
            self._tell(opened, error=self._explain(error))
            return
        self._tell(opened)
        try:
            while self._do_batch(shelf, taken := self._next()):
                if self._works or not taken:
                    self._make_up(shelf)
        finally:
            shelf.close()

    def _next(self) -> list[_Step | None]:
        steps: list[_Step | None] = []
        with suppress(Empty):
            steps.append(self._steps.get(timeout=AGAIN if self._again else None))
        while steps and len(steps) < BATCH and steps[-1] is not None:
            try:
                steps.append(self._steps.get_nowait())
            except Empty:
                break
        return steps

    def _do_batch(self, shelf: Shelf, taken: list[_Step | None]) -> bool:
        """Do steps together, or one by one if one of them is at fault; tell whether to go on."""
        steps = [step for step in taken if step is not None]
        try:
            self._do(shelf, steps)
            self._works = bool(steps)
        except Exception as error:  # noqa: BLE001 - it is for whoever waits for the step
            if len(steps) == 1 or _is_busy(error):
                # Nobody would get further alone, and each would wait as long as all did.
                self._fail(steps, error)
            else:
                for step in steps:
                    self._do_batch(shelf, [step])
        return None not in taken

    def _make_up(self, shelf: Shelf) -> None:
        """Make the notes that the file did not take, apart: who asks must not wait for them."""
        if not self._again or time.monotonic() - self._tried_at < AGAIN:
            return
        try:
            shelf.batch([partial(step.work, shelf) for step in self._again], sync=False)
            self._again.clear()
        except sqlite3.Error as error:
            # What was wrong was logged when they were noted.
            logger.debug("notes wait: %s", error)
        self._tried_at = time.monotonic()

    def _do(self, shelf: Shelf, steps: list[_Step]) -> None:
        works = [partial(step.work, shelf) for step in steps]
        results = shelf.batch(works, sync=any(step.sync for step in steps)) if works else []
        told = [
            (step.done, result)
            for step, result in zip(steps, results, strict=True)
            if step.done is not None
        ]
        if told and self._loop is not None:
            # Once for all of them: each way to the loop wakes it up.
            self._loop.call_soon_threadsafe(_settle_all, told)

    def _fail(self, steps: list[_Step], error: Exception) -> None:
        explained = self._explain(error)
        if isinstance(error, sqlite3.Error):
            self._works, self._tried_at = False, time.monotonic()
            notes = [step for step in steps if step.done is None]
            self._again += notes[: MOST_AGAIN - len(self._again)]
        for step in steps:
            self._tell(step.done, error=type(explained)())

    def _explain(self, error: Exception) -> TusError:
        """Give our error for SQLite's, and log what to do about it."""
        if isinstance(error, sqlite3.Error):
            if error.sqlite_errorcode == FULL:
                logger.warning("no space for events in %s: free some", self._path)
                return StorageFull()
            name = error.sqlite_errorname
            remedy = "check the disk and who may write there; move the file away if it is damaged"
            logger.error(
                "events cannot be kept in %s (%s: %s): %s", self._path, name, error, remedy
            )
        else:
            logger.error("events cannot be kept in %s", self._path, exc_info=error)
        return StorageFault()

    def _tell(
        self,
        done: asyncio.Future[Any] | None,
        result: object = None,
        *,
        error: TusError | None = None,
    ) -> None:
        if done is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(_settle, done, result, error)


def _is_busy(error: Exception) -> bool:
    """Tell whether another process held the file for too long."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _settle_all(told: list[tuple[asyncio.Future[Any], object]]) -> None:
    for done, result in told:
        _settle(done, result, None)


def _settle(done: asyncio.Future[Any], result: object, error: TusError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
