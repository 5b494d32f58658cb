"""The ports between the engine and what it is composed of (floor 3).

Nothing here runs. Rooms on the floor above implement these or use them, and never each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from tusserver.caller import ANYONE, Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tusserver.body import Body, Tap
    from tusserver.upload import Upload, UploadId


class Clock(Protocol):
    """The time, so that tests can turn it."""

    def now(self) -> datetime:
        """Give the wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""


# --- storage ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease, as the ledger names it: a hint for messages, never a proof."""

    pid: int
    mailbox: str
    """The name of the worker's mailbox."""
    since: datetime


@dataclass(frozen=True, slots=True)
class Peek:
    """What lies beside the data: the ledger's record and the holder of its lease, if any."""

    record: Upload | None
    holder: Holder | None
    is_gone: bool = False
    """Whether there is neither a ledger nor data."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of bytes of a file: where GET finds a part of an upload."""

    path: Path
    length: int


class Lease(Protocol):
    """The exclusive right to write one upload, held by the kernel's lock until released."""

    @property
    def upload_id(self) -> UploadId:
        """Name the upload."""

    async def release(self) -> None:
        """Let go, once, after the last write has returned; a cancellation does not stop it."""


class Progress(Protocol):
    """Counts the bytes of a running append, so that commits can follow them."""

    @property
    def blocked(self) -> bool:
        """Tell whether too many bytes are uncommitted: wait for `unblocked` before reading on."""

    def advance(self, count: int) -> None:
        """Say that `count` more bytes are in the file, right after those before."""

    async def unblocked(self) -> None:
        """Wait until commits have caught up."""


class Storage(Protocol):
    """Where bytes lie, and the ledger beside them.

    All methods raise `StorageFault` for a fault of the disk and log what to do about it.
    """

    async def open(self) -> None:
        """Make or check the store. Raises: ConfigError, StorageFault."""

    async def close(self) -> None:
        """Let go of files and threads; leases are released before."""

    def check_answers(self) -> None:
        """Raise StorageStalled while nothing that is written is taken: then begin nothing."""

    @property
    def store_id(self) -> str:
        """Give the random id of this store."""

    @property
    def epoch(self) -> str:
        """Name the present life of machine and volume."""

    @property
    def can_concat(self) -> bool:
        """Tell whether parts can be joined."""

    @property
    def durable_writes(self) -> bool:
        """Tell whether `normal` durability suffices (false on network file systems)."""

    async def create(self, upload: Upload, *, sync: bool, max_size: int | None = None) -> Lease:
        """Make the data file, reserve its space, write the ledger; give the new upload's lease.

        `sync`: everything is on the disk when this returns. `max_size`: more is not reserved for
        an upload of unknown length. Leaves nothing behind on failure.

        Raises: StorageFull, MaxSizeExceeded (too long for the file system), IdTaken.
        """

    async def peek(self, upload_id: UploadId) -> Peek:
        """Read the ledger without a lease. Raises StoreMismatch for another store's record."""

    async def lease(
        self,
        upload_id: UploadId,
        *,
        on_contended: Callable[[Holder | None], Awaitable[None]],
        timeout: float,
    ) -> Lease | None:
        """Take the lease; None when there is no data file.

        While somebody else holds it, `on_contended` is awaited (it asks the holder to let go)
        and the lock is tried again, until `timeout` seconds have passed: UploadLocked.
        """

    async def revive(self, upload: Upload) -> Lease | None:
        """Make an empty data file for a record that lost its own; None if one is there by now."""

    async def append(
        self,
        lease: Lease,
        body: Body,
        *,
        offset: int,
        window: int,
        tap: Tap | None,
        progress: Progress,
    ) -> int:
        """Write the body at `offset`, at most `window` bytes; give the number stored.

        Positional writes only. All writes have returned when this returns, also when it is
        cancelled or raises; what `progress` was told stays true then.

        Raises: LengthExceeded (the body goes on past the window; what fitted is stored),
        StorageFull, StorageFault. The body was stopped (REFUSED) before.
        """

    async def sync(self, upload_id: UploadId) -> None:
        """Put the data of an upload on the disk (fdatasync). Needs no lease.

        Raises: StorageFault, after which the same sync must not be tried again.
        """

    def write_early(self, lease: Lease, start: int, end: int) -> bool:
        """Have the disk begin with these bytes, for `sync` to wait less; False: not now."""

    async def trim(self, lease: Lease, length: int) -> None:
        """Give back what was reserved beyond `length` bytes."""

    async def record(self, lease: Lease, upload: Upload, *, sync: bool) -> None:
        """Write the ledger; with `sync` it, and the names of the files, are on the disk."""

    def record_at_once(self, lease: Lease, upload: Upload) -> bool:
        """Write the ledger, not synced, if that needs no waiting; False: use `record`."""

    async def remove(self, lease: Lease) -> None:
        """Delete data and ledger, and release the lease. The removal mark is committed before."""

    async def concat(
        self, lease: Lease, parts: Sequence[tuple[UploadId, int]], *, stop: Callable[[], bool]
    ) -> bool:
        """Join parts (id, length) into the leased upload's file, from byte 0, inside the kernel.

        Gives False when `stop()` became true before the end (asked between pieces).
        """

    async def pin(self, part_id: UploadId, final_id: UploadId, *, sync: bool) -> None:
        """Note durably that a final upload needs this part. Call under the part's lease."""

    async def unpin(self, part_id: UploadId, final_id: UploadId) -> None:
        """Take the note back; does nothing if it is gone."""

    async def pins(self, part_id: UploadId) -> tuple[UploadId, ...]:
        """Name the final uploads that noted they need this part."""

    def segment(self, upload_id: UploadId, length: int) -> Segment:
        """Say where the first `length` bytes of an upload lie."""

    async def check_space(self, length: int) -> None:
        """Raise StorageFull if `length` more bytes would touch the free-space reserve."""

    async def scan(
        self, after: UploadId | None, limit: int, *, gently: bool = False
    ) -> list[Upload]:
        """Read up to `limit` ledger records in the order of their ids, after `after`.

        `gently`: it takes longer, and leaves most of the time to requests.
        """

    async def elect(self, chore: str) -> bool:
        """Become the one process of this store that does a chore, until `resign` or death.

        True also when this process was elected before; never waits for another process.
        """

    async def resign(self, chore: str) -> None:
        """Let another process do the chore."""

    async def sweep_orphans(
        self,
        *,
        older_than: float,
        known: Callable[[UploadId], Awaitable[bool]] | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete unlocked files with no valid ledger, untouched for so many seconds; count them.

        Nothing is deleted of an upload that is `known` to the state store and not removed.
        `dry_run`: they are only counted.
        """


# --- state --------------------------------------------------------------------------------


class StateStore(Protocol):
    """The records that requests read and processes share.

    All methods raise `StateUnavailable` when the store does not answer.
    """

    @property
    def is_ledger(self) -> bool:
        """Tell whether this is the ledger itself: then what Storage.record wrote is saved."""

    async def attach(self, store_id: str) -> None:
        """Connect, and check that the state belongs to this store; raise ConfigError if not."""

    async def add(self, upload: Upload) -> None:
        """Put a new record. The same one again is no error; raises StateConflict otherwise."""

    async def get(self, upload_id: UploadId) -> Upload | None:
        """Read a record; None if there is none."""

    async def save(self, upload: Upload) -> None:
        """Replace version n-1 by version n. Idempotent: the same version n again is no error.

        Raises: StateConflict if another version is there, or none.
        """

    async def restore(self, upload: Upload) -> Upload:
        """Put a record unless a newer one is there; give the one that is there afterwards.

        The higher version wins; a status never moves back.
        """

    async def delete(self, upload_id: UploadId) -> None:
        """Drop a record; does nothing if it is gone."""

    async def expired(self, now: datetime, limit: int) -> list[UploadId]:
        """Name uploads whose `expires_at` is not after `now`, the oldest first: a hint."""

    async def list(self, after: UploadId | None, limit: int) -> list[Upload]:
        """Read up to `limit` records in the order of their ids, after `after`."""

    async def close(self) -> None:
        """Let go of connections."""


# --- worker to worker ---------------------------------------------------------------------


class Verb(Enum):
    """What one worker asks of another about an upload that the other one holds."""

    STOP = "stop"
    """End the append, commit, let go."""
    TELL = "tell"
    """Commit, and tell the offset; the append goes on."""
    LOOK = "look"
    """What HEAD needs: end the append if it is silent, else commit; tell the offset."""
    WAIT = "wait"
    """Wait until it is finished, a few seconds at most."""


class Outcome(Enum):
    """How the asked worker found, or left, the upload."""

    FREE = "free"
    """It holds no lease (any more)."""
    RUNNING = "running"
    """The append goes on."""
    BUSY = "busy"
    """A hook runs: it cannot be stopped now."""
    FINISHING = "finishing"
    """It is being finished: ask again with WAIT."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the worker that was asked."""

    outcome: Outcome
    offset: int = 0


class Mailbox(Protocol):
    """Messages between the workers of one store, lost at worst, never late by design."""

    @property
    def name(self) -> str:
        """Give the name under which other workers reach this one."""

    async def open(self) -> None:
        """Make the mailbox; the store is open already."""

    async def ask(
        self, mailbox: str, verb: Verb, upload_id: UploadId, *, timeout: float
    ) -> Answer | None:
        """Ask another worker; None when it does not answer in `timeout` seconds.

        A worker that is dead (nobody reads its mailbox) counts as FREE at once.
        """

    def serve(self, answer: Callable[[Verb, UploadId], Awaitable[Answer]]) -> None:
        """Answer what others ask with this function, each question in a task of its own."""

    async def close(self) -> None:
        """Stop answering and remove the mailbox."""


# --- hooks --------------------------------------------------------------------------------


class EventKind(Enum):
    """When a hook is called."""

    PRE_CREATE = "pre-create"
    POST_CREATE = "post-create"
    POST_RECEIVE = "post-receive"
    PRE_FINISH = "pre-finish"
    POST_FINISH = "post-finish"
    PRE_TERMINATE = "pre-terminate"
    POST_TERMINATE = "post-terminate"


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The request that caused an event, as the client sent it."""

    method: str
    uri: str
    remote: str
    headers: tuple[tuple[str, str], ...] = ()
    caller: Caller = ANYONE
    """Who is behind it."""
    context: Mapping[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What middlewares of the host application put into the request, by their own keys."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, or is about to happen, to an upload."""

    kind: EventKind
    upload: Upload
    event_id: str
    """The same for every delivery of the same event."""
    request: RequestInfo | None = None
    """None when no request caused it (after a crash, from an assembly)."""
    published: str = ""
    """post-finish: the path at which the file was published, if it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a hook that comes before decides."""

    reject: tuple[int, str] | None = None
    """A status (400 to 599) and one sentence: the request is refused."""
    metadata: Mapping[str, bytes] | None = None
    """pre-create: the metadata to keep instead of the client's."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers to add to the answer, also of a refusal."""
    body: str | None = None
    """The text of the answer; of a refusal, in the place of the sentence."""
    upload_id: UploadId | None = None
    """pre-create: the id of the new upload instead of a random one."""


class Hooks(Protocol):
    """The application's code around what happens to uploads."""

    def wants(self, kind: EventKind) -> bool:
        """Tell whether anybody listens; if not, no event is made or stored."""

    async def before(self, event: Event) -> Decision:
        """Ask before something happens. Raises HookFailed when a hook fails or times out."""

    async def after(self, event: Event) -> None:
        """Tell what happened. Raises HookFailed; the caller tells again what must arrive."""
