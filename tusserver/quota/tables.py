"""The counts in SQLite tables (floor 4). Everything here blocks and runs in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.quota.ceilings import BURST, STEP
from tusserver.quota.counter import (
    ALL,
    Comparison,
    Filled,
    Limit,
    Refusal,
    Row,
    scopes_of,
)
from tusserver.upload import UploadId

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from tusserver.quota.ceilings import Ceiling, Ceilings
    from tusserver.quota.counter import Claim, Dues, Entry

VERSION = 1
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
CREATE TRIGGER added AFTER INSERT ON uploads BEGIN
  INSERT OR IGNORE INTO sums VALUES ('=' || new.owner, 0, 0, 0);
  UPDATE sums SET stored = stored + new.counted,
    unwritten = unwritten + new.open * (new.counted - new.written), open = open + new.open
    WHERE scope IN ('*', '=' || new.owner);
END;
CREATE TRIGGER changed AFTER UPDATE ON uploads BEGIN
  UPDATE sums SET stored = stored + new.counted - old.counted,
    unwritten = unwritten + new.open * (new.counted - new.written)
      - old.open * (old.counted - old.written),
    open = open + new.open - old.open
    WHERE scope IN ('*', '=' || new.owner);
END;
CREATE TRIGGER dropped AFTER DELETE ON uploads BEGIN
  UPDATE sums SET stored = stored - old.counted,
    unwritten = unwritten - old.open * (old.counted - old.written), open = open - old.open
    WHERE scope IN ('*', '=' || old.owner);
  DELETE FROM sums WHERE scope = '=' || old.owner AND stored = 0 AND unwritten = 0 AND open = 0;
END;
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
PRAGMA user_version = 1;
"""


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
    ) -> None:
        """Count within these limits; `minute` is how long a creation counts, in seconds."""
        self._db = connection
        self._ceilings = ceilings
        self._now = now
        self._wall = wall
        self._minute = minute

    # --- uploads -------------------------------------------------------------------------

    def claim(self, claim: Claim, needed: Filled) -> int | Refusal:
        """Do what `Counter.claim` says."""
        row = self._row(claim.upload_id)
        if claim.creating and row is not None:
            return row[0]
        if not self.filled().serves(needed):
            return Refusal(Limit.UNCOUNTED)
        counted, written, is_open = row or (0, 0, 0)
        rest = is_open * (counted - written)
        written = max(written, claim.written)
        total = counted
        if claim.least > counted:
            total = claim.most
            for scope, ceiling in self._scopes(claim.owner):
                stored, unwritten, _ = self._sums(scope)
                of_owner = scope != ALL
                for limit, kind, room in (
                    (ceiling.stored, Limit.STORED, counted - stored),
                    (ceiling.unwritten, Limit.UNWRITTEN, rest - unwritten + written),
                ):
                    if limit is not None and claim.least > limit + room:
                        return Refusal(kind, of_owner)
                    total = total if limit is None else min(total, limit + room)
        if claim.creating and (refusal := self._create(claim)) is not None:
            return refusal
        self._put(claim.upload_id, claim.owner, max(total, written), written, version=0)
        return total

    def _create(self, claim: Claim) -> Refusal | None:
        now, made = self._now(), []
        for scope, ceiling in self._scopes(claim.owner):
            if ceiling.open is not None and self._sums(scope)[2] >= ceiling.open:
                return Refusal(Limit.OPEN, scope != ALL)
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

    def settle(self, dues: Dues) -> None:
        """Do what `Counter.settle` says."""
        for row in dues.rows.values():
            if row.gone:
                self._drop(row.upload_id)
                continue
            found = self._db.execute(
                "SELECT counted FROM uploads WHERE upload_id = ? AND version <= ?",
                (row.upload_id, row.version),
            ).fetchone()
            if found is not None:
                counted = found[0] if row.length is None else row.length
                self._update(row, max(counted, row.offset))
        self._db.executemany("DELETE FROM appends WHERE token = ?", [(t,) for t in dues.left])
        for owner, count in dues.refunds.items():
            self.draw(owner, -count)

    def _row(self, upload_id: UploadId) -> tuple[int, int, int] | None:
        found: tuple[int, int, int] | None = self._db.execute(
            "SELECT counted, written, open FROM uploads WHERE upload_id = ?", (upload_id,)
        ).fetchone()
        return found

    def _put(
        self, upload_id: UploadId, owner: str, counted: int, written: int, *, version: int
    ) -> None:
        self._db.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT (upload_id) "
            "DO UPDATE SET counted = excluded.counted, written = excluded.written",
            (upload_id, owner, counted, written, version, self._wall()),
        )

    def _update(self, row: Row, counted: int) -> None:
        self._db.execute(
            "UPDATE uploads SET counted = ?, written = ?, open = ?, version = ? "
            "WHERE upload_id = ?",
            (counted, row.offset, int(row.is_open), row.version, row.upload_id),
        )

    def _drop(self, upload_id: UploadId) -> None:
        self._db.execute("DELETE FROM uploads WHERE upload_id = ?", (upload_id,))

    def _sums(self, scope: str) -> tuple[int, int, int]:
        found: tuple[int, int, int] | None = self._db.execute(
            "SELECT stored, unwritten, open FROM sums WHERE scope = ?", (scope,)
        ).fetchone()
        return found or (0, 0, 0)

    def _scopes(self, owner: str) -> Iterable[tuple[str, Ceiling]]:
        return zip(scopes_of(owner), self._ceilings.both, strict=True)

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
        found = self._db.execute("SELECT value FROM facts WHERE name = 'filled'").fetchone()
        return Filled.NO if found is None else Filled(found[0])

    def set_filled(self, filled: Filled) -> None:
        """Do what `Counter.set_filled` says."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES ('filled', ?)", (filled.value,))

    def compare(
        self, rows: Sequence[Row], *, after: UploadId | None, upto: UploadId | None, grace: float
    ) -> Comparison:
        """Do what `Counter.compare` says."""
        stored = {
            found[0]: found[1:]
            for found in self._db.execute(
                "SELECT upload_id, counted, written, open, version, at FROM uploads "
                "WHERE upload_id > ? AND upload_id <= ?",
                (after or "", upto or "g"),  # No id begins with a letter after f.
            )
        }
        added, changed = [], 0
        for row in rows:
            found = stored.pop(row.upload_id, None)
            if found is None:
                least = row.offset if row.length is None else row.length
                self._put(row.upload_id, row.owner, least, row.offset, version=row.version)
                self._update(row, least)
                added.append(row.upload_id)
            elif found[3] <= row.version:
                counted = row.length
                if counted is None:
                    # A running append may be ahead of its record.
                    counted = max(row.offset, min(found[0], row.offset + 2 * STEP))
                if found[:4] != (counted, row.offset, int(row.is_open), row.version):
                    self._update(row, counted)
                    changed += 1
        now = self._wall()
        lost = [name for name, found in stored.items() if abs(now - found[4]) > grace]
        for name in lost:
            self._drop(UploadId(name))
        return Comparison(tuple(added), changed, len(lost))

    def tidy(self) -> None:
        """Do what `Counter.tidy` says."""
        now = self._now()
        self._db.execute("DELETE FROM creations WHERE at > ? OR at < ?", (now, now - self._minute))
        self._db.execute("DELETE FROM buckets WHERE due < ?", (now - 2 * BURST,))
