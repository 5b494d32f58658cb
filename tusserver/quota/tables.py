"""The counts in SQLite tables (floor 4). Everything here blocks and runs in one transaction.

The sums are kept here and not by triggers: a transaction of many steps then writes them once.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tusserver.quota.ceilings import BURST, STEP
from tusserver.quota.counter import (
    ALL,
    ROOM,
    Comparison,
    Filled,
    Holding,
    Limit,
    Refusal,
    Row,
    scopes_of,
)
from tusserver.quota.held import Held
from tusserver.quota.sums import Sums
from tusserver.upload import UploadId

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tusserver.quota.ceilings import Ceiling, Ceilings
    from tusserver.quota.counter import Claim, Dues, Entry

VERSION = 3
"""Of the tables: others are thrown away and counted anew."""

SCHEMA = """
CREATE TABLE uploads (
  upload_id TEXT PRIMARY KEY, owner TEXT NOT NULL, counted INTEGER NOT NULL,
  written INTEGER NOT NULL, open INTEGER NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE sums (
  scope TEXT PRIMARY KEY, stored INTEGER NOT NULL, unwritten INTEGER NOT NULL,
  open INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO sums VALUES ('*', 0, 0, 0);
CREATE TABLE creations (
  scope TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (scope, number)
) WITHOUT ROWID;
CREATE TABLE appends (
  token TEXT PRIMARY KEY, worker TEXT NOT NULL, owner TEXT NOT NULL, upload_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX appends_of_owners ON appends (owner, upload_id);
CREATE INDEX appends_of_uploads ON appends (upload_id);
CREATE TABLE buckets (scope TEXT PRIMARY KEY, due REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE held (
  worker TEXT PRIMARY KEY, places INTEGER NOT NULL, dead REAL
) WITHOUT ROWID;
PRAGMA user_version = 3;
"""


class _Counted(NamedTuple):
    """How an upload counts, as its row has it."""

    owner: str
    counted: int
    written: int
    open: int = 1
    version: int = 0

    @property
    def unwritten(self) -> int:
        """Give the bytes that it lacks, if it may still get any."""
        return self.open * (self.counted - self.written)


def _counted(row: Row, owner: str, counted: int) -> _Counted:
    """Count an upload for so many bytes, or for what it holds if that is more."""
    return _Counted(owner, max(counted, row.offset), row.offset, int(row.is_open), row.version)


class Tables:
    """What is counted, through one connection; `now` and `wall` give monotonic and wall time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        ceilings: Ceilings,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        minute: float,
        worker: str,
        is_alive: Callable[[str], bool],
    ) -> None:
        """Count within these limits; `minute` is how long a creation counts, in seconds.

        `worker` names this process; `is_alive` tells whether another one lives.
        """
        self._db = connection
        self._sums = Sums(connection)
        self.held = Held(connection, self._sums, worker=worker, is_alive=is_alive, now=now)
        """The places that processes hold."""
        self._filled: Filled | None = None
        self._ceilings = ceilings
        self._is_of_bytes = ceilings.bytes
        self._is_of_numbers = ceilings.all.open is not None and not (
            ceilings.bytes or ceilings.owner.open is not None
        )
        self.room_at = -math.inf
        """When so much was free that nobody could be refused for what had ended just then."""
        self._now = now
        self._wall = wall
        self._minute = minute

    # --- transactions --------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction; nobody else writes until its end."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction, and keep what was done in it."""
        self._sums.write()
        # An owner's limits may be small, and one upload as large as what is left in bytes.
        if self._is_of_numbers and self._sums.of(ALL).open + ROOM <= (self._ceilings.all.open or 0):
            self.room_at = self._now()
        self._db.execute("COMMIT")
        self._forget()

    def roll_back(self) -> None:
        """End the transaction as if there had been none."""
        self._forget()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def part(self) -> Iterator[None]:
        """Undo what is done in here, and nothing else of the transaction, if it raises."""
        self._db.execute("SAVEPOINT part")
        try:
            yield
            self._sums.write()
        except BaseException:
            self._forget()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO part")
            raise
        finally:
            if self._db.in_transaction:
                self._db.execute("RELEASE part")

    def _forget(self) -> None:
        self._sums.forget()
        self._filled = None

    # --- uploads -------------------------------------------------------------------------

    def claim(self, claim: Claim, needed: Filled) -> int | Refusal:
        """Do what `Counter.claim` says."""
        row = self._row(claim.upload_id)
        if claim.creating and row is not None:
            return row.counted
        if needed is not Filled.NO and not self.filled().serves(needed):
            return Refusal(Limit.UNCOUNTED)
        total = 0 if row is None else row.counted
        written = claim.written if row is None else max(row.written, claim.written)
        if claim.least > total:
            fits = self._fit(claim, row, written) if self._is_of_bytes else claim.most
            if isinstance(fits, Refusal):
                return fits
            total = fits
        if claim.creating and (refusal := self._create(claim)) is not None:
            return refusal
        counted = max(total, written)
        if row is None:
            self._insert(claim.upload_id, _Counted(claim.owner, counted, written))
        else:
            self._update(claim.upload_id, row, row._replace(counted=counted, written=written))
        return total

    def _fit(self, claim: Claim, row: _Counted | None, written: int) -> int | Refusal:
        """Give for how many bytes an upload may count now."""
        total = claim.most
        counted, rest = (0, 0) if row is None else (row.counted, row.unwritten)
        for scope, ceiling in self._scopes(claim.owner):
            if ceiling.stored is None and ceiling.unwritten is None:
                continue
            sums = self._sums.of(scope)
            for limit, kind, room in (
                (ceiling.stored, Limit.STORED, counted - sums.stored),
                (ceiling.unwritten, Limit.UNWRITTEN, rest - sums.unwritten + written),
            ):
                if limit is None:
                    continue
                if claim.least > limit + room:
                    return Refusal(kind, scope != ALL)
                total = min(total, limit + room)
        return total

    def _create(self, claim: Claim) -> Refusal | None:
        now, made = self._now(), []
        for scope, ceiling in self._scopes(claim.owner):
            if ceiling.open is not None and self._sums.of(scope).open >= ceiling.open:
                is_held = scope == ALL and self.held.is_elsewhere()
                return Refusal(Limit.OPEN, scope != ALL, is_held=is_held)
        for scope, ceiling in self._scopes(claim.owner):
            if ceiling.creations is None:
                continue
            last = self._one("SELECT max(number) FROM creations WHERE scope = ?", scope) or 0
            oldest = self._one(
                "SELECT at FROM creations WHERE scope = ? AND number = ?",
                scope,
                last - ceiling.creations + 1,
            )
            # One from the future is from before the machine was started anew.
            if oldest is not None and 0 <= now - oldest < self._minute:
                return Refusal(Limit.CREATIONS, scope != ALL, oldest + self._minute - now)
            made.append((scope, last + 1, ceiling.creations))
        for scope, number, limit in made:
            self._db.execute("INSERT INTO creations VALUES (?, ?, ?)", (scope, number, now))
            self._db.execute(
                "DELETE FROM creations WHERE scope = ? AND number <= ?", (scope, number - limit)
            )
        return None

    def hold(self, made: Mapping[UploadId, Row], places: int) -> Holding:
        """Do what `Counter.hold` says of uploads and places."""
        for row in made.values():
            if self._row(row.upload_id) is None:
                self._insert(row.upload_id, _counted(row, row.owner, row.length or 0))
        before = self.held.here()
        left = max(0, before - len(made))
        most = (self._ceilings.number or 0) - ROOM
        is_ample = self._sums.of(ALL).open - before + places <= most
        if not is_ample:
            places = min(places, left)
        self.held.set(places, before=before)
        return Holding(places, is_ample)

    def settle(self, dues: Dues) -> None:
        """Do what `Counter.settle` says."""
        for row in dues.rows.values():
            found = self._row(row.upload_id)
            if found is None:
                if row.gone and row.is_new and self.held.is_any():
                    # Whoever made it has yet to tell: that it is over must be known by then.
                    self._insert(row.upload_id, _Counted(row.owner, 0, 0, 0, row.version))
            elif row.gone:
                self._drop(row.upload_id, found)
            elif found.version <= row.version:
                length = found.counted if row.length is None else row.length
                self._update(row.upload_id, found, _counted(row, found.owner, length))
        if dues.left:
            self._db.executemany("DELETE FROM appends WHERE token = ?", [(t,) for t in dues.left])
        for owner, count in dues.refunds.items():
            self.draw(owner, -count)

    def _row(self, upload_id: UploadId) -> _Counted | None:
        found = self._db.execute(
            "SELECT owner, counted, written, open, version FROM uploads WHERE upload_id = ?",
            (upload_id,),
        ).fetchone()
        return None if found is None else _Counted._make(found)

    def _insert(self, upload_id: UploadId, new: _Counted) -> None:
        self._db.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?)",
            (upload_id, *new, self._wall()),
        )
        self._sums.add(new.owner, new.counted, new.unwritten, new.open)

    def _update(self, upload_id: UploadId, old: _Counted, new: _Counted) -> None:
        if new == old:
            return
        self._db.execute(
            "UPDATE uploads SET counted = ?, written = ?, open = ?, version = ? "
            "WHERE upload_id = ?",
            (*new[1:], upload_id),
        )
        self._sums.add(
            old.owner,
            new.counted - old.counted,
            new.unwritten - old.unwritten,
            new.open - old.open,
        )

    def _drop(self, upload_id: UploadId, old: _Counted) -> None:
        self._db.execute("DELETE FROM uploads WHERE upload_id = ?", (upload_id,))
        self._sums.add(old.owner, -old.counted, -old.unwritten, -old.open)

    def _scopes(self, owner: str) -> tuple[tuple[str, Ceiling], tuple[str, Ceiling]]:
        (own, every), ceilings = scopes_of(owner), self._ceilings
        return ((own, ceilings.owner), (every, ceilings.all))

    def _one(self, query: str, *arguments: object) -> float | None:
        found = self._db.execute(query, arguments).fetchone()
        return None if found is None else found[0]

    # --- appends -------------------------------------------------------------------------

    def enter(self, entry: Entry, worker: str, is_alive: Callable[[str], bool]) -> Refusal | None:
        """Do what `Counter.enter` says."""
        refusal = self._full(entry)
        if refusal is not None and self.drop_dead(is_alive):
            refusal = self._full(entry)
        if refusal is None:
            self._db.execute(
                "INSERT OR REPLACE INTO appends VALUES (?, ?, ?, ?)",
                (entry.token, worker, entry.owner, entry.upload_id),
            )
        return refusal

    def _full(self, entry: Entry) -> Refusal | None:
        same = "SELECT 1 FROM appends WHERE upload_id = ? AND owner = ? LIMIT 1"
        if self._one(same, entry.upload_id, entry.owner) is not None:
            return None
        counts = "SELECT count(DISTINCT upload_id) FROM appends"
        owner, everybody = self._ceilings.both
        if owner.appends is not None:
            count = self._one(counts + " WHERE owner = ?", entry.owner)
            if (count or 0) >= owner.appends:
                return Refusal(Limit.APPENDS, of_owner=True)
        if everybody.appends is not None and (self._one(counts) or 0) >= everybody.appends:
            return Refusal(Limit.APPENDS)
        return None

    def drop_dead(self, is_alive: Callable[[str], bool]) -> bool:
        """Drop the appends of processes that are no more; tell whether there were any."""
        workers = [name for (name,) in self._db.execute("SELECT DISTINCT worker FROM appends")]
        dead = [name for name in workers if not is_alive(name)]
        self._db.executemany("DELETE FROM appends WHERE worker = ?", [(name,) for name in dead])
        return bool(dead)

    def leave_all(self, worker: str) -> None:
        """Drop the appends of one process."""
        self._db.execute("DELETE FROM appends WHERE worker = ?", (worker,))

    # --- bandwidth -----------------------------------------------------------------------

    def draw(self, owner: str, count: int) -> float:
        """Do what `Counter.draw` says: each scope has a time at which all it took is paid."""
        now, wait = self._now(), 0.0
        for scope, ceiling in self._scopes(owner):
            if ceiling.bandwidth is None:
                continue
            due = self._one("SELECT due FROM buckets WHERE scope = ?", scope) or 0.0
            due = max(due, now - BURST) + count / ceiling.bandwidth
            self._db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?)", (scope, due))
            wait = max(wait, due - now)
        return wait

    def start_afresh(self) -> None:
        """Forget what only held while other processes ran, when there are none."""
        self._db.execute("DELETE FROM appends")
        self._db.execute("DELETE FROM buckets")

    # --- counting anew -------------------------------------------------------------------

    def filled(self) -> Filled:
        """Do what `Counter.filled` says."""
        if self._filled is None:
            found = self._db.execute("SELECT value FROM facts WHERE name = 'filled'").fetchone()
            self._filled = Filled.NO if found is None else Filled(found[0])
        return self._filled

    def set_filled(self, filled: Filled) -> None:
        """Do what `Counter.set_filled` says."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES ('filled', ?)", (filled.value,))
        self._filled = filled

    def was_told(self) -> bool:
        """Tell whether `set_filled` was called since the database was made."""
        return bool(self._db.execute("SELECT 1 FROM facts WHERE name = 'filled'").fetchone())

    def compare(
        self, rows: Sequence[Row], *, after: UploadId | None, upto: UploadId | None, grace: float
    ) -> Comparison:
        """Do what `Counter.compare` says."""
        stored = {
            found[0]: (_Counted._make(found[1:-1]), found[-1])
            for found in self._db.execute(
                "SELECT upload_id, owner, counted, written, open, version, at FROM uploads "
                "WHERE upload_id > ? AND upload_id <= ?",
                (after or "", upto or "g"),  # No id begins with a letter after f.
            )
        }
        added, changed = [], 0
        for row in rows:
            found, _ = stored.pop(row.upload_id, (None, 0.0))
            if found is None and row.is_new and self.held.is_any():
                continue  # Whoever made it tells in a moment, or has died: then it is a ghost's.
            if found is None:
                least = row.offset if row.length is None else row.length
                self._insert(row.upload_id, _counted(row, row.owner, least))
                added.append(row.upload_id)
            elif found.version <= row.version:
                counted = row.length
                if counted is None:
                    # A running append may be ahead of its record.
                    counted = max(row.offset, min(found.counted, row.offset + 2 * STEP))
                new = _counted(row, found.owner, counted)
                self._update(row.upload_id, found, new)
                changed += new != found
        now = self._wall()
        lost = {name: old for name, (old, at) in stored.items() if abs(now - at) > grace}
        for name, old in lost.items():
            self._drop(UploadId(name), old)
        # A row that counts nothing has only said that an upload is over.
        dropped = sum(bool(old.open or old.counted) for old in lost.values())
        return Comparison(tuple(added), changed, dropped)

    def tidy(self) -> None:
        """Do what `Counter.tidy` says."""
        now = self._now()
        self._db.execute("DELETE FROM creations WHERE at > ? OR at < ?", (now, now - self._minute))
        self._db.execute("DELETE FROM buckets WHERE due < ?", (now - 2 * BURST,))
