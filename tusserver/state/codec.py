"""How a record is written to the state store: `Upload` to bytes and back (floor 4).

The first field of the JSON object names the codec version. A change of the fields is a new
version; bytes of every version that was ever released stay readable.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tusserver.errors import StateConflict
from tusserver.upload import EventState, Kind, Status, Upload, UploadId

CODEC_VERSION = 2
READABLE = (1, 2)
"""What can be read. 2 added the grant and the digest."""


def format_upload(upload: Upload) -> bytes:
    """Write a record as bytes; equal records give equal bytes."""
    fields = {
        "codec": CODEC_VERSION,
        "upload_id": upload.upload_id,
        "version": upload.version,
        "status": upload.status.value,
        "kind": upload.kind.value,
        "length": upload.length,
        "offset": upload.offset,
        "synced": upload.synced,
        "epoch": upload.epoch,
        "created_at": _format_time(upload.created_at),
        "expires_at": None if upload.expires_at is None else _format_time(upload.expires_at),
        "metadata": upload.metadata,
        "parts": upload.parts,
        "concat": upload.concat,
        "assembled": upload.assembled,
        "owner": upload.owner,
        "grant": upload.grant,
        "storage": upload.storage,
        "event": upload.event.value,
        "event_id": upload.event_id,
        "digest": upload.digest,
    }
    # Escaped to ASCII, so that whatever a header could bring in comes out again.
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def parse_upload(data: bytes) -> Upload:
    """Read a record that any released version of this program wrote.

    Raises: StateConflict for bytes of a later version, and for bytes that are no record.
    """
    try:
        fields = json.loads(data)
        version = fields["codec"]
    except (ValueError, TypeError, LookupError, RecursionError) as exc:
        raise StateConflict("The state store holds something that is not a record.") from exc
    if version not in READABLE:
        raise StateConflict(
            f"The record was written in version {version!r} of its format; this server reads "
            f"versions up to {CODEC_VERSION}: a later tusserver uses the same state store."
        )
    try:
        return _parse_fields(fields)
    except (ValueError, TypeError, LookupError) as exc:
        raise StateConflict(f"The state store holds a damaged record: {exc}.") from exc


def _parse_fields(fields: dict[str, Any]) -> Upload:
    expires_at = fields["expires_at"]
    return Upload(
        upload_id=UploadId(fields["upload_id"]),
        version=fields["version"],
        status=Status(fields["status"]),
        kind=Kind(fields["kind"]),
        length=fields["length"],
        offset=fields["offset"],
        synced=fields["synced"],
        epoch=fields["epoch"],
        created_at=_parse_time(fields["created_at"]),
        expires_at=None if expires_at is None else _parse_time(expires_at),
        metadata=fields["metadata"],
        parts=tuple(UploadId(part) for part in fields["parts"]),
        concat=fields["concat"],
        assembled=fields["assembled"],
        owner=fields["owner"],
        grant=fields.get("grant", ""),
        storage=fields["storage"],
        event=EventState(fields["event"]),
        event_id=fields["event_id"],
        digest=fields.get("digest", ""),
    )


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
