"""The tus 1.0 dialect: requests into commands, results and errors into replies.

Floor 2, pure. Source: tus 1.0.0, the core protocol and its extensions. The table of status
numbers stands here and in no other place of the protocol.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, assert_never

from tusserver.errors import (
    HeaderInvalid,
    InternalError,
    MaxSizeExceeded,
    MethodNotAllowed,
    OffsetMismatch,
    RangeNotSatisfiable,
    Rejected,
    TusError,
    Unauthenticated,
    UploadLocked,
    UploadNotFound,
    VersionUnsupported,
)
from tusserver.protocol.headers import format_imf_fixdate, is_token, single
from tusserver.protocol.messages import (
    Appended,
    Command,
    Created,
    Describe,
    Described,
    Discover,
    Discovered,
    Download,
    Reply,
    Result,
    Terminate,
    Terminated,
)
from tusserver.protocol.tus1_requests import parse_append, parse_create
from tusserver.upload import Kind, UploadId, is_upload_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tusserver.protocol.messages import Extras, Features, Head, Headers
    from tusserver.upload import Upload

VERSION = "1.0.0"
_VERSION_FIELD = ("Tus-Resumable", VERSION)
_UNCACHED = ("Cache-Control", "no-store")

_OVERRIDE = "X-HTTP-Method-Override"

STATUS: dict[str, tuple[int, str]] = {
    "header_invalid": (400, "Bad Request"),
    "request_malformed": (400, "Bad Request"),
    "checksum_algorithm_unsupported": (400, "Bad Request"),
    "length_conflict": (400, "Bad Request"),
    "part_invalid": (400, "Bad Request"),
    "unauthenticated": (401, "Unauthorized"),
    "final_upload_immutable": (403, "Forbidden"),
    "forbidden": (403, "Forbidden"),
    "origin_refused": (403, "Forbidden"),
    "rejected": (403, "Forbidden"),  # only its default: a Rejected brings its own status
    "upload_not_found": (404, "Not Found"),
    "part_not_found": (404, "Not Found"),
    "method_not_allowed": (405, "Method Not Allowed"),
    "offset_mismatch": (409, "Conflict"),
    "part_pinned": (409, "Conflict"),
    "version_unsupported": (412, "Precondition Failed"),
    "length_exceeded": (413, "Content Too Large"),
    "max_size_exceeded": (413, "Content Too Large"),
    "quota_exceeded": (413, "Content Too Large"),
    "type_refused": (415, "Unsupported Media Type"),
    "content_type_unsupported": (415, "Unsupported Media Type"),
    "content_encoding_unsupported": (415, "Unsupported Media Type"),
    "range_not_satisfiable": (416, "Range Not Satisfiable"),
    "expectation_failed": (417, "Expectation Failed"),
    "store_mismatch": (421, "Misdirected Request"),
    "upload_locked": (423, "Locked"),
    "append_superseded": (423, "Locked"),
    "too_many_uploads": (429, "Too Many Requests"),
    "too_many_requests": (429, "Too Many Requests"),
    "too_many_appends": (429, "Too Many Requests"),
    "checksum_mismatch": (460, "Checksum Mismatch"),
    "digest_mismatch": (460, "Checksum Mismatch"),
    "internal_error": (500, "Internal Server Error"),
    "shutting_down": (503, "Service Unavailable"),
    "body_timeout": (503, "Service Unavailable"),
    "storage_fault": (503, "Service Unavailable"),
    "storage_stalled": (503, "Service Unavailable"),
    "state_unavailable": (503, "Service Unavailable"),
    "state_conflict": (503, "Service Unavailable"),
    "hook_failed": (503, "Service Unavailable"),
    "storage_full": (507, "Insufficient Storage"),
    "store_exhausted": (507, "Insufficient Storage"),
}
"""The status and reason of every error, by its code."""

_EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "checksum-trailer",
    "termination",
    "expiration",
    "concatenation",
    "concatenation-unfinished",
)

# Clients may leave the version away where nothing is changed: browsers send none.
_NEEDS_VERSION = frozenset({"POST", "PATCH", "DELETE"})

# What an application adds must not break the framing of the message.
_FRAMING = frozenset(
    {"connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"}
)


class Tus1:
    """The dialect of tus 1.0; it holds no state."""

    @staticmethod
    def method(head: Head) -> str:
        """Give the method that a request means (tus 1.0.0, "X-HTTP-Method-Override").

        Honoured from any method, but only beside `Tus-Resumable`, which no page of another
        origin can send without asking first. Never raises: `parse` refuses a malformed one.
        """
        headers = head.headers
        if _OVERRIDE not in headers or "Tus-Resumable" not in headers:
            return head.method
        values = headers.getall(_OVERRIDE)
        value = values[0].strip(" \t")
        return value.upper() if len(values) == 1 and is_token(value) else head.method

    def parse(self, head: Head, features: Features) -> Command:
        """Turn the head of a request into a command; nothing of its body is needed.

        Raises: VersionUnsupported before all else; MethodNotAllowed; UploadNotFound for a
        segment that is no id of ours; every fault of a creation. Those of a PATCH that lose
        against checks of the record travel in the command.
        """
        method = self.method(head)
        _check_version(head.headers, method)
        _check_override(head.headers)
        if method == "OPTIONS":
            return Discover()
        segment = head.segment
        look_up = _allowed_on_creation_url if segment is None else _allowed_on_upload
        allowed = look_up(features)
        if method not in allowed:
            raise MethodNotAllowed(method, allowed)
        if segment is None:
            return parse_create(head, features, _announced(features))
        if not is_upload_id(segment):
            raise UploadNotFound
        upload_id = UploadId(segment)
        match method:
            case "HEAD":
                return Describe(upload_id)
            case "GET":
                return Download(upload_id)
            case "DELETE":
                return Terminate(upload_id)
            case _:
                return parse_append(upload_id, head, features, _announced(features))

    def reply(
        self,
        result: Result,
        *,
        features: Features,
        locate: Callable[[UploadId], str],
        head: Head,
    ) -> Reply:
        """Turn a result into a reply; `locate` gives the URL of an upload.

        `head` is the request's: only an answer to a real HEAD may tell the `Content-Length`
        of a body that does not follow; to an overridden one it would announce bytes.
        """
        match result:
            case Described():
                fields = _describe_upload(result)
                if head.method == "HEAD" and result.content_length is not None:
                    fields.append(("Content-Length", str(result.content_length)))
                return _reply(200, fields)
            case Appended():
                fields = [("Upload-Offset", str(result.upload.offset)), *_expiry(result.upload)]
                return _reply(204, fields, extras=result.extras)
            case Created():
                fields = [("Location", locate(result.upload.upload_id))]
                if result.with_body:
                    fields.append(("Upload-Offset", str(result.upload.offset)))
                fields += _expiry(result.upload)
                return _reply(201, fields, extras=result.extras, close=result.close)
            case Terminated():
                return _reply(204, [])
            case Discovered():
                return _reply(204, _describe_server(features))
            case _:
                assert_never(result)

    def fail(self, error: TusError, *, features: Features, head: Head) -> Reply:
        """Turn an error into a reply: `code: sentence` as text, and what helps to go on.

        To HEAD, trouble that passes is always 423: clients take any other status for the loss
        of the upload, and begin anew.
        """
        method = self.method(head)
        status, reason = STATUS.get(error.code, STATUS[InternalError.code])
        retry_after = error.retry_after
        if isinstance(error, Rejected):
            status, reason = error.status, ""
        passes = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.LOCKED
        if method == "HEAD" and passes:
            status, reason = STATUS[UploadLocked.code]
            retry_after = retry_after or UploadLocked.retry_after
        fields = [
            ("Tus-Resumable", VERSION),
            ("X-Content-Type-Options", "nosniff"),
            *_remedy(error, features),
        ]
        if retry_after is not None:
            fields.append(("Retry-After", str(retry_after)))
        if method in {"HEAD", "GET"}:
            fields.append(("Cache-Control", "no-store"))
        added = error.headers if isinstance(error, Rejected) else ()
        body = error.body if isinstance(error, Rejected) else None
        if method != "HEAD":
            typed = body is not None and any(name.lower() == "content-type" for name, _ in added)
            if not typed:
                fields.append(("Content-Type", "text/plain; charset=utf-8"))
            body = f"{error.code}: {error.message}\n" if body is None else body
        return Reply(
            status=status,
            reason=reason or None,
            headers=_with_added(fields, added),
            body="" if method == "HEAD" else body or "",
            close=error.close,
        )


# --- what this server can do --------------------------------------------------------------


@lru_cache(maxsize=64)
def _announced(features: Features) -> tuple[str, ...]:
    """Give `Tus-Extension`: what works, with all that it needs, in a stable order."""
    works = set(features.extensions)
    if "creation" not in works:
        works -= {"creation-with-upload", "creation-defer-length"}
    if not features.algorithms:
        works.discard("checksum")
    if "checksum" in works and features.trailers:
        works.add("checksum-trailer")
    else:
        works.discard("checksum-trailer")
    if "concatenation" in works:
        works.add("concatenation-unfinished")
    else:
        works.discard("concatenation-unfinished")
    return tuple(extension for extension in _EXTENSIONS if extension in works)


@lru_cache(maxsize=64)
def _allowed_on_creation_url(features: Features) -> tuple[str, ...]:
    return ("POST", "OPTIONS") if "creation" in _announced(features) else ("OPTIONS",)


@lru_cache(maxsize=64)
def _allowed_on_upload(features: Features) -> tuple[str, ...]:
    get = ("GET",) if "download" in features.extensions else ()
    delete = ("DELETE",) if "termination" in _announced(features) else ()
    return (*get, "HEAD", "PATCH", *delete, "OPTIONS")


def _describe_server(features: Features) -> list[tuple[str, str]]:
    announced = _announced(features)
    fields = [("Tus-Version", VERSION)]
    if announced:
        # No blanks: TUSKit splits at commas and does not trim.
        fields.append(("Tus-Extension", ",".join(announced)))
    if features.max_size is not None:
        fields.append(("Tus-Max-Size", str(features.max_size)))
    if "checksum" in announced:
        fields.append(("Tus-Checksum-Algorithm", ",".join(features.algorithms)))
    return fields


# --- requests -----------------------------------------------------------------------------


def _check_version(headers: Headers, method: str) -> None:
    if method == "OPTIONS":
        return
    version = single(headers, "Tus-Resumable")
    if version is None and method not in _NEEDS_VERSION:
        return
    if version != VERSION:
        raise VersionUnsupported


def _check_override(headers: Headers) -> None:
    if _OVERRIDE not in headers or "Tus-Resumable" not in headers:
        return
    value = single(headers, _OVERRIDE)
    if value is not None and not is_token(value):
        raise HeaderInvalid(_OVERRIDE, "must be the name of a method")


# --- replies ------------------------------------------------------------------------------


def _reply(
    status: int,
    fields: list[tuple[str, str]],
    *,
    extras: Extras | None = None,
    close: bool = False,
) -> Reply:
    """Make a reply; what hooks add comes after what the protocol says."""
    fields.insert(0, _VERSION_FIELD)
    if extras is None or not (extras.headers or extras.body):
        return Reply(status=status, headers=tuple(fields), is_bare=True, close=close)
    added = tuple(extras.headers.items())
    body = extras.body or ""
    if body:
        status = HTTPStatus.OK if status == HTTPStatus.NO_CONTENT else status
        fields.append(("X-Content-Type-Options", "nosniff"))
        if not any(name.lower() == "content-type" for name, _ in added):
            fields.append(("Content-Type", "text/plain; charset=utf-8"))
    return Reply(
        status=status,
        headers=_with_added(fields, added),
        body=body,
        close=close,
    )


def _with_added(
    fields: list[tuple[str, str]], added: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Add an application's headers, but for those that the protocol or HTTP has set."""
    if not added:
        return tuple(fields)
    taken = {name.lower() for name, _ in fields} | _FRAMING
    return (*fields, *((name, value) for name, value in added if name.lower() not in taken))


def _expiry(upload: Upload) -> list[tuple[str, str]]:
    if upload.expires_at is None:
        return []
    return [("Upload-Expires", format_imf_fixdate(upload.expires_at))]


def _describe_upload(result: Described) -> list[tuple[str, str]]:
    upload = result.upload
    fields = [_UNCACHED]
    if result.offset is not None:
        fields.append(("Upload-Offset", str(result.offset)))
    if result.length is not None:
        fields.append(("Upload-Length", str(result.length)))
    elif upload.kind is not Kind.FINAL:
        # The length of a final upload is not deferred: its parts will tell it.
        fields.append(("Upload-Defer-Length", "1"))
    if upload.metadata:
        fields.append(("Upload-Metadata", upload.metadata))
    if upload.concat:
        fields.append(("Upload-Concat", upload.concat))
    if upload.digest:
        fields.append(("Repr-Digest", upload.digest))
    if upload.expires_at is not None:
        fields += _expiry(upload)
    return fields


def _remedy(error: TusError, features: Features) -> list[tuple[str, str]]:
    """Give the headers that tell a client what would have been right."""
    fields: list[tuple[str, str]] = []
    match error:
        case VersionUnsupported():
            fields.append(("Tus-Version", VERSION))
        case OffsetMismatch():
            fields.append(("Upload-Offset", str(error.offset)))
        case Unauthenticated():
            fields.append(("WWW-Authenticate", error.challenge))
        case MethodNotAllowed():
            fields.append(("Allow", ", ".join(error.allowed)))
        case RangeNotSatisfiable():
            fields.append(("Content-Range", f"bytes */{error.length}"))
        case MaxSizeExceeded() if features.max_size is not None:
            fields.append(("Tus-Max-Size", str(features.max_size)))
        case _:
            pass
    return fields
