"""The commands that requests are turned into, and the results that replies are made of.

Floor 2, pure. Dialects parse a `Head` into a `Command` and format a `Result` into a `Reply`;
the engine knows neither HTTP nor dialects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tusserver.caller import Caller
    from tusserver.errors import TusError
    from tusserver.upload import Upload, UploadId


class Headers(Protocol):
    """The header fields of one message as they were received: names without case.

    What this asks for a `CIMultiDict` does; `headers.single` and `joined` read values.
    """

    def getall(self, name: str, /) -> Sequence[str]:
        """Give every value of a field that was sent, in order."""

    def __contains__(self, name: object, /) -> bool:
        """Tell whether a field was sent at all."""


class Head(NamedTuple):
    """The head of a request, without its body. A tuple: each request makes one."""

    method: str
    """As sent; override is the dialect's business."""
    segment: str | None
    """The decoded path segment that names the upload; None on the creation URL."""
    headers: Headers
    content_length: int | None = None
    """None for a chunked body; 0 when there is none."""
    can_trail: bool = False
    """Whether this connection delivers the trailers of a chunked body."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The announced digest of one body.

    When a trailer will bring it, `digest` is None and `algorithm` empty: the trailer, a value
    of `Upload-Checksum`, names both.
    """

    algorithm: str
    digest: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What the composed parts can really do: `Tus-Extension` is made from it.

    Made once and looked up with each request: so one equals nothing but itself.
    """

    extensions: frozenset[str]
    algorithms: tuple[str, ...] = ()
    max_size: int | None = None
    max_parts: int = 10_000
    trailers: bool = False
    """Whether the connection of this request delivers trailers."""
    base_path: str = "/files/"
    """The path of the creation URL, with both slashes: part URLs are matched against it."""


# --- commands -----------------------------------------------------------------------------
# A fault that must lose against a check made later (existence, above all) travels in
# `fault`, so that the order of checks stays as the requirements say (PATCH: 412, 401/403,
# 404, 415, 400, 403 final, 400 algorithm, 409, 413).


@dataclass(frozen=True, slots=True)
class Discover:
    """OPTIONS: ask what this server can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One entry of `Upload-Concat: final`, with the credential its query string carried."""

    upload_id: UploadId
    query: str = ""
    caller: Caller | None = None
    """Whom that credential proved; None: it had none, and who sent the request counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """POST on the creation URL. All its faults are raised by the parser."""

    length: int | None
    """None: deferred, or the sum of the parts of a final upload.

    A final upload's own `Upload-Length`, if it was sent, stands here unchecked: who knows the
    parts compares it with their sum, and refuses it if it differs (400).
    """
    metadata: str = ""
    partial: bool = False
    parts: tuple[Part, ...] = ()
    """Not empty: a final upload."""
    concat: str = ""
    """`Upload-Concat` for HEAD: as received, without the query strings of parts."""
    has_body: bool = False
    """The request carries upload data (creation-with-upload)."""
    body_length: int | None = None
    """The announced length of that data; None for a chunked body."""
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """PATCH on an upload."""

    upload_id: UploadId
    offset: int = 0
    declared_length: int | None = None
    """`Upload-Length` of a deferred upload, declared by this request."""
    body_length: int | None = None
    checksum: Checksum | None = None
    fault: TusError | None = None
    """415 or 400: loses against 404."""
    algorithm_fault: TusError | None = None
    """The unsupported algorithm's 400: loses against 403 for a final upload."""


@dataclass(frozen=True, slots=True)
class Describe:
    """HEAD on an upload."""

    upload_id: UploadId


@dataclass(frozen=True, slots=True)
class Terminate:
    """DELETE on an upload."""

    upload_id: UploadId


@dataclass(frozen=True, slots=True)
class Download:
    """GET on an upload."""

    upload_id: UploadId


Command = Discover | Create | Append | Describe | Terminate | Download


# --- results ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What hooks add to the answer."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """The answer to OPTIONS."""

    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The upload exists; `with_body` when the request carried upload data."""

    upload: Upload
    with_body: bool = False
    close: bool = False
    """The body was not read to its end: close the connection."""
    extras: Extras = Extras()


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """Bytes were stored; `upload` is the record after it."""

    upload: Upload
    extras: Extras = Extras()


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The answer to HEAD; `offset` None is a final upload that waits for its parts."""

    upload: Upload
    offset: int | None
    length: int | None
    content_length: int | None = None
    """What a GET would give, when it would give anything."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """The upload is gone."""


Result = Discovered | Created | Appended | Described | Terminated


class Reply(NamedTuple):
    """A response, ready for the wire but for CORS. A tuple: each request makes one."""

    status: int
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    """Plain text; never sent for HEAD."""
    is_bare: bool = False
    """Nothing in it is an application's, and it has no body."""
    close: bool = False
