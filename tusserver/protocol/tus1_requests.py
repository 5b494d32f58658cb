"""How tus 1.0 asks for a creation or an append: the two commands that carry headers.

Floor 2, pure. Source: tus 1.0.0, "PATCH", "Creation", "Creation With Upload", "Checksum",
"Concatenation".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.errors import (
    ChecksumAlgorithmUnsupported,
    ContentEncodingUnsupported,
    ContentTypeUnsupported,
    HeaderInvalid,
    TusError,
)
from tusserver.protocol.headers import (
    Concat,
    joined,
    parse_checksum,
    parse_concat,
    parse_integer,
    parse_media_type,
    parse_metadata,
    parse_tokens,
    single,
)
from tusserver.protocol.messages import Append, Checksum, Create

if TYPE_CHECKING:
    from collections.abc import Container

    from tusserver.protocol.messages import Features, Head, Headers
    from tusserver.upload import UploadId

OFFSET_STREAM = "application/offset+octet-stream"
"""The media type of upload data."""


def parse_create(head: Head, features: Features, announced: Container[str]) -> Create:
    """Read a POST on the creation URL; `announced` are the extensions that work.

    Raises: HeaderInvalid, ContentEncodingUnsupported, ChecksumAlgorithmUnsupported,
    PartNotFound.
    """
    concat = _parse_concat(head.headers, features, announced)
    is_final = concat is not None and bool(concat.parts)
    length = _parse_length(head.headers, announced, is_final=is_final)
    metadata = joined(head.headers, "Upload-Metadata")
    parse_metadata(metadata)
    has_body = _has_upload_data(head, announced)
    checksum = _parse_checksum(head, features, announced)
    if has_body and is_final:
        if head.content_length != 0:
            raise HeaderInvalid("Upload-Concat", "a final upload takes no upload data")
        has_body = False
    return Create(
        length=length,
        metadata=metadata,
        partial=concat is not None and not is_final,
        parts=() if concat is None else concat.parts,
        concat="" if concat is None else concat.text,
        has_body=has_body,
        body_length=head.content_length if has_body else 0,
        checksum=checksum if has_body else None,
    )


def _parse_concat(headers: Headers, features: Features, announced: Container[str]) -> Concat | None:
    value = single(headers, "Upload-Concat")
    if value is None:
        return None
    if "concatenation" not in announced:
        raise HeaderInvalid("Upload-Concat", "this server does not join uploads")
    return parse_concat(value, base_path=features.base_path, max_parts=features.max_parts)


def _parse_length(headers: Headers, announced: Container[str], *, is_final: bool) -> int | None:
    """Read `Upload-Length` or `Upload-Defer-Length`; give None while the length is open."""
    length = _parse_optional_integer(headers, "Upload-Length")
    defer = single(headers, "Upload-Defer-Length")
    if defer is None:
        if length is None and not is_final:
            raise HeaderInvalid("Upload-Length", "is missing, and so is Upload-Defer-Length")
        return length
    if "creation-defer-length" not in announced:
        raise HeaderInvalid("Upload-Defer-Length", "this server must know the length")
    if defer != "1":
        raise HeaderInvalid("Upload-Defer-Length", "must be 1")
    if length is not None:
        raise HeaderInvalid("Upload-Defer-Length", "must not be sent with Upload-Length")
    if is_final:
        raise HeaderInvalid("Upload-Defer-Length", "must not be sent for a final upload")
    return None


def _has_upload_data(head: Head, announced: Container[str]) -> bool:
    """Tell whether the body of a POST is meant as upload data, also when it is empty.

    A body of any other type is not (some clients send a default type with an empty POST).
    """
    media_type = single(head.headers, "Content-Type")
    if "creation-with-upload" not in announced or media_type is None:
        return False
    if parse_media_type(media_type) != OFFSET_STREAM:
        return False
    if head.content_length != 0:
        _check_content_encoding(head.headers)
    return True


def parse_append(
    upload_id: UploadId, head: Head, features: Features, announced: Container[str]
) -> Append:
    """Read a PATCH on an upload; its faults travel in the command. Never raises."""
    offset, declared, checksum = 0, None, None
    fault: TusError | None = None
    algorithm_fault: TusError | None = None
    try:
        _check_append_type(head.headers)
        offset = _parse_offset(head.headers)
        declared = _parse_optional_integer(head.headers, "Upload-Length")
        checksum = _parse_checksum(head, features, announced)
    except ChecksumAlgorithmUnsupported as error:
        algorithm_fault = error
    except TusError as error:
        fault = error
    return Append(
        upload_id=upload_id,
        offset=offset,
        declared_length=declared,
        body_length=head.content_length,
        checksum=checksum,
        fault=fault,
        algorithm_fault=algorithm_fault,
    )


def _check_append_type(headers: Headers) -> None:
    media_type = single(headers, "Content-Type")
    if media_type is None or parse_media_type(media_type) != OFFSET_STREAM:
        raise ContentTypeUnsupported
    _check_content_encoding(headers)


def _check_content_encoding(headers: Headers) -> None:
    if set(parse_tokens(headers, "Content-Encoding")) - {"identity"}:
        raise ContentEncodingUnsupported


def _parse_offset(headers: Headers) -> int:
    offset = _parse_optional_integer(headers, "Upload-Offset")
    if offset is None:
        raise HeaderInvalid("Upload-Offset", "is missing")
    return offset


def _parse_optional_integer(headers: Headers, name: str) -> int | None:
    value = single(headers, name)
    return None if value is None else parse_integer(name, value)


def _parse_checksum(head: Head, features: Features, announced: Container[str]) -> Checksum | None:
    """Read `Upload-Checksum`, or learn that a trailer will bring it."""
    if "checksum" not in announced:
        return None
    value = single(head.headers, "Upload-Checksum")
    # Only a chunked message has trailers (RFC 9110 section 6.5).
    trailing = head.content_length is None and "upload-checksum" in parse_tokens(
        head.headers, "Trailer"
    )
    if trailing and "checksum-trailer" in announced:
        if value is not None:
            raise HeaderInvalid("Upload-Checksum", "was sent, and announced as a trailer too")
        if not head.can_trail:
            # The client was promised the check: bytes must not be kept without it.
            raise HeaderInvalid("Trailer", "trailers do not arrive on this connection")
        return Checksum("", None)
    return None if value is None else parse_checksum(value, features.algorithms)
