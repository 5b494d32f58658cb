"""The upload and what it is made of (floor 1): frozen values, no behaviour that waits.

The invariants of an upload stand here and nowhere else.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from dataclasses import dataclass, fields
from enum import Enum
from itertools import repeat
from operator import attrgetter, call
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Self

UploadId = NewType("UploadId", str)

MAX_INTEGER = 2**63 - 1
"""The largest offset or length that is understood, in bytes."""

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class IdTaken(Exception):
    """The id of an upload that is to be made is that of another one, made in this moment."""


def new_upload_id() -> UploadId:
    """Make an id of 128 random bits, as 32 lower-case hexadecimal digits."""
    return UploadId(secrets.token_hex(16))


def is_upload_id(text: str) -> bool:
    """Tell whether `text` has the form of an id of ours; nothing else ever names a file."""
    return _UPLOAD_ID.fullmatch(text) is not None


class Status(Enum):
    """The stored state of an upload; it only ever moves down this list."""

    OPEN = "open"
    COMPLETE = "complete"
    INVALID = "invalid"
    """The data was lost by the machine: answered 404, kept for the operator."""
    REMOVED = "removed"
    """The committed removal mark: files may be deleted from now on."""

    rank: int
    """The place in the order in which a status may move."""


for _rank, _status in enumerate(Status):
    # An attribute of each: a table of them would be asked by way of Enum.__hash__.
    _status.rank = _rank


class Kind(Enum):
    """What an upload is in a concatenation (tus 1.0.0, "Concatenation")."""

    SINGLE = "single"
    PARTIAL = "partial"
    FINAL = "final"


class Durability(Enum):
    """What an acknowledgement promises (docs/architecture.md, "Durability")."""

    PROCESS = "process"
    """Survives the death of the process; nothing is synced while serving."""
    NORMAL = "normal"
    """Completion survives a power cut; offsets do up to the last background sync."""
    STRICT = "strict"
    """Every acknowledgement survives a power cut."""


class EventState(Enum):
    """Whether the finish event has to be, or was, delivered."""

    NONE = "none"
    PENDING = "pending"
    SENT = "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload as it was last committed.

    Invariant: 0 <= synced <= offset <= length; OPEN implies offset < length, or an unknown
    length, or a length of 0 that is not yet finished. A COMPLETE final whose `assembled` is
    False is whole, but still lies in its parts.
    """

    upload_id: UploadId
    created_at: datetime
    length: int | None = None
    """The declared total in bytes; None while it is deferred."""
    offset: int = 0
    synced: int = 0
    """Bytes that an fdatasync has covered."""
    epoch: str = ""
    """The life of machine and volume in which `offset` is true."""
    metadata: str = ""
    """`Upload-Metadata` exactly as it was received; empty when there was none."""
    status: Status = Status.OPEN
    kind: Kind = Kind.SINGLE
    parts: tuple[UploadId, ...] = ()
    concat: str = ""
    """`Upload-Concat` as HEAD returns it: as received, query strings of parts dropped."""
    assembled: bool = True
    expires_at: datetime | None = None
    owner: str = ""
    """Whose it is; empty: nobody's in particular."""
    grant: str = ""
    """The id of the signed upload URL that it was created with; empty: none."""
    storage: str = ""
    """Private to the storage backend."""
    digest: str = ""
    """The digest of all bytes as `Repr-Digest` gives it (RFC 9530); empty: none was asked for."""
    event: EventState = EventState.NONE
    event_id: str = ""
    version: int = 1
    """Counts commits; the higher one of two records is the newer."""

    def __post_init__(self) -> None:
        """Hold the invariant: a record that breaks it must not come to be."""
        if not 0 <= self.synced <= self.offset:
            raise ValueError(f"synced {self.synced} and offset {self.offset} contradict")
        if self.length is None:
            if self.status is Status.COMPLETE:
                raise ValueError("complete without a length")
            return
        if self.offset > self.length:
            raise ValueError(f"offset {self.offset} beyond length {self.length}")
        if self.status is Status.OPEN and self.offset == self.length and self.length:
            raise ValueError("all bytes there, but not complete")
        if self.status is Status.COMPLETE and self.offset != self.length:
            raise ValueError("complete, but bytes are missing")

    def next(self, **changes: Any) -> Self:
        """Give the next version of the record with `changes` made."""
        return self.changed(version=self.version + 1, **changes)

    def changed(self, **changes: Any) -> Self:
        """Give the record with `changes` made; the version is the same unless it is one of them.

        What `dataclasses.replace` does, at a third of its cost: an append makes half a dozen
        records, of many fields each.
        """
        values = {**dict(zip(_NAMES, _GET(self), strict=True)), **changes}
        made = object.__new__(type(self))
        # All in C; how a frozen dataclass sets its own fields, too.
        deque(map(call, _PUTS, repeat(made), values.values()), maxlen=0)
        if len(values) != len(_NAMES):
            raise TypeError(f"an upload has none of {changes.keys() - _NAMES}")
        made.__post_init__()
        return made

    @property
    def is_complete(self) -> bool:
        """Tell whether all bytes are there and the upload was finished."""
        return self.status is Status.COMPLETE

    @property
    def is_unmade(self) -> bool:
        """Tell whether it is empty and its creation, which finishes it, has not come to an end.

        It is being made, or a crash broke that off; to clients it would look complete.
        """
        return self.status is Status.OPEN and self.length == 0 and self.kind is not Kind.FINAL


_NAMES = tuple(one.name for one in fields(Upload))
_GET = attrgetter(*_NAMES)
_PUTS = tuple(vars(Upload)[name].__set__ for name in _NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows, in bytes and seconds; None means no limit."""

    max_size: int | None = None
    expire_after: float | None = 86_400.0
    """Life of an unfinished upload since its last commit."""
    expire_finished: float | None = None
    """Life of a finished upload since it was finished."""
    max_parts: int = 10_000
