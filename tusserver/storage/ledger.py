"""How the record beside the data is written: `Upload` to bytes and back (floor 4).

A ledger file, readable with `cat`:

    0     512   slot 0: the record's moving part with an even version
    512   512   slot 1: the same with an odd version
    1024  512   the holder of the lease, blank when it is free
    1536        the fixed part: one line of JSON, one line with its CRC; written once

Slots are lines of `key=value`, padded with spaces, with a CRC-32 of what stands before it. The
valid slot with the higher version holds; each is one pwrite into a disk sector of its own, so a
torn one leaves the other. A change of the fields is a new format; bytes of every format that was
ever released stay readable.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from urllib.parse import quote, unquote

from tusserver.ports import Holder
from tusserver.upload import EventState, Kind, Status, Upload, UploadId

FORMAT = 2
FORMATS = (1, 2)
"""What can be read. 2 added the grant and the digest."""
SECTOR = 512
HOLDER_AT = 2 * SECTOR
FIXED_AT = 3 * SECTOR

_MARK = b" crc="
_TAIL = len(_MARK) + 8 + 1
_BODY = SECTOR - _TAIL
_SLOT_NAME = f"slot{FORMAT}"
_SLOT_NAMES = frozenset(f"slot{number}" for number in FORMATS)
_HOLDER_NAME = "holder"
BLANK = b" " * (SECTOR - 1) + b"\n"
"""A sector that says nothing."""

# Printable ASCII stays as it is, but for what separates fields.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "%=")
_IS_PLAIN = re.compile(f"[{re.escape(_PLAIN)}]*").fullmatch


class LedgerError(Exception):
    """These bytes hold no valid record; the reason is in the message."""


class LedgerForeign(LedgerError):
    """A valid ledger that is not ours to read: of another store, or of a later format."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """What never changes of a record, and whose it is."""

    store_id: str
    upload_id: UploadId
    created_at: datetime
    metadata: str
    kind: Kind
    parts: tuple[UploadId, ...]
    concat: str
    owner: str
    grant: str
    storage: str


_FIXED_OF = attrgetter(*(field.name for field in fields(Fixed) if field.name != "store_id"))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger file, read."""

    fixed: Fixed
    record: Upload | None
    """The newest valid record; None if both slots are torn."""
    versions: tuple[int | None, int | None]
    """The versions in the two slots; None for one that is blank or torn."""
    slots: bytes
    """Both slots as they are in the file."""
    size: int
    """The bytes of the whole file."""


def fixed_part(upload: Upload, store_id: str) -> Fixed:
    """Give what of a record never changes."""
    return Fixed(
        store_id=store_id,
        upload_id=upload.upload_id,
        created_at=upload.created_at,
        metadata=upload.metadata,
        kind=upload.kind,
        parts=upload.parts,
        concat=upload.concat,
        owner=upload.owner,
        grant=upload.grant,
        storage=upload.storage,
    )


def has_fixed(upload: Upload, fixed: Fixed) -> bool:
    """Tell whether this is what never changes of a record, in the store that it is of."""
    return bool(_FIXED_OF(upload) == _FIXED_OF(fixed))


def slot_at(version: int) -> int:
    """Give the place of the slot for a version."""
    return version % 2 * SECTOR


# --- the whole file -----------------------------------------------------------------------


def format_ledger(upload: Upload, store_id: str, holder: Holder | None) -> bytes:
    """Write a whole new ledger file with one record in it. Raises: LedgerError (too long)."""
    slots = [BLANK, BLANK]
    slots[upload.version % 2] = format_slot(upload)
    fixed = format_fixed(fixed_part(upload, store_id))
    return b"".join(slots) + (BLANK if holder is None else format_holder(holder)) + fixed


def parse_ledger(data: bytes, *, upload_id: UploadId, store_id: str) -> Ledger:
    """Read a ledger file that any released version of this program wrote.

    Raises: LedgerError; LedgerForeign, which must not be taken for damage.
    """
    fixed = parse_fixed(data[FIXED_AT:])
    if fixed.store_id != store_id:
        raise LedgerForeign(f"it belongs to store {fixed.store_id}, this one is {store_id}")
    if fixed.upload_id != upload_id:
        raise LedgerError(f"it belongs to upload {fixed.upload_id}")
    records = parse_slots(data, fixed)
    first, second = (None if record is None else record.version for record in records)
    return Ledger(
        fixed=fixed,
        record=newest(records),
        versions=(first, second),
        slots=data[:HOLDER_AT],
        size=len(data),
    )


def parse_slots(data: bytes, fixed: Fixed) -> tuple[Upload | None, Upload | None]:
    """Read both slots; None for one that is blank or torn. Raises: LedgerForeign."""
    return _try_slot(data[:SECTOR], fixed), _try_slot(data[SECTOR:HOLDER_AT], fixed)


def newest(records: tuple[Upload | None, Upload | None]) -> Upload | None:
    """Give the record with the higher version."""
    first, second = records
    if first is None or second is None:
        return first or second
    return first if first.version >= second.version else second


def _try_slot(data: bytes, fixed: Fixed) -> Upload | None:
    if data == BLANK:
        return None
    try:
        return parse_slot(data, fixed)
    except LedgerForeign:
        raise
    except LedgerError:
        return None


# --- slots --------------------------------------------------------------------------------


def format_slot(upload: Upload) -> bytes:
    """Write what moves of a record as one sector. Raises: LedgerError (too long)."""
    length = "-" if upload.length is None else upload.length
    expires = "-" if upload.expires_at is None else _quoted(_format_time(upload.expires_at))
    return _format_sector(
        f"{_SLOT_NAME} version={upload.version} offset={upload.offset} length={length} "
        f"synced={upload.synced} status={upload.status._value_} epoch={_quoted(upload.epoch)} "
        f"expires={expires} assembled={upload.assembled:d} event={upload.event._value_} "
        f"event_id={_quoted(upload.event_id)} digest={_quoted(upload.digest)}"
    )


def parse_slot(data: bytes, fixed: Fixed) -> Upload:
    """Read one sector back into a record. Raises: LedgerError, LedgerForeign."""
    name, fields = _parse_sector(data)
    if name not in _SLOT_NAMES:
        raise LedgerForeign(f"a slot has the format {name!r}: a later tusserver wrote it")
    try:
        length, expires = fields["length"], fields["expires"]
        return Upload(
            upload_id=fixed.upload_id,
            created_at=fixed.created_at,
            length=None if length == "-" else int(length),
            offset=int(fields["offset"]),
            synced=int(fields["synced"]),
            epoch=fields["epoch"],
            metadata=fixed.metadata,
            status=Status(fields["status"]),
            kind=fixed.kind,
            parts=fixed.parts,
            concat=fixed.concat,
            assembled=fields["assembled"] == "1",
            expires_at=None if expires == "-" else datetime.fromisoformat(expires),
            owner=fixed.owner,
            grant=fixed.grant,
            storage=fixed.storage,
            event=EventState(fields["event"]),
            event_id=fields["event_id"],
            digest=fields.get("digest", ""),
            version=int(fields["version"]),
        )
    except (ValueError, LookupError) as exc:
        raise LedgerError(f"a slot makes no record: {exc}") from exc


# --- the holder ---------------------------------------------------------------------------


def format_holder(holder: Holder) -> bytes:
    """Write who holds the lease as one sector."""
    since = _quoted(_format_time(holder.since))
    return _format_sector(
        f"{_HOLDER_NAME} pid={holder.pid} mailbox={_quoted(holder.mailbox)} since={since}"
    )


def parse_holder(data: bytes) -> Holder | None:
    """Read who holds the lease; None if it is free or cannot be read: it is a hint only."""
    try:
        name, fields = _parse_sector(data)
        if name != _HOLDER_NAME:
            return None
        return Holder(
            pid=int(fields["pid"]),
            mailbox=fields["mailbox"],
            since=datetime.fromisoformat(fields["since"]),
        )
    except (LedgerError, ValueError, LookupError):
        return None


# --- the fixed part -----------------------------------------------------------------------


def format_fixed(fixed: Fixed) -> bytes:
    """Write what never changes of a record."""
    fields = {
        "format": FORMAT,
        "store": fixed.store_id,
        "upload_id": fixed.upload_id,
        "created_at": _format_time(fixed.created_at),
        "metadata": fixed.metadata,
        "kind": fixed.kind.value,
        "concat": fixed.concat,
        "owner": fixed.owner,
        "grant": fixed.grant,
        "storage": fixed.storage,
        "parts": fixed.parts,
    }
    # Escaped to ASCII, so that whatever a header could bring in comes out again.
    line = json.dumps(fields).encode("ascii") + b"\n"
    return line + b"crc=%08x\n" % zlib.crc32(line)


def parse_fixed(data: bytes) -> Fixed:
    """Read back what never changes of a record. Raises: LedgerError, LedgerForeign."""
    line, newline, tail = data.partition(b"\n")
    line += newline
    if tail != b"crc=%08x\n" % zlib.crc32(line):
        raise LedgerError("its fixed part is damaged or missing")
    try:
        fields: dict[str, Any] = json.loads(line)
        if fields["format"] not in FORMATS:
            raise LedgerForeign(f"it has format {fields['format']!r}: a later tusserver wrote it")
        return Fixed(
            store_id=fields["store"],
            upload_id=UploadId(fields["upload_id"]),
            created_at=datetime.fromisoformat(fields["created_at"]),
            metadata=fields["metadata"],
            kind=Kind(fields["kind"]),
            parts=tuple(UploadId(part) for part in fields["parts"]),
            concat=fields["concat"],
            owner=fields["owner"],
            grant=fields.get("grant", ""),
            storage=fields["storage"],
        )
    except (ValueError, TypeError, LookupError) as exc:
        raise LedgerError(f"its fixed part makes no record: {exc}") from exc


# --- sectors ------------------------------------------------------------------------------


def _quoted(value: str) -> str:
    if _IS_PLAIN(value) is not None:
        return value
    return quote(value, _PLAIN, errors="surrogatepass")


def _format_sector(text: str) -> bytes:
    body = text.encode("ascii").ljust(_BODY)
    if len(body) > _BODY:
        raise LedgerError(f"{len(body)} bytes do not fit into a sector: {body[:80]!r}...")
    return body + _MARK + b"%08x\n" % zlib.crc32(body)


def _parse_sector(data: bytes) -> tuple[str, dict[str, str]]:
    body, tail = data[:_BODY], data[_BODY:]
    if tail != _MARK + b"%08x\n" % zlib.crc32(body):
        raise LedgerError("a sector is blank or torn")
    try:
        name, *pairs = body.decode("ascii").split()
        fields = dict([pair.split("=", 1) for pair in pairs])
        if b"%" in body:
            fields = {key: unquote(value, errors="surrogatepass") for key, value in fields.items()}
    except ValueError as exc:
        raise LedgerError(f"a sector makes no fields: {exc}") from exc
    return name, fields


def _format_time(moment: datetime) -> str:
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()
