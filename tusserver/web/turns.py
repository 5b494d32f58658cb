"""The one buffer that bodies arrive in, and how much of it each may fill at once (floor 5)."""

from __future__ import annotations

from tusserver.web.drawing import Draws

SMALL = 65_536
"""Bytes of a body that are not worth taking the socket for."""
BUFFER = 1_048_576
"""Bytes of one buffer, and the most that one body is given at once."""
TURN = 524_288
"""Bytes that one turn of the loop moves from sockets to files, about, when others wait for it."""
QUIET_TURN = 16_777_216
"""The same while there are large bodies only."""
SHARE = 131_072
"""The least that one body is given of a turn: less costs more than it helps others."""
GRAIN = 65_536
"""Bytes at whose multiples in the file pieces end: the kernel copies whole pages at less cost."""
FRONT = 65_536
"""Bytes that are taken of a connection at a time while a head is awaited."""
PARSED = 262_144
"""Bytes that are taken at a time of what a parser has to see."""
SPARES = 4
"""Buffers that are kept, beside the one that is used."""
QUIET_AFTER = 0.1
"""Seconds since the last small request after which nobody is taken to wait."""


class Turns:
    """Shares out the turns of one event loop among the bodies that fill theirs.

    What arrives is used up before the next socket is read: so one buffer is enough for all.
    """

    def __init__(self, *, small: int = SMALL, draws: Draws | None = None) -> None:
        """Make the buffer when the first body wants it; `small` bodies, in bytes, never do."""
        self.small = small
        self.draws = Draws(is_wanted=False) if draws is None else draws
        """Which bodies go past the buffer."""
        self._buffer = memoryview(b"")
        self._used = 0
        """Bytes from the start of the buffer that are lent."""
        self._noted = 0
        """Bytes after those, which have just arrived."""
        self._lent: dict[int, int] = {}
        """How many pieces of each buffer are lent, by the identity of its memory."""
        self._free: list[memoryview] = []
        self._eager: set[object] = set()
        self._small_at = float("-inf")

    def room(self, left: int, now: float, *, most: int = BUFFER, skew: int = 0) -> memoryview:
        """Give the memory for the next bytes of one body, of which so many are left.

        `most`: what is wanted at once; `skew`: how far beyond a multiple of `GRAIN` they begin.
        """
        return self._memory(self.share(left, now, most=most, skew=skew))

    def share(self, left: int, now: float, *, most: int = BUFFER, skew: int = 0) -> int:
        """Give how many bytes one body may move now; see `room`."""
        share = most
        if len(self._eager) > 1:
            turn = QUIET_TURN if now - self._small_at > QUIET_AFTER else TURN
            share = min(most, max(turn // len(self._eager) // GRAIN * GRAIN, SHARE))
        if share >= SHARE:
            share -= skew
        return min(left, share)

    def front(self, *, is_head: bool) -> memoryview:
        """Give the memory for what a parser is to see next."""
        return self._memory(FRONT if is_head else PARSED)

    def _memory(self, count: int) -> memoryview:
        if len(self._buffer) - self._used <= count // 2:
            self._renew()
        return self._buffer[self._used : self._used + count]

    def parsed(self, count: int) -> bytes:
        """Give the bytes that have arrived for a parser."""
        return bytes(self._buffer[self._used : self._used + count])

    def note_small(self, now: float) -> None:
        """Note that a small request has come: it is not to wait long for its next turn."""
        self._small_at = now

    def note(self, body: object, count: int) -> memoryview:
        """Give the bytes that have arrived for a body, and note them."""
        self.note_drawn(body, count)
        self._noted = count
        return self._buffer[self._used : self._used + count]

    # --- bytes that stay for a while

    def lend(self, data: memoryview) -> None:
        """Leave the bytes that have just arrived as they are: others come after them."""
        self._used += self._noted
        self._noted = 0
        key = id(data.obj)
        self._lent[key] = self._lent.get(key, 0) + 1

    def take_back(self, data: memoryview) -> None:
        """Use the memory of these bytes again, once nothing of its buffer is lent."""
        key = id(data.obj)
        self._lent[key] -= 1
        if self._lent[key]:
            return
        del self._lent[key]
        if data.obj is self._buffer.obj:
            self._used = 0
        elif len(self._free) < SPARES:
            self._free.append(memoryview(data.obj))

    def _renew(self) -> None:
        """Let the next bytes come into a buffer of which nothing is lent."""
        self._buffer = self._free.pop() if self._free else memoryview(bytearray(BUFFER))
        self._used = 0

    def note_drawn(self, body: object, count: int) -> None:
        """Note how many bytes of a body came at once; whether it is a fast one."""
        if count >= SHARE:
            self._eager.add(body)
        else:
            self._eager.discard(body)

    def leave(self, body: object) -> None:
        """Forget a body that has ended."""
        self._eager.discard(body)
