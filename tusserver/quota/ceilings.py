"""How much may be used at most (floor 4): by each owner, and by all together."""

from __future__ import annotations

from dataclasses import dataclass, field

STEP = 64 * 1024 * 1024
"""Bytes that are counted ahead of an upload whose length is not known."""
CLAMP = 2**50
"""The most that one upload is counted for, in bytes, so that no sum ever overflows."""
MINUTE = 60.0
BURST = 0.1
"""Seconds of unused bandwidth that may be made up for."""
PIECE = 256 * 1024
LEAST_PIECE = 1024
PIECES = 20
"""Into how many pieces a second of bandwidth is cut at least, so that appends take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The limits of one scope; None: no limit."""

    stored: int | None = None
    """Bytes of uploads, with what those that are unfinished may still become."""
    unwritten: int | None = None
    """Bytes that unfinished uploads still lack."""
    open: int | None = None
    """Unfinished uploads."""
    creations: int | None = None
    """Uploads made in any minute."""
    appends: int | None = None
    """Uploads to which data is being sent at the same time."""
    bandwidth: int | None = None
    """Bytes that are received in a second."""

    @property
    def of_uploads(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Give the limits that are looked at when an upload is made or grows."""
        return (self.stored, self.unwritten, self.open, self.creations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The limits of each owner, and of all together."""

    owner: Ceiling = field(default_factory=Ceiling)
    all: Ceiling = field(default_factory=Ceiling)

    @property
    def both(self) -> tuple[Ceiling, Ceiling]:
        """Give the owner's limits, then those of all."""
        return (self.owner, self.all)

    @property
    def bytes(self) -> bool:
        """Tell whether the bytes of uploads are limited."""
        return any(one.stored is not None or one.unwritten is not None for one in self.both)

    @property
    def unwritten(self) -> bool:
        """Tell whether it matters how far uploads are."""
        return any(one.unwritten is not None for one in self.both)

    @property
    def uploads(self) -> bool:
        """Tell whether uploads have to be counted at all."""
        return any(limit is not None for one in self.both for limit in one.of_uploads)

    @property
    def number(self) -> int | None:
        """Give how many uploads may be unfinished, if nothing else of uploads is limited."""
        stored, unwritten, most, creations = self.all.of_uploads
        others = (*self.owner.of_uploads, stored, unwritten, creations)
        return None if any(one is not None for one in others) else most

    @property
    def appends(self) -> bool:
        """Tell whether running appends are limited."""
        return any(one.appends is not None for one in self.both)

    @property
    def bandwidth(self) -> bool:
        """Tell whether bodies are read no faster than they may be."""
        return any(one.bandwidth is not None for one in self.both)

    @property
    def piece(self) -> int:
        """Give the bytes that an append may take at once, so that others have their turn."""
        rates = [one.bandwidth for one in self.both if one.bandwidth is not None]
        return max(LEAST_PIECE, min([PIECE, *(rate // PIECES for rate in rates)]))

    @property
    def any(self) -> bool:
        """Tell whether there is any limit."""
        return self.uploads or self.appends or self.bandwidth
