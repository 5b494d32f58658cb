"""Counting in an SQLite database in the upload directory (floor 4; sqlite.org, "WAL").

One thread of its own. What many requests ask for shares one transaction; what one of them cannot
have done is left out of it, and the others do not notice. Nothing is synced: all of it can be
counted anew. A database that is damaged or deleted is made anew under another name, so that no
process can mix the two up.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from tusserver.errors import StorageFault, StorageFull
from tusserver.quota.batches import Batches
from tusserver.quota.ceilings import MINUTE
from tusserver.quota.tables import SCHEMA, VERSION, Tables
from tusserver.quota.workers import Workers, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tusserver.errors import TusError
    from tusserver.quota.batches import Outcome
    from tusserver.quota.ceilings import Ceilings
    from tusserver.quota.counter import (
        Claim,
        Comparison,
        Dues,
        Entry,
        Filled,
        Holding,
        Refusal,
        Row,
    )
    from tusserver.upload import UploadId

    Step = Callable[[Tables], Any]

logger = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
PATIENCE = 0.02
"""Seconds for which the others may not know of what has ended, while there is much room."""
ROOM_SECONDS = 0.1
"""How long what was seen to be free is believed to be: others make uploads too."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteCounter:
    """A `Counter` for the processes of one machine."""

    beats = False
    holds = True
    lapse = math.inf

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
        self._tables: Tables | None = None
        self._batches: Batches[Tables] = Batches(self._run, name="counts")

    @property
    def patience(self) -> float:
        """Give how long news of uploads may wait: not at all unless limits were far just now."""
        tables = self._tables
        if tables is None or self._now() - tables.room_at > ROOM_SECONDS:
            return 0.0
        return PATIENCE

    async def open(self) -> None:
        """Make or find the database. Raises: StorageFault, StorageFull."""
        self._batches.start()
        try:
            await self._batches.call(self._open)
        except (sqlite3.Error, OSError) as exc:
            raise self._fault(exc) from exc

    async def close(self) -> None:
        """Drop the appends of this process, and let go."""
        try:
            await self._batches.stop(self._close)
        except (sqlite3.Error, OSError, StorageFault, StorageFull) as exc:
            # All of it can be counted anew: nothing else of the end may wait for it.
            logger.warning("%s: could not be left in order: %s", self._folder, exc)

    # --- Counter -------------------------------------------------------------------------

    async def claim(self, claim: Claim, dues: Dues, needed: Filled) -> int | Refusal:
        """Count a claim; see `Counter.claim`."""

        def step(tables: Tables) -> int | Refusal:
            tables.settle(dues)
            return tables.claim(claim, needed)

        return await self._batches.do(step)

    async def enter(self, entry: Entry, dues: Dues) -> Refusal | None:
        """Count a running append; see `Counter.enter`."""

        def step(tables: Tables) -> Refusal | None:
            tables.settle(dues)
            return tables.enter(entry, self._workers.name, self._workers.is_alive)

        return await self._batches.do(step)

    async def settle(self, dues: Dues) -> None:
        """Count what is due."""
        await self._batches.do(lambda tables: tables.settle(dues))

    async def hold(self, dues: Dues, made: Mapping[UploadId, Row], places: int) -> Holding:
        """Count uploads that were made in held places; see `Counter.hold`."""

        def step(tables: Tables) -> Holding:
            tables.settle(dues)
            return tables.hold(made, places)

        return await self._batches.do(step)

    async def ghosts(self) -> tuple[str, ...]:
        """Name processes that died holding places; see `Counter.ghosts`."""
        return await self._batches.do(lambda tables: tables.held.ghosts())

    async def bury(self, ghosts: Sequence[str]) -> None:
        """Give their places back."""
        await self._batches.do(lambda tables: tables.held.bury(ghosts))

    async def draw(self, owner: str, count: int) -> float:
        """Take bytes of bandwidth; see `Counter.draw`."""
        return await self._batches.do(lambda tables: tables.draw(owner, count))

    async def beat(self, entries: Sequence[Entry]) -> None:
        """Do nothing: the kernel knows which processes live."""

    async def filled(self) -> Filled:
        """Tell how completely the records were counted."""
        return await self._batches.do(lambda tables: tables.filled())

    async def set_filled(self, filled: Filled) -> None:
        """Say how completely they were."""
        await self._batches.do(lambda tables: tables.set_filled(filled))

    async def confirm_filled(self, filled: Filled) -> bool:
        """Say so, unless all was lost; see `Counter.confirm_filled`."""

        def confirm(tables: Tables) -> bool:
            told = tables.was_told()
            if told:
                tables.set_filled(filled)
            return told

        return await self._batches.do(confirm)

    async def compare(
        self, rows: Sequence[Row], *, after: UploadId | None, upto: UploadId | None, grace: float
    ) -> Comparison:
        """Put a range of ids right; see `Counter.compare`."""
        return await self._batches.do(
            lambda t: t.compare(rows, after=after, upto=upto, grace=grace)
        )

    async def tidy(self) -> None:
        """Forget what no longer matters."""
        await self._batches.do(lambda tables: tables.tidy())

    # --- in the thread -------------------------------------------------------------------

    def _run(self, steps: list[Step]) -> list[Outcome]:
        """Run steps in one transaction, on a database made anew if need be."""
        error: TusError
        try:
            return self._run_somewhere(steps)
        except (StorageFault, StorageFull) as exc:
            error = exc
        except (sqlite3.Error, OSError) as exc:
            error = self._fault(exc)
        return [(None, type(error)()) for _ in steps]

    def _run_somewhere(self, steps: list[Step]) -> list[Outcome]:
        self._follow()
        try:
            return self._transact(steps)
        except sqlite3.DatabaseError as exc:
            if not _is_damaged(exc):
                raise
            self._make_anew(exc)
            return self._transact(steps)

    def _transact(self, steps: list[Step]) -> list[Outcome]:
        tables = self._tables
        if tables is None:
            raise StorageFault
        try:
            tables.begin()
            outcomes: list[Outcome] = [(step(tables), None) for step in steps]
            tables.commit()
        except BaseException as exc:
            tables.roll_back()
            if not _is_of_one(exc):
                raise
            return self._transact_apart(tables, steps)
        return outcomes

    def _transact_apart(self, tables: Tables, steps: list[Step]) -> list[Outcome]:
        """Run steps in one transaction again, without those that fail."""
        outcomes: list[Outcome] = []
        try:
            tables.begin()
            for step in steps:
                try:
                    with tables.part():
                        outcomes.append((step(tables), None))
                except Exception as exc:
                    if not _is_of_one(exc):
                        raise
                    logger.exception("an upload could not be counted")
                    outcomes.append((None, StorageFault()))
            tables.commit()
        except BaseException:
            tables.roll_back()
            raise
        return outcomes

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
            self._run_somewhere([Tables.start_afresh])

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
                connection = self._open_database(path)
                if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                    return
            except sqlite3.DatabaseError as exc:
                if not _is_damaged(exc):
                    raise
                logger.warning("%s: is damaged: all uploads are counted anew", path)
            self._throw_away(path)
        self._path = self._folder / f"{secrets.token_hex(4)}.db"
        self._open_database(self._path).executescript(f"BEGIN;{SCHEMA}COMMIT;")

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
        self._connection = connection
        self._tables = Tables(
            connection,
            self._ceilings,
            now=self._now,
            wall=time.time,
            minute=self._minute,
            worker=self._workers.name,
            is_alive=self._workers.is_alive,
        )
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
        connection, self._connection, self._tables = self._connection, None, None
        if connection is not None:
            connection.close()

    def _close(self) -> None:
        try:
            if self._connection is not None:
                self._run_somewhere([lambda tables: tables.leave_all(self._workers.name)])
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


def _is_of_one(error: BaseException) -> bool:
    """Tell whether an error is of what one request asked for; else it would meet all of them."""
    if isinstance(error, sqlite3.OperationalError | OSError | StorageFault | StorageFull):
        return False
    return isinstance(error, Exception) and not (
        isinstance(error, sqlite3.Error) and _is_damaged(error)
    )
