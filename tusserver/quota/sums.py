"""What the uploads of an owner, and all of them, come to (floor 4). Blocks; in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.quota.counter import ALL

if TYPE_CHECKING:
    import sqlite3


class Sum:
    """The sums of one scope."""

    __slots__ = ("open", "stored", "unwritten")

    def __init__(self, stored: int, unwritten: int, open_: int) -> None:
        """Begin with what there is: two sums of bytes, and a number of uploads."""
        self.stored = stored
        self.unwritten = unwritten
        self.open = open_

    @property
    def is_nothing(self) -> bool:
        """Tell whether nothing counts for this scope."""
        return not (self.stored or self.unwritten or self.open)


class Sums:
    """The sums, which are read once in a transaction and written once, at its end.

    Between the two the rows of any number of uploads may change.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use a connection, which holds the lock for writing while this is used."""
        self._db = connection
        self._known: dict[str, Sum] = {}
        self._changed: set[str] = set()

    def of(self, scope: str) -> Sum:
        """Give the sums of a scope as they are now."""
        known = self._known.get(scope)
        if known is None:
            found = self._db.execute(
                "SELECT stored, unwritten, open FROM sums WHERE scope = ?", (scope,)
            ).fetchone()
            known = self._known[scope] = Sum(*(found or (0, 0, 0)))
        return known

    def add(self, owner: str, stored: int, unwritten: int, open_: int) -> None:
        """Count what became more, or less, of an owner's uploads."""
        for scope in (ALL, f"={owner}"):
            one = self.of(scope)
            one.stored += stored
            one.unwritten += unwritten
            one.open += open_
            self._changed.add(scope)

    def hold(self, count: int) -> None:
        """Count so many places more, or less, as if they were unfinished uploads."""
        if count:
            self.of(ALL).open += count
            self._changed.add(ALL)

    def write(self) -> None:
        """Write down what was changed."""
        for scope in self._changed:
            one = self._known[scope]
            if one.is_nothing and scope != ALL:
                self._db.execute("DELETE FROM sums WHERE scope = ?", (scope,))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?)",
                    (scope, one.stored, one.unwritten, one.open),
                )
        self._changed.clear()

    def forget(self) -> None:
        """Know nothing any more: others write from now on."""
        self._known.clear()
        self._changed.clear()
