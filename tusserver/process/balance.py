"""How many connections each worker has, for all of them to see (floor 5).

All workers wait at the same sockets, and the one that happens to wake first gets the
connection: left alone, one of them may end up with all long uploads. So the counts lie in memory
that they share, and who has more than another lets that one go first. Each number is written by
one process only, and read as a hint.
"""

from __future__ import annotations

import mmap
import struct

_COUNT = struct.Struct("q")
_ABSENT = -1
"""Of a worker that does not accept."""


class Balance:
    """The counts; made before the workers are forked."""

    def __init__(self, workers: int) -> None:
        """Make room for so many workers, numbered from 1."""
        self._memory = mmap.mmap(-1, workers * _COUNT.size)
        self._workers = workers
        for number in range(1, workers + 1):
            self.leave(number)

    def leave(self, number: int) -> None:
        """Say that a worker accepts nothing."""
        self._write(number, _ABSENT)

    def seat(self, number: int) -> Seat:
        """Give a worker its place."""
        return Seat(self, number)

    def _write(self, number: int, count: int) -> None:
        _COUNT.pack_into(self._memory, (number - 1) * _COUNT.size, count)

    def least(self) -> int:
        """Give the fewest connections that any worker has that accepts."""
        counts = [count for (count,) in _COUNT.iter_unpack(self._memory) if count != _ABSENT]
        return min(counts, default=0)


class Seat:
    """The place of one worker."""

    def __init__(self, balance: Balance, number: int) -> None:
        """Take the place of a worker."""
        self._balance = balance
        self.number = number

    def tell(self, count: int) -> None:
        """Say how many connections this worker has."""
        self._balance._write(self.number, count)  # noqa: SLF001 - its own other half

    def leave(self) -> None:
        """Say that this worker accepts no more."""
        self._balance.leave(self.number)

    def least(self) -> int:
        """Give the fewest connections that any worker has that accepts."""
        return self._balance.least()
