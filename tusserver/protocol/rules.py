"""Every check of a command against a record, and every step from one record to the next.

Floor 2, pure: the time and the epoch are arguments. Source: tus 1.0.0, core protocol,
"Creation", "Checksum", "Expiration", "Concatenation".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tusserver.errors import (
    FinalUploadImmutable,
    LengthConflict,
    LengthExceeded,
    MaxSizeExceeded,
    OffsetMismatch,
    PartInvalid,
    PartNotFound,
    UploadNotFound,
)
from tusserver.upload import MAX_INTEGER, EventState, Kind, Limits, Status, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tusserver.caller import Caller
    from tusserver.protocol.messages import Append, Create


# --- checks -------------------------------------------------------------------------------


def check_create(command: Create, limits: Limits) -> None:
    """Refuse a creation that can never be completed (tus 1.0.0, "Creation").

    Raises: MaxSizeExceeded, LengthExceeded.
    """
    _check_size(command.length, limits)
    known = command.body_length or 0
    if command.length is not None and known > command.length:
        raise LengthExceeded
    if command.length is None and not command.parts:
        _check_size(known, limits)


def check_exists(upload: Upload | None, now: datetime) -> Upload:
    """Prove that an upload is there for clients: known, made, valid and not expired.

    Raises: UploadNotFound.
    """
    if upload is None or not _is_there(upload, now):
        raise UploadNotFound
    return upload


def _is_there(upload: Upload, now: datetime) -> bool:
    is_over = upload.status.rank > Status.COMPLETE.rank or is_expired(upload, now)
    return not is_over and not upload.is_unmade


def check_visible(upload: Upload, caller: Caller) -> Upload:
    """Hide uploads from those whose they are not: 404, as if there were none.

    Raises: UploadNotFound.
    """
    if not is_visible(upload, caller):
        raise UploadNotFound
    return upload


def is_visible(upload: Upload, caller: Caller) -> bool:
    """Tell whether an upload is there for this caller."""
    owns = caller.owner is None or caller.owner == upload.owner
    return owns and (not caller.grant or caller.grant == upload.grant)


def limits_of(caller: Caller, limits: Limits) -> Limits:
    """Give the limits that hold for a caller: the narrower of two sizes."""
    if caller.max_size is None:
        return limits
    sizes = [size for size in (caller.max_size, limits.max_size) if size is not None]
    return replace(limits, max_size=min(sizes))


def check_append(upload: Upload, command: Append, limits: Limits) -> int | None:
    """Check all of a PATCH but its offset; give the length that holds for it, if any.

    Raises, in this order: the command's 415 or 400, FinalUploadImmutable, the command's
    algorithm fault, LengthConflict, MaxSizeExceeded.
    """
    if command.fault is not None:
        raise command.fault
    if upload.kind is Kind.FINAL:
        raise FinalUploadImmutable
    if command.algorithm_fault is not None:
        raise command.algorithm_fault
    return declare_length(upload, command.declared_length, limits)


def check_offset(command: Append, limits: Limits, *, length: int | None, offset: int) -> None:
    """Compare the offset and the announced body with where the upload is (tus 1.0.0, "PATCH").

    `length` is what `check_append` gave, `offset` the committed one. Raises: OffsetMismatch,
    also for a complete upload; LengthExceeded; MaxSizeExceeded.
    """
    if command.offset != offset:
        raise OffsetMismatch(offset)
    announced = command.body_length or 0
    if length is not None and announced > length - offset:
        raise LengthExceeded
    if length is None:
        _check_size(offset + announced, limits)


def declare_length(upload: Upload, declared: int | None, limits: Limits) -> int | None:
    """Give the length of an upload after `Upload-Length` came with a PATCH (or did not).

    The same value again is accepted. Raises: LengthConflict, MaxSizeExceeded.
    """
    if declared is None or declared == upload.length:
        return upload.length
    if upload.length is not None:
        raise LengthConflict(f"The upload's length is {upload.length} and cannot be changed.")
    if declared < upload.offset:
        raise LengthConflict(f"The upload already holds {upload.offset} bytes.")
    _check_size(declared, limits)
    return declared


def _check_size(size: int | None, limits: Limits) -> None:
    if size is not None and limits.max_size is not None and size > limits.max_size:
        raise MaxSizeExceeded(limits.max_size)


def window(offset: int, length: int | None, limits: Limits) -> int:
    """Give the number of bytes that may be stored from `offset` on."""
    if length is not None:
        return length - offset
    return (MAX_INTEGER if limits.max_size is None else limits.max_size) - offset


def check_parts(parts: Sequence[Upload | None], now: datetime, limits: Limits) -> int | None:
    """Check the parts of a final upload; give its length, None while a part's is unknown.

    A part that occurs twice counts twice. Raises: PartNotFound, PartInvalid, MaxSizeExceeded.
    """
    total: int | None = 0
    for part in parts:
        if part is None or not _is_there(part, now):
            raise PartNotFound
        if part.kind is not Kind.PARTIAL:
            raise PartInvalid
        total = None if total is None or part.length is None else total + part.length
    if total is not None and total > MAX_INTEGER:
        raise MaxSizeExceeded(limits.max_size)
    _check_size(total, limits)
    return total


# --- from one record to the next ----------------------------------------------------------


def is_expired(upload: Upload, now: datetime) -> bool:
    """Tell whether an upload is past its time (tus 1.0.0, "Expiration")."""
    return upload.expires_at is not None and upload.expires_at <= now


def expires_at(kind: Kind, status: Status, now: datetime, limits: Limits) -> datetime | None:
    """Give the time at which an upload expires if nothing more happens to it.

    A finished partial upload is not a finished upload: it waits for its final one.
    """
    finished = status is Status.COMPLETE and kind is not Kind.PARTIAL
    life = limits.expire_finished if finished else limits.expire_after
    return None if life is None else now + timedelta(seconds=life)


def in_epoch(upload: Upload, epoch: str) -> Upload:
    """Give what is true of a record in this life of machine and volume.

    What a power cut may have taken is everything that no fdatasync covered. The version stays:
    nothing was committed.
    """
    if upload.epoch == epoch or upload.status is not Status.OPEN:
        return upload
    return upload.changed(offset=upload.synced)


def newer(left: Upload | None, right: Upload | None) -> Upload | None:
    """Give the newer of two records of one upload: the status further on, then the version."""
    if left is None or right is None:
        return left or right
    return max(left, right, key=lambda upload: (upload.status.rank, upload.version))


def after_bytes(
    upload: Upload,
    *,
    offset: int,
    length: int | None,
    epoch: str,
    now: datetime,
    limits: Limits,
) -> Upload:
    """Give the record after bytes up to `offset` were stored, never one that looks complete.

    The last byte, and a length that equals the offset, are only committed by the finish.
    """
    if length is not None and offset >= length:
        offset = max(upload.offset, length - 1)
        if offset >= length:
            length = upload.length
    return upload.next(
        offset=offset,
        length=length,
        epoch=epoch,
        expires_at=expires_at(upload.kind, Status.OPEN, now, limits),
    )


def after_sync(upload: Upload, *, synced: int) -> Upload:
    """Give the record after an fdatasync that covered `synced` bytes."""
    return upload.next(synced=max(upload.synced, min(synced, upload.offset)))


def after_finish(
    upload: Upload,
    *,
    length: int,
    synced: bool,
    event_id: str,
    epoch: str,
    now: datetime,
    limits: Limits,
) -> Upload:
    """Give the record of a finished upload; an `event_id` makes its finish event pending."""
    return upload.next(
        offset=length,
        length=length,
        synced=length if synced else upload.synced,
        status=Status.COMPLETE,
        event=EventState.PENDING if event_id else EventState.NONE,
        event_id=event_id,
        epoch=epoch,
        expires_at=expires_at(upload.kind, Status.COMPLETE, now, limits),
    )


def after_fault(upload: Upload) -> Upload:
    """Give the record after a sync failed: only what was synced before is known to be there."""
    return upload.next(offset=upload.synced)
