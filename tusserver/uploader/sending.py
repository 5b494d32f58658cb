"""Sends bytes to one upload until the server has them all (floor 5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tusserver.protocol.headers import format_checksum
from tusserver.uploader.faults import Refused, TooLarge, Trouble
from tusserver.uploader.source import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.uploader.patience import Patience
    from tusserver.uploader.source import Source
    from tusserver.uploader.wire import Wire

SMALLEST = 64 * 1024
"""Bytes of the smallest chunk that is tried when larger ones are refused."""
FALL_BACK = 32 * 1024 * 1024
"""Bytes of the largest."""
WITH_CHECKSUM = 8 * 1024 * 1024
"""Bytes of a chunk with a checksum, unless told: it is taken whole or not at all."""


@dataclass(slots=True, kw_only=True)
class Sender:
    """Fills one upload."""

    wire: Wire
    patience: Patience
    url: str
    source: Source
    start: int = 0
    """The place in the source where the upload begins."""
    kept_from: int = 0
    """The offset before which the source cannot be read again."""
    chunk: int | None
    algorithm: str | None
    at: Callable[[int], None]
    """Is told how far it is, in bytes of this upload."""
    reached: int = 0
    """The end of what was ever sent: the server cannot have more."""

    async def fill(self, offset: int, length: int, *, declare: bool = False) -> None:
        """Send what lies between the two offsets, and with `declare` that the upload ends there.

        Raises: UploadFault; Trouble when patience has ended.
        """
        known: int | None = offset
        best, declared = offset, not declare
        self.reached, answered = offset, False
        while known is None or known < length or not declared:
            try:
                if known is None:
                    found = await self.wire.find(self.url)
                    known, declared = found.offset, declared or found.length == length
                else:
                    before, known = known, None  # Until the server tells it.
                    known = await self._append(before, length, declare=declare)
                    declared, answered = declared or known is not None, True
                if answered and known is not None:
                    answered = False
                    self._check_growth(known, best, done=declared and known == length)
            except Trouble as trouble:
                await self.patience.pause(trouble)
                continue
            if known is None:
                continue
            self._check_place(known)
            self.at(known)
            if known > best:
                best = known
                self.patience.progress()

    def _check_place(self, known: int) -> None:
        if known > self.reached or known < self.kept_from:
            raise Refused(f"the server is at byte {known}, which does not fit what is sent")

    def _check_growth(self, known: int, best: int, *, done: bool) -> None:
        """Have a pause made where a request that was answered well has achieved nothing."""
        self._check_place(known)
        if known <= best and not done:
            raise Trouble("the server took nothing of what it was sent")

    async def _append(self, offset: int, length: int, *, declare: bool) -> int | None:
        while True:
            end = length if self.chunk is None else min(length, offset + self.chunk)
            try:
                return await self._append_once(offset, end, declare=declare and end == length)
            except TooLarge:
                # Something in front of the server may limit bodies: try smaller ones.
                if end - offset <= SMALLEST:
                    raise
                self.chunk = max(SMALLEST, min(FALL_BACK, (end - offset) // 2))

    async def _append_once(self, offset: int, end: int, *, declare: bool) -> int | None:
        fields = {}
        self.reached = max(self.reached, end)
        span = self.start + offset, self.start + end
        if self.algorithm is not None:
            found = await digest(self.algorithm, self.source, *span)
            fields["Upload-Checksum"] = format_checksum(self.algorithm, found)
        if declare:
            fields["Upload-Length"] = str(end)
        moved = partial(self._moved, offset)
        return await self.wire.append(
            self.url, self.source, span, offset=offset, fields=fields, moved=moved
        )

    def _moved(self, offset: int, sent: int) -> None:
        self.at(offset + sent)
