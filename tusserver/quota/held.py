"""Places that processes hold for uploads which they have not made yet (floor 4). Blocks.

They count as unfinished uploads. Those of a process that died stay counted until everything that
it may have made has been counted by its records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.quota.counter import NEW_SECONDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from tusserver.quota.sums import Sums


class Held:
    """The places that are held in one database; everything in one transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        sums: Sums,
        *,
        worker: str,
        is_alive: Callable[[str], bool],
        now: Callable[[], float],
    ) -> None:
        """Hold for the process `worker`; `is_alive` tells whether another one lives."""
        self._db = connection
        self._sums = sums
        self._worker = worker
        self._is_alive = is_alive
        self._now = now

    def here(self) -> int:
        """Give how many this process holds."""
        found = self._db.execute(
            "SELECT places FROM held WHERE worker = ?", (self._worker,)
        ).fetchone()
        return 0 if found is None else int(found[0])

    def set(self, places: int, *, before: int) -> None:
        """Hold so many from now on, instead of those that were held here before."""
        if places == before:
            return
        if places:
            self._db.execute(
                "INSERT OR REPLACE INTO held VALUES (?, ?, NULL)", (self._worker, places)
            )
        else:
            self._db.execute("DELETE FROM held WHERE worker = ?", (self._worker,))
        self._sums.hold(places - before)

    def is_any(self) -> bool:
        """Tell whether any process holds places, or died with some."""
        return self._db.execute("SELECT 1 FROM held LIMIT 1").fetchone() is not None

    def is_elsewhere(self) -> bool:
        """Tell whether another process that lives holds places."""
        found = self._db.execute("SELECT worker FROM held WHERE worker != ?", (self._worker,))
        return any(self._is_alive(worker) for (worker,) in found.fetchall())

    def ghosts(self) -> tuple[str, ...]:
        """Do what `Counter.ghosts` says."""
        now, ghosts = self._now(), []
        for worker, dead in self._db.execute("SELECT worker, dead FROM held").fetchall():
            # A time that is to come was seen before the machine was started anew.
            if dead is not None and not 0 <= now - dead < NEW_SECONDS:
                ghosts.append(worker)
            elif dead is None and not self._is_alive(worker):
                self._db.execute("UPDATE held SET dead = ? WHERE worker = ?", (now, worker))
        return tuple(ghosts)

    def bury(self, ghosts: Sequence[str]) -> None:
        """Do what `Counter.bury` says."""
        for worker in ghosts:
            found = self._db.execute(
                "SELECT places FROM held WHERE worker = ? AND dead IS NOT NULL", (worker,)
            ).fetchone()
            if found is not None:
                self._db.execute("DELETE FROM held WHERE worker = ?", (worker,))
                self._sums.hold(-found[0])
