"""The file in which events wait (floor 4): SQLite, shared by the processes of a store.

Everything here blocks and belongs to one thread. A row is one event for one receiver (`target`,
its place in the settings). `intent` rows wait for what they tell of to happen, `ready` ones for
their turn, `dead` ones for the operator. Rows of one upload and receiver go out by their `seq`.

A `+` before a column keeps SQLite from an index that would lead through all that waits.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_T = TypeVar("_T")

FORMAT = 1
BUSY_SECONDS = 10.0
"""Seconds for which another process's write is waited for."""
KEEP_DELIVERED = 7 * 86_400.0
"""Seconds for which the ids of delivered events are remembered, so that none goes out twice."""
KEEP_DEAD = 30 * 86_400.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL, target INTEGER NOT NULL,
  upload_id TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
  owner TEXT NOT NULL, made REAL NOT NULL, due REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  fields TEXT NOT NULL, body BLOB NOT NULL,
  UNIQUE (event_id, target)
);
CREATE INDEX IF NOT EXISTS events_of_upload ON events (upload_id, target, seq);
CREATE INDEX IF NOT EXISTS events_due ON events (state, target, due);
CREATE TABLE IF NOT EXISTS delivered (
  event_id TEXT NOT NULL, target INTEGER NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (event_id, target)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stops (upload_id TEXT PRIMARY KEY, decision TEXT NOT NULL);
"""
_COLUMNS = "seq, event_id, target, upload_id, kind, made, attempts, error, fields, body, state, due"
_PROGRESS = "post-receive"
_LAST = ("post-finish", "post-terminate")


class ShelfDamaged(Exception):
    """The file is not what this version writes; says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event for one receiver."""

    seq: int
    event_id: str
    target: int
    upload_id: str
    kind: str
    made: float
    attempts: int
    error: str
    fields: str
    """Headers of the client that go with it, as JSON."""
    body: bytes
    state: str
    due: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event to be kept, for each of the receivers."""

    event_id: str
    upload_id: str
    kind: str
    body: bytes
    fields: str = "[]"


class Shelf:
    """The open file. All methods block; those that write do so inside `batch`."""

    def __init__(self, path: Path, *, targets: int) -> None:
        """Open or make the file. Raises: sqlite3.Error, ShelfDamaged."""
        self._targets = targets
        self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        self._syncs: bool | None = None
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        found = self._one("PRAGMA user_version")
        if found not in {0, FORMAT}:
            raise ShelfDamaged(f"it was written by another version (format {found})")
        if found == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={FORMAT}; END")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def batch(self, steps: Iterable[Callable[[], _T]], *, sync: bool) -> list[_T]:
        """Do steps in one transaction; with `sync` it is on the disk when this returns."""
        if sync is not self._syncs:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._syncs = sync
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = [step() for step in steps]
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return results

    def give_up_on_targets(self, error: str) -> int:
        """Set aside what waits for receivers that the settings no longer name; count it."""
        done = self._db.execute(
            "UPDATE events SET state = 'dead', error = ? WHERE state = 'ready' AND target >= ?",
            (error, self._targets),
        )
        return done.rowcount

    def _one(self, query: str, *values: object) -> int:
        row = self._db.execute(query, values).fetchone()
        return int(row[0])

    # --- what happens

    def put(self, entry: Entry, *, owner: str, now: float) -> None:
        """Keep an event; with an `owner` only as its intent. The same id again is no new one."""
        state = "intent" if owner else "ready"
        if entry.kind in _LAST:
            self._forget_progress(entry.upload_id)
        for target in range(self._targets):
            self._db.execute(
                "INSERT INTO events (event_id, target, upload_id, kind, state, owner, made, due,"
                " fields, body) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"
                " (SELECT 1 FROM delivered WHERE event_id = ? AND target = ?)"
                " ON CONFLICT (event_id, target) DO UPDATE SET owner = excluded.owner,"
                " body = excluded.body, fields = excluded.fields WHERE state = 'intent'",
                (
                    *(entry.event_id, target, entry.upload_id, entry.kind, state, owner),
                    *(now, self._due(entry.upload_id, target, now), entry.fields, entry.body),
                    *(entry.event_id, target),
                ),
            )

    def _due(self, upload_id: str, target: int, now: float) -> float:
        """Give the time of a new event: what it comes after may have been put off."""
        query = (
            "SELECT max(due) FROM events WHERE upload_id = ? AND target = ? AND +state = 'ready'"
        )
        (due,) = self._db.execute(query, (upload_id, target)).fetchone()
        return max(now, due or now)

    def confirm(self, event_id: str, *, now: float) -> None:
        """Let an intended event go out."""
        self._db.execute(
            "UPDATE events SET state = 'ready', owner = '', made = ?, due = ?"
            " WHERE event_id = ? AND +state = 'intent'",
            (now, now, event_id),
        )

    def disown(self, owner: str) -> None:
        """Leave the intents of a process that has gone to whoever looks into the records."""
        self._db.execute("UPDATE events SET owner = '' WHERE owner = ?", (owner,))

    def doubt(self, event_id: str, owner: str) -> None:
        """Leave one intent of a process to whoever looks into the records."""
        query = "UPDATE events SET owner = '' WHERE event_id = ? AND owner = ?"
        self._db.execute(query, (event_id, owner))

    def progress(self, entries: Sequence[Entry], *, now: float) -> dict[str, str]:
        """Keep the newest progress of uploads; give those that are to be stopped, and how."""
        stops: dict[str, str] = {}
        for entry in entries:
            found = self._db.execute(
                "SELECT decision FROM stops WHERE upload_id = ?", (entry.upload_id,)
            ).fetchone()
            if found is not None:
                stops[entry.upload_id] = str(found[0])
            elif not self._is_over(entry.upload_id):
                self._forget_progress(entry.upload_id)
                self.put(entry, owner="", now=now)
        return stops

    def _is_over(self, upload_id: str) -> bool:
        """Tell whether the last event of an upload is here, or was delivered."""
        waits = self._one(
            "SELECT EXISTS (SELECT 1 FROM events WHERE upload_id = ? AND kind IN (?, ?))",
            *(upload_id, *_LAST),
        )
        gone = f"{upload_id}-{_LAST[1]}"
        return bool(
            waits or self._one("SELECT EXISTS (SELECT 1 FROM delivered WHERE event_id = ?)", gone)
        )

    def _forget_progress(self, upload_id: str) -> None:
        self._db.execute(
            "DELETE FROM events WHERE upload_id = ? AND kind = ? AND +state = 'ready'",
            (upload_id, _PROGRESS),
        )

    # --- what goes out

    def heads(self, target: int, now: float, limit: int) -> list[Row]:
        """Give events for a receiver whose turn it is: due, and the first of their upload."""
        return self._rows(
            f"SELECT {_COLUMNS} FROM events e WHERE state = 'ready' AND target = ? AND due <= ?"  # noqa: S608 - constants
            " AND NOT EXISTS (SELECT 1 FROM events p WHERE p.upload_id = e.upload_id"
            " AND p.target = e.target AND p.seq < e.seq AND p.state != 'dead')"
            " ORDER BY due LIMIT ?",
            *(target, now, limit),
        )

    def delivered(self, row: Row, *, now: float) -> None:
        """Note that a receiver has taken an event."""
        self._db.execute("DELETE FROM events WHERE seq = ?", (row.seq,))
        if row.kind != _PROGRESS:
            self._db.execute(
                "INSERT OR IGNORE INTO delivered VALUES (?, ?, ?)", (row.event_id, row.target, now)
            )

    def failed(self, row: Row, error: str, *, due: float | None) -> None:
        """Note that an event was not taken: it is due again, or never (None)."""
        self._db.execute(
            "UPDATE events SET attempts = attempts + 1, error = ?, state = ? WHERE seq = ?",
            (error, "dead" if due is None else "ready", row.seq),
        )
        if due is not None:  # What comes after it waits as long.
            self._db.execute(
                "UPDATE events SET due = ? WHERE upload_id = ? AND target = ? AND +state = 'ready'",
                (due, row.upload_id, row.target),
            )

    def drop(self, row: Row) -> None:
        """Forget an event that need not arrive."""
        self._db.execute("DELETE FROM events WHERE seq = ?", (row.seq,))

    def pull_forward(self, *, now: float, latest: float) -> None:
        """Let go out now what is due after `latest`: the clock has been set back."""
        for target in range(self._targets):
            self._db.execute(
                "UPDATE events SET due = ?, made = min(made, ?)"
                " WHERE state = 'ready' AND target = ? AND due > ?",
                (now, now, target, latest),
            )

    # --- intents without an owner

    def owners(self) -> list[str]:
        """Name the processes that have intents."""
        query = "SELECT DISTINCT owner FROM events WHERE state = 'intent' AND owner != ''"
        return [str(row[0]) for row in self._db.execute(query)]

    def doubtful(self, limit: int) -> list[Row]:
        """Give intended events of which nobody says whether they happened, the last ones first.

        One row an event: what comes later tells whether the earlier happened.
        """
        return self._rows(
            f"SELECT {_COLUMNS} FROM events WHERE state = 'intent' AND owner = ''"  # noqa: S608
            " GROUP BY event_id ORDER BY seq DESC LIMIT ?",
            limit,
        )

    def settle(self, row: Row, *, is_gone: bool, now: float) -> None:
        """Let an intended event go out if it has happened; `is_gone`: there is no upload now."""
        if row.kind == _LAST[1]:
            happened = is_gone
        else:
            # Also what is only intended: nobody removes what was not there.
            query = "SELECT EXISTS (SELECT 1 FROM events WHERE upload_id=? AND seq>? AND kind!=?)"
            later = bool(self._one(query, row.upload_id, row.seq, row.kind))
            happened = later or not is_gone
        # By now it may be intended once more, by a process that will say what came of it.
        query = (
            "SELECT EXISTS (SELECT 1 FROM events"
            " WHERE event_id = ? AND state = 'intent' AND owner = '')"
        )
        if not self._one(query, row.event_id):
            return
        if happened:
            self.confirm(row.event_id, now=now)
        else:
            self._db.execute(
                "DELETE FROM events WHERE event_id = ? AND state = 'intent' AND owner = ''",
                (row.event_id,),
            )

    # --- uploads to be stopped

    def stop(self, upload_id: str, decision: str) -> None:
        """Note that an upload is to be stopped; the first word on it holds."""
        self._db.execute("INSERT OR IGNORE INTO stops VALUES (?, ?)", (upload_id, decision))

    def stops(self, limit: int) -> list[tuple[str, str]]:
        """Give the uploads that are to be stopped, and how their clients are told."""
        query = "SELECT upload_id, decision FROM stops LIMIT ?"
        return [(str(row[0]), str(row[1])) for row in self._db.execute(query, (limit,))]

    def stopped(self, upload_id: str) -> None:
        """Note that nothing is left of an upload that could be stopped."""
        self._db.execute("DELETE FROM stops WHERE upload_id = ?", (upload_id,))

    # --- for the operator

    def listed(self, *, dead: bool, after: int, limit: int) -> list[Row]:
        """Give events that wait, or the dead ones, in the order in which they came."""
        state = "dead" if dead else "ready"
        return self._rows(
            f"SELECT {_COLUMNS} FROM events WHERE (state = ? OR (? = 'ready' AND state = 'intent'))"  # noqa: S608
            " AND seq > ? ORDER BY seq LIMIT ?",
            *(state, state, after, limit),
        )

    def count(self) -> tuple[int, int]:
        """Count what waits, and what is dead."""
        found = dict(self._db.execute("SELECT state, count(*) FROM events GROUP BY state"))
        return sum(found.values()) - found.get("dead", 0), found.get("dead", 0)

    def revive(self, event_id: str | None, *, now: float) -> int:
        """Let dead events go out again, all of them or one; count them."""
        done = self._db.execute(
            "UPDATE events SET state = 'ready', made = ?, due = ?, attempts = 0"
            " WHERE state = 'dead' AND (? IS NULL OR event_id = ?)",
            (now, now, event_id, event_id),
        )
        return done.rowcount

    def tidy(self, *, now: float) -> int:
        """Forget ids of old deliveries, and dead events of long ago; count the latter."""
        self._db.execute("DELETE FROM delivered WHERE at < ?", (now - KEEP_DELIVERED,))
        query = "DELETE FROM events WHERE state = 'dead' AND due < ?"
        return self._db.execute(query, (now - KEEP_DEAD,)).rowcount

    def _rows(self, query: str, *values: object) -> list[Row]:
        return [Row(*row) for row in self._db.execute(query, values)]
