"""Everything that can go wrong, as one tree of errors (floor 1).

An error says what went wrong, carries the data needed to act on it and a stable `code`. It holds
no status number: dialects turn a code into one (`protocol/tus1.py`, `web/download.py`).
"""

from __future__ import annotations

from typing import ClassVar


class TusError(Exception):
    """The root of the tree: a stable code and one plain sentence.

    `retry_after` is in seconds; None when trying again makes no sense or needs no pause.
    `close` asks that the connection be closed after the answer.
    """

    code: ClassVar[str] = "error"
    sentence: ClassVar[str] = "The request could not be served."
    retry_after: int | None = None
    close: bool = False

    def __init__(self, sentence: str | None = None) -> None:
        """Use the class's own sentence unless a more exact one is given."""
        super().__init__(sentence or self.sentence)

    @property
    def message(self) -> str:
        """Give the sentence that is shown to the client."""
        return str(self.args[0])


# --- the request is wrong -----------------------------------------------------------------


class VersionUnsupported(TusError):
    """The protocol version is missing or not ours (tus 1.0.0, "Tus-Resumable")."""

    code = "version_unsupported"
    sentence = "This server speaks tus 1.0.0: send the header Tus-Resumable: 1.0.0."


class UploadNotFound(TusError):
    """No such upload: unknown, expired, terminated, invalid, or another owner's."""

    code = "upload_not_found"
    sentence = "There is no such upload: it never existed, has expired or was removed."


class ContentTypeUnsupported(TusError):
    """A PATCH without `application/offset+octet-stream` (tus 1.0.0, "PATCH")."""

    code = "content_type_unsupported"
    sentence = "A PATCH must have the header Content-Type: application/offset+octet-stream."


class ContentEncodingUnsupported(TusError):
    """A request body with a content coding: its bytes could not be counted exactly."""

    code = "content_encoding_unsupported"
    sentence = "Request bodies must not be compressed: leave Content-Encoding away."
    # A host's runner may fail to unpack the body that it has to skip.
    close = True


class HeaderInvalid(TusError):
    """A header is missing, repeated or malformed; `header` names it."""

    code = "header_invalid"

    def __init__(self, header: str, reason: str) -> None:
        """Name the header and say in a few words what is wrong with its value."""
        super().__init__(f"{header}: {reason}.")
        self.header = header
        self.reason = reason


class RequestMalformed(TusError):
    """The request is not valid HTTP, or its body broke off or was malformed."""

    code = "request_malformed"
    sentence = "The request is not well-formed HTTP."
    close = True


class MethodNotAllowed(TusError):
    """The method does not exist here, or its extension is switched off."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        """Name the refused method and those that work."""
        super().__init__(f"The method {method} is not allowed here.")
        self.allowed = allowed


class ExpectationFailed(TusError):
    """An `Expect` other than `100-continue` (RFC 9110 section 10.1.1)."""

    code = "expectation_failed"
    sentence = "The only expectation that is understood is 100-continue."


class FinalUploadImmutable(TusError):
    """PATCH on a final upload (tus 1.0.0, "Concatenation")."""

    code = "final_upload_immutable"
    sentence = "A final upload is made of its parts and cannot be written to."


class ChecksumAlgorithmUnsupported(TusError):
    """An algorithm that the server does not announce (tus 1.0.0, "Checksum")."""

    code = "checksum_algorithm_unsupported"

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        """Name what would be understood."""
        super().__init__(f"The checksum algorithm must be one of {', '.join(algorithms)}.")


class ChecksumMismatch(TusError):
    """The body does not have the announced digest; nothing of it was kept."""

    code = "checksum_mismatch"
    sentence = "The checksum does not match the body; nothing of it was kept: send it again."


class DigestMismatch(TusError):
    """The whole file does not have the digest that its metadata says; nothing of it was kept."""

    code = "digest_mismatch"
    sentence = "The file does not have the digest in its metadata; nothing was kept: start anew."


class OffsetMismatch(TusError):
    """`Upload-Offset` is not the upload's offset; `offset` is the true one."""

    code = "offset_mismatch"

    def __init__(self, offset: int) -> None:
        """Carry the true offset, in bytes."""
        super().__init__(f"The upload is at offset {offset}: go on from there.")
        self.offset = offset


class LengthExceeded(TusError):
    """The body holds more bytes than the upload still lacks."""

    code = "length_exceeded"
    sentence = "The body is longer than what the upload still lacks."


class LengthConflict(TusError):
    """A length was declared that contradicts what is known (creation-defer-length)."""

    code = "length_conflict"


class MaxSizeExceeded(TusError):
    """The upload would be larger than the server accepts."""

    code = "max_size_exceeded"

    def __init__(self, max_size: int | None) -> None:
        """Name the limit in bytes; None when the file system sets it."""
        limit = "the file system can hold" if max_size is None else f"{max_size} bytes"
        super().__init__(f"The upload is larger than {limit}.")


class OriginRefused(TusError):
    """A browser page of an origin that the operator did not allow."""

    code = "origin_refused"
    sentence = "Pages of this origin may not use this server."


class Unauthenticated(TusError):
    """No valid credential came with the request (RFC 9110 section 15.5.2).

    `challenge` is the value of `WWW-Authenticate` (RFC 6750 section 3).
    """

    code = "unauthenticated"
    sentence = "This server wants a valid credential: log in and try again."

    def __init__(self, sentence: str | None = None, *, challenge: str = "Bearer") -> None:
        """Say in one plain sentence what is wrong with the credential, without quoting it."""
        super().__init__(sentence)
        self.challenge = challenge


class Forbidden(TusError):
    """The credential is valid, but does not allow this."""

    code = "forbidden"
    sentence = "This credential does not allow the request."


class TypeRefused(TusError):
    """The operator does not accept files of this kind; nothing of it was kept."""

    code = "type_refused"
    sentence = "Files of this kind are not accepted here."


class RangeNotSatisfiable(TusError):
    """A `Range` that lies outside the upload (RFC 9110 section 14.2)."""

    code = "range_not_satisfiable"

    def __init__(self, length: int) -> None:
        """Carry the length of the upload, in bytes."""
        super().__init__(f"The range lies outside the {length} bytes of the upload.")
        self.length = length


# --- quotas -------------------------------------------------------------------------------


class QuotaExceeded(TusError):
    """The upload does not fit into what its owner may store; waiting does not help."""

    code = "quota_exceeded"
    sentence = "The upload does not fit into the space that its owner has left."


class StoreExhausted(TusError):
    """The upload does not fit into what all uploads together may take."""

    code = "store_exhausted"
    sentence = "The server has no room left for this upload."
    retry_after = 60


class TooManyUploads(TusError):
    """There are as many unfinished uploads as there may be."""

    code = "too_many_uploads"
    sentence = "There are too many unfinished uploads: finish or remove some first."
    retry_after = 30


class TooManyRequests(TusError):
    """Uploads are created faster than they may be."""

    code = "too_many_requests"
    sentence = "Uploads are being created too fast: try again later."
    retry_after = 60


class TooManyAppends(TusError):
    """As many requests as may be are sending data at this moment."""

    code = "too_many_appends"
    sentence = "Too many uploads are being sent at the same time: try again in a moment."
    retry_after = 5


# --- concatenation ------------------------------------------------------------------------


class PartNotFound(TusError):
    """A final upload names a part that does not exist here."""

    code = "part_not_found"
    sentence = "A part of the final upload does not exist on this server."


class PartInvalid(TusError):
    """A final upload names something that is not a partial upload."""

    code = "part_invalid"
    sentence = "Only partial uploads of this server can be joined to a final upload."


class PartPinned(TusError):
    """DELETE of a part that a final upload still needs."""

    code = "part_pinned"
    sentence = "A final upload is being assembled from this part: try again when it is done."
    retry_after = 1


# --- the upload is busy -------------------------------------------------------------------


class UploadLocked(TusError):
    """Another request holds the upload and could not let go in time."""

    code = "upload_locked"
    sentence = "Another request is using this upload and could not be stopped in time."
    retry_after = 1


class AppendSuperseded(TusError):
    """This append was stopped because a newer request took the upload over."""

    code = "append_superseded"
    sentence = "A newer request took this upload over; what was received has been kept."
    retry_after = 1
    close = True


# --- the machine or the operator's code ---------------------------------------------------


class ShuttingDown(TusError):
    """The server is stopping; what was received has been kept."""

    code = "shutting_down"
    sentence = "The server is stopping; what was received has been kept."
    retry_after = 1
    close = True


class BodyTimeout(TusError):
    """No byte arrived for the idle time-out; what was received has been kept."""

    code = "body_timeout"
    sentence = "No data arrived for too long; what was received has been kept."
    retry_after = 0
    close = True


class StorageFull(TusError):
    """Not enough space for the upload above the free-space reserve."""

    code = "storage_full"
    sentence = "There is not enough space left on the server for this upload."
    retry_after = 60


class StorageFault(TusError):
    """The disk or file system failed; the log names it."""

    code = "storage_fault"
    sentence = "The server could not read or write its storage."
    retry_after = 5


class StorageStalled(TusError):
    """The disk or file system does not answer; the log names it. Nothing is lost."""

    code = "storage_stalled"
    sentence = "The server's storage does not answer at the moment."
    retry_after = 5


class StateUnavailable(TusError):
    """The state store (Redis) did not answer; nothing is lost."""

    code = "state_unavailable"
    sentence = "The server's state store does not answer at the moment."
    retry_after = 2


class StateConflict(TusError):
    """The state store holds another record than the one this change was made from."""

    code = "state_conflict"
    sentence = "The upload was changed by another server at the same time."
    retry_after = 1


class StoreMismatch(TusError):
    """The record belongs to another store than this server was started with."""

    code = "store_mismatch"
    sentence = "This upload belongs to another store than the one this server uses."


class HookFailed(TusError):
    """A hook of the application failed or timed out."""

    code = "hook_failed"
    sentence = "The application could not be asked about this upload."
    retry_after = 5


class Rejected(TusError):
    """A hook of the application refused the request, with a status and text of its own."""

    code = "rejected"

    def __init__(
        self,
        status: int,
        text: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        body: str | None = None,
    ) -> None:
        """Carry the status (400 to 599), one plain sentence (or a whole body), and headers."""
        super().__init__(text)
        self.status = status
        self.headers = headers
        self.body = body


class InternalError(TusError):
    """A fault of this program; the log has the trace."""

    code = "internal_error"
    sentence = "The server failed; what was acknowledged before is kept."
    retry_after = 5


class ConfigError(TusError):
    """A setting is wrong: exit status 2 and one line."""

    code = "config_invalid"

    def __init__(self, key: str, value: object, reason: str) -> None:
        """Name the setting, its value and the reason."""
        super().__init__(f"{key}={value}: {reason}")
        self.key = key
        self.value = value
        self.reason = reason
