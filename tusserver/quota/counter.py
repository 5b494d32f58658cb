"""What the limits need of whoever counts (floor 4): one set of words for SQLite and Redis.

Everything is atomic over all processes, and right when it is done twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tusserver.upload import UploadId

ALL = "*"
"""The scope of all uploads together."""
ROOM = 200
"""Uploads that nobody makes in the moment in which the others' news wait."""
NEW_SECONDS = 10.0
"""How long an upload may have been made in a held place without its process having told."""


def scopes_of(owner: str) -> tuple[str, str]:
    """Name what an owner's uploads count for: the owner, then all."""
    return (f"={owner}", ALL)


class Limit(Enum):
    """What a refusal is about."""

    STORED = "stored"
    UNWRITTEN = "unwritten"
    OPEN = "open"
    CREATIONS = "creations"
    APPENDS = "appends"
    UNCOUNTED = "uncounted"
    """Nothing is known yet: the records are being counted anew."""


class Filled(Enum):
    """How completely the records were counted; a later one holds what those before do."""

    NO = ""
    OPEN = "open"
    """Every unfinished upload is counted."""
    BYTES = "bytes"
    """Every upload is."""

    def serves(self, needed: Filled) -> bool:
        """Tell whether this is as complete as is needed."""
        order = list(Filled)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something does not fit."""

    limit: Limit
    of_owner: bool = False
    """The owner's own limit; else the one of all together."""
    wait: float | None = None
    """Seconds after which it will fit; None: nobody knows."""
    is_held: bool = False
    """Another process holds places that it will give back in a moment (`Counter.hold`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Space for an upload, from `least` to `most` bytes in all."""

    upload_id: UploadId
    owner: str
    least: int
    most: int
    written: int = 0
    """Bytes of it that are in the file."""
    creating: bool = False
    """A new upload: it counts for what is open and for what is made a minute, but only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An upload as its record says it counts."""

    upload_id: UploadId
    owner: str
    length: int | None
    """What it is counted for, in bytes; None while its length is not known."""
    offset: int
    is_open: bool
    version: int
    gone: bool = False
    """It no longer counts."""
    is_new: bool = False
    """It was made moments ago: whoever made it in a place that it holds may not have told yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One running append."""

    token: str
    upload_id: UploadId
    owner: str


@dataclass(slots=True)
class Dues:
    """What happened and is not counted yet."""

    rows: Mapping[UploadId, Row] = field(default_factory=dict)
    left: Sequence[str] = ()
    """Tokens of appends that ended."""
    refunds: Mapping[str, int] = field(default_factory=dict)
    """Bytes of bandwidth that were paid for and not used, by owner."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison with a page of records found."""

    added: tuple[UploadId, ...]
    changed: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Holding:
    """The places that a process holds."""

    places: int = 0
    is_ample: bool = False
    """Whether there was room for them and `ROOM` more; if not they are to be given back."""


class Counter(Protocol):
    """Counts for all processes of a store.

    Raises: StateUnavailable, StorageFault, StorageFull.
    """

    beats: bool
    """Whether running appends have to be told of again and again (`beat`)."""
    holds: bool
    """Whether processes can hold places for uploads that they have not made yet (`hold`)."""
    lapse: float
    """Seconds after which those of a process that is not heard of may be given to others."""

    @property
    def patience(self) -> float:
        """Give the seconds that news of uploads may wait without anybody being refused for it."""

    async def open(self) -> None:
        """Make ready."""

    async def close(self) -> None:
        """Drop the appends of this process, and let go."""

    async def claim(self, claim: Claim, dues: Dues, needed: Filled) -> int | Refusal:
        """Count what is due, then the claim if it fits; give the bytes it has now.

        UNCOUNTED when the records are not counted as completely as is `needed`.
        """

    async def enter(self, entry: Entry, dues: Dues) -> Refusal | None:
        """Count a running append; several ones of one upload are one."""

    async def settle(self, dues: Dues) -> None:
        """Count what is due. A row that is not there, or newer, is left alone."""

    async def hold(self, dues: Dues, made: Mapping[UploadId, Row], places: int) -> Holding:
        """Count what is due, and uploads that were made in places that this process held.

        From then on it holds so many places, which count as unfinished uploads; where there is
        no room for them and `ROOM` more, no more than the uploads that it made have left over.
        """

    async def ghosts(self) -> tuple[str, ...]:
        """Name processes that died holding places, long enough ago to count what they made."""

    async def bury(self, ghosts: Sequence[str]) -> None:
        """Give their places back: all that they made has been counted by its records since."""

    async def draw(self, owner: str, count: int) -> float:
        """Take bytes of bandwidth; give the seconds until they may be used."""

    async def beat(self, entries: Sequence[Entry]) -> None:
        """Say that this process lives, and which appends it runs."""

    async def filled(self) -> Filled:
        """Tell how completely the records were counted."""

    async def set_filled(self, filled: Filled) -> None:
        """Say so."""

    async def confirm_filled(self, filled: Filled) -> bool:
        """Say so at the end of a count, unless all was lost since `set_filled`; tell which."""

    async def compare(
        self,
        rows: Sequence[Row],
        *,
        after: UploadId | None,
        upto: UploadId | None,
        grace: float,
    ) -> Comparison:
        """Put right what is counted of the ids after one and up to another.

        What has no row among these is dropped once it is `grace` seconds old.
        """

    async def tidy(self) -> None:
        """Forget what no longer matters."""
