"""Counting in an SQLite database in the upload directory (floor 4; sqlite.org, "WAL").

One thread of its own. What the loop asks for while a transaction runs goes into the next one, so
that many requests cost one. Nothing is synced: all of it can be counted anew. A database that
is damaged or deleted is made anew under another name, so that no process can mix the two up.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tusserver.errors import StorageFault, StorageFull
from tusserver.quota.ceilings import MINUTE
from tusserver.quota.tables import SCHEMA, VERSION, Tables
from tusserver.quota.workers import Workers, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tusserver.quota.ceilings import Ceilings
    from tusserver.quota.counter import Claim, Comparison, Dues, Entry, Filled, Refusal, Row
    from tusserver.upload import UploadId

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

BUSY_SECONDS = 5.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteCounter:
    """A `Counter` for the processes of one machine."""

    beats = False

    def __init__(
        self,
        folder: Path,
        ceilings: Ceilings,
        *,
        minute: float = MINUTE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count in `folder`; its parent is there when this is opened."""
        self._folder = folder
        self._ceilings = ceilings
        self._minute = minute
        self._now = now
        self._workers = Workers(folder / "workers")
        self._path: Path | None = None
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._steps: list[tuple[Callable[[Tables], Any], asyncio.Future[Any]]] = []
        self._running: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Make or find the database. Raises: StorageFault, StorageFull."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="counts")
        await self._on_thread(self._open)

    async def close(self) -> None:
        """Drop the appends of this process, and let go."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        while self._running is not None:
            await asyncio.wait([self._running])
            await asyncio.sleep(0)
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
        except (sqlite3.Error, OSError, StorageFault, StorageFull) as exc:
            # All of it can be counted anew: nothing else of the end may wait for it.
            logger.warning("%s: could not be left in order: %s", self._folder, exc)
        finally:
            await asyncio.to_thread(thread.shutdown)

    # --- Counter -------------------------------------------------------------------------

    async def claim(self, claim: Claim, dues: Dues, needed: Filled) -> int | Refusal:
        """Count a claim; see `Counter.claim`."""

        def step(tables: Tables) -> int | Refusal:
            tables.settle(dues)
            return tables.claim(claim, needed)

        return await self._do(step)

    async def enter(self, entry: Entry, dues: Dues) -> Refusal | None:
        """Count a running append; see `Counter.enter`."""

        def step(tables: Tables) -> Refusal | None:
            tables.settle(dues)
            return tables.enter(entry, self._workers.name, self._workers.is_alive)

        return await self._do(step)

    async def settle(self, dues: Dues) -> None:
        """Count what is due."""
        await self._do(lambda tables: tables.settle(dues))

    async def draw(self, owner: str, count: int) -> float:
        """Take bytes of bandwidth; see `Counter.draw`."""
        return await self._do(lambda tables: tables.draw(owner, count))

    async def beat(self, entries: Sequence[Entry]) -> None:
        """Do nothing: the kernel knows which processes live."""

    async def filled(self) -> Filled:
        """Tell how completely the records were counted."""
        return await self._do(lambda tables: tables.filled())

    async def set_filled(self, filled: Filled) -> None:
        """Say how completely they were."""
        await self._do(lambda tables: tables.set_filled(filled))

    async def compare(
        self, rows: Sequence[Row], *, after: UploadId | None, upto: UploadId | None, grace: float
    ) -> Comparison:
        """Put a range of ids right; see `Counter.compare`."""
        return await self._do(lambda t: t.compare(rows, after=after, upto=upto, grace=grace))

    async def tidy(self) -> None:
        """Forget what no longer matters."""
        await self._do(lambda tables: tables.tidy())

    # --- the queue -----------------------------------------------------------------------

    async def _do(self, step: Callable[[Tables], _T]) -> _T:
        """Run a step in the next transaction. Raises: StorageFault, StorageFull."""
        if self._thread is None:
            raise StorageFault
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self._steps.append((step, done))
        if self._running is None:
            self._running = loop.create_future()
            loop.call_soon(self._start)
        return await done

    def _start(self) -> None:
        """Have everything that was asked for up to now done in one transaction."""
        steps, self._steps = self._steps, []
        running, thread = self._running, self._thread
        if not steps or thread is None:
            self._running = None
            for _, done in steps:
                _settle(done, None, StorageFault())
            if running is not None:
                running.set_result(None)
            return
        loop = asyncio.get_running_loop()
        batch = loop.run_in_executor(thread, self._run, [step for step, _ in steps])
        batch.add_done_callback(partial(self._done, [done for _, done in steps]))

    def _done(self, waiting: list[asyncio.Future[Any]], batch: asyncio.Future[list[Any]]) -> None:
        error = batch.exception()
        if error is not None and not isinstance(error, StorageFault | StorageFull):
            logger.error("counting uploads failed", exc_info=error)
            error = StorageFault()
        results = [None] * len(waiting) if error is not None else batch.result()
        for done, result in zip(waiting, results, strict=True):
            _settle(done, result, error)
        self._start()

    async def _on_thread(self, call: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except (sqlite3.Error, OSError) as exc:
            raise self._fault(exc) from exc

    # --- in the thread -------------------------------------------------------------------

    def _run(self, steps: list[Callable[[Tables], Any]]) -> list[Any]:
        """Run steps in one transaction, on a database made anew if need be."""
        try:
            self._follow()
            try:
                return self._transact(steps)
            except sqlite3.DatabaseError as exc:
                if not _is_damaged(exc):
                    raise
                self._make_anew(exc)
                return self._transact(steps)
        except (sqlite3.Error, OSError) as exc:
            raise self._fault(exc) from exc

    def _transact(self, steps: list[Callable[[Tables], Any]]) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise StorageFault
        tables = self._tables(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [step(tables) for step in steps]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    def _tables(self, connection: sqlite3.Connection) -> Tables:
        return Tables(
            connection, self._ceilings, now=self._now, wall=time.time, minute=self._minute
        )

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # Together with the look at who lives: a process that starts now is alone or is not.
        lock = self._lock()
        try:
            others = any(map(self._workers.is_alive, self._names()))
            self._workers.appear()
            self._connect()
        finally:
            os.close(lock)
        if not others:
            self._run([lambda tables: tables.start_afresh()])

    def _names(self) -> list[str]:
        try:
            return [path.name for path in (self._folder / "workers").iterdir()]
        except FileNotFoundError:
            return []

    def _lock(self) -> int:
        lock = take_lock(self._folder / "lock", wait=True)
        assert lock is not None  # noqa: S101 - it was waited for
        return lock

    def _connect(self) -> None:
        """Open the one database that is there, or make one. Under the lock."""
        for path in sorted(self._folder.glob("*.db")):
            self._path = path
            try:
                self._connection = self._open_database(path)
                found = self._connection.execute("PRAGMA user_version").fetchone()[0]
                if found == VERSION:
                    return
            except sqlite3.DatabaseError as exc:
                if not _is_damaged(exc):
                    raise
                logger.warning("%s: is damaged: all uploads are counted anew", path)
            self._throw_away(path)
        self._path = self._folder / f"{secrets.token_hex(4)}.db"
        self._connection = self._open_database(self._path)
        self._connection.executescript(f"BEGIN;{SCHEMA}COMMIT;")

    def _open_database(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _follow(self) -> None:
        """Go to the database that another process made in the place of a damaged one."""
        if self._path is not None and self._path.exists():
            return
        if self._path is None:
            raise StorageFault
        logger.warning("%s: is gone: all uploads are counted anew", self._path)
        self._disconnect()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = self._lock()
        try:
            self._connect()
        finally:
            os.close(lock)

    def _make_anew(self, error: sqlite3.Error) -> None:
        logger.warning("%s: is damaged (%s): all uploads are counted anew", self._path, error)
        lock = self._lock()
        try:
            if self._path is not None:
                self._throw_away(self._path)
            self._connect()
        finally:
            os.close(lock)

    def _throw_away(self, path: Path) -> None:
        self._disconnect()
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _close(self) -> None:
        try:
            if self._connection is not None:
                self._run([lambda tables: tables.leave_all(self._workers.name)])
        finally:
            self._disconnect()
            self._workers.vanish()

    def _fault(self, exc: Exception) -> StorageFault | StorageFull:
        if _is_full(exc):
            logger.warning("%s: no space to count uploads: free some space", self._folder)
            return StorageFull()
        logger.error(
            "%s: uploads could not be counted: %s; look at the disk and at who may write there, or "
            "switch all limits off (--max-open none)",
            self._folder,
            exc,
        )
        return StorageFault()


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _is_damaged(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _settle(done: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Give a waiting request its result, unless it has been cancelled meanwhile."""
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
