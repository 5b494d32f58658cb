"""What stands in front of the engine and beside it (floor 3): access, quotas, publishing, events.

Like `ports`, nothing here runs, but for the parts that do nothing at all.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from tusserver.upload import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tusserver.body import Body
    from tusserver.caller import Caller
    from tusserver.ports import Decision, Event, EventKind, RequestInfo
    from tusserver.upload import Upload, UploadId

# --- authorisation ------------------------------------------------------------------------


class Action(Enum):
    """What a request is about to do."""

    CREATE = "create"
    APPEND = "append"
    DESCRIBE = "describe"
    DOWNLOAD = "download"
    TERMINATE = "terminate"
    JOIN = "join"
    """To use an upload as a part of a final one; its URL had a query string of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """One request as the authorisation sees it, before a byte of its body is read."""

    action: Action
    request: RequestInfo
    """The request as it was sent; for JOIN, `uri` is the URL of the part."""
    upload_id: UploadId | None = None
    """The upload that the request names; None for CREATE."""
    upload: Upload | None = None
    """Its record, when the authoriser asked for it and there is one."""
    length: int | None = None
    """CREATE: the declared length in bytes; None while it is deferred or the sum of parts."""
    kind: Kind = Kind.SINGLE
    """CREATE: what the new upload is to be."""
    metadata: str = ""
    """CREATE: `Upload-Metadata` as it was sent."""


class Authorizer(Protocol):
    """Decides about every request but OPTIONS, before a byte of it is read."""

    @property
    def needs_upload(self) -> bool:
        """Tell whether `AccessRequest.upload` is wanted: it costs a read of the record."""

    async def authorize(self, access: AccessRequest) -> Caller:
        """Say who asks. That uploads of others are hidden (404) is seen to by the engine.

        Raises: Unauthenticated (401), Forbidden (403), Rejected (a status of its own),
        HookFailed (the application could not be asked).
        """


# --- signed upload URLs -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GrantEntry:
    """An upload that was, or is about to be, created with a signed URL."""

    upload_id: UploadId
    kind: Kind
    length: int | None
    """What it may hold, in bytes; None while that is not known."""
    made_at: float
    """Seconds since 1970."""


@dataclass(slots=True)
class GrantPage:
    """What is known of one signed URL; who holds the page may change it."""

    used: bool = False
    """The one upload that it was for is complete."""
    ends: float = 0.0
    """When the URL ends, in seconds since 1970."""
    entries: list[GrantEntry] = field(default_factory=list)


class GrantBook(Protocol):
    """Remembers which uploads each signed URL made, for all processes of a store."""

    def page(self, grant: str) -> AbstractAsyncContextManager[GrantPage]:
        """Hold the page of a grant alone, over all processes; what is changed is kept.

        Raises: UploadLocked (somebody else holds it for too long), StorageFault, StorageFull.
        """

    async def forget(self, before: float) -> None:
        """Drop the pages of URLs that ended before a time, in seconds since 1970."""

    async def close(self) -> None:
        """Let go of threads."""


# --- quotas -------------------------------------------------------------------------------


class Records(Protocol):
    """Reads records in the order of their ids; see `Storage.scan`."""

    async def __call__(
        self, after: UploadId | None, limit: int, /, *, gently: bool = False
    ) -> list[Upload]:
        """Read up to `limit` records that come after one; `gently`: rest in between."""


class Quota(Protocol):
    """Limits per owner and in all, right over every process of a store.

    What is counted can be counted anew from the records: `reconcile`.
    """

    async def open(self) -> None:
        """Make ready; the store is open already. Raises: ConfigError, StorageFault."""

    async def close(self) -> None:
        """Write down what is noted, and let go."""

    async def admit(self, upload: Upload) -> None:
        """Count a new upload in before anything is made for it.

        Raises: QuotaExceeded, StoreExhausted, TooManyUploads, TooManyRequests.
        """

    def appending(
        self, upload: Upload, body: Body, *, length: int | None
    ) -> AbstractAsyncContextManager[Body]:
        """Count a running append; give the body to read instead, which keeps to the limits.

        `length` is the upload's, once this request is accepted; None while it is deferred. On
        entering raises: TooManyAppends, QuotaExceeded, StoreExhausted, TooManyUploads. Unlike
        that of other bodies, `read` may raise the latter three once the upload may not grow.
        """

    def note(self, upload: Upload) -> None:
        """Count an upload as its record, just committed, says; never waits.

        A REMOVED one, or one whose creation came to nothing, no longer counts.
        """

    async def reconcile(self, records: Records) -> None:
        """Compare what is counted with the records, in batches, if that is due.

        Called again and again, by one process of the store at a time.
        """


class NoQuota:
    """A quota that limits nothing and counts nothing."""

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def admit(self, upload: Upload) -> None:
        """Admit everything."""

    def appending(
        self, upload: Upload, body: Body, *, length: int | None
    ) -> AbstractAsyncContextManager[Body]:
        """Give the body as it is."""
        del upload, length
        return nullcontext(body)

    def note(self, upload: Upload) -> None:
        """Do nothing."""

    async def reconcile(self, records: Records) -> None:
        """Do nothing."""


# --- publishing ---------------------------------------------------------------------------


class Publisher(Protocol):
    """Gives finished files their names in the operator's own tree."""

    async def open(self) -> None:
        """Make ready. Raises: StorageFault."""

    def stop(self) -> None:
        """Break off what takes long; never waits."""

    async def close(self) -> None:
        """Wait for what is being published, and let go."""

    async def published(self, upload_id: UploadId) -> str:
        """Tell at which path an upload was published; empty if it was not."""

    async def forget(self, upload_id: UploadId) -> None:
        """Drop the note about an upload that is removed; what was published stays."""

    async def publish(self, upload: Upload, data: Path) -> str:
        """Publish the finished file `data`; give its path below the operator's directory.

        The same path each time it is called for one upload; empty if its file is gone. Never
        replaces a file.

        Raises: StorageFault, StorageFull (tried again later).
        """


# --- events that must arrive --------------------------------------------------------------


class Outbox(Protocol):
    """Keeps what happened until every receiver has taken it, over crashes, in order per upload.

    What may yet fail is noted first and confirmed afterwards. If neither comes, because the
    process died, the records tell whether it happened.
    """

    def wants(self, kind: EventKind) -> bool:
        """Tell whether anybody is told of this."""

    async def open(self, stop: Callable[[UploadId, Decision], Awaitable[bool]]) -> None:
        """Begin to deliver; the store is open already. Raises: ConfigError, StorageFault.

        `stop` ends an upload that a receiver stopped; it gives True once there is nothing left
        to stop, and is called again until then.
        """

    async def close(self) -> None:
        """Write down what is noted, and let go; what was not delivered is after the next start."""

    async def intend(self, event: Event) -> None:
        """Note durably what is about to happen. Raises: StorageFull, StorageFault."""

    def confirm(self, event: Event) -> None:
        """Say that what was noted has happened; never waits."""

    def doubt(self, event: Event) -> None:
        """Say that the records must tell whether what was noted has happened; never waits."""

    async def put(self, event: Event) -> None:
        """Keep durably what has happened; the same event again is no other one.

        Raises: StorageFull, StorageFault.
        """

    def progress(self, event: Event) -> None:
        """Tell how far an upload is: only the newest counts. Never waits."""


class NoOutbox:
    """An outbox for which nobody listens."""

    def wants(self, kind: EventKind) -> bool:
        """Want nothing."""
        del kind
        return False

    async def open(self, stop: Callable[[UploadId, Decision], Awaitable[bool]]) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def intend(self, event: Event) -> None:
        """Do nothing."""

    def confirm(self, event: Event) -> None:
        """Do nothing."""

    def doubt(self, event: Event) -> None:
        """Do nothing."""

    async def put(self, event: Event) -> None:
        """Do nothing."""

    def progress(self, event: Event) -> None:
        """Do nothing."""
