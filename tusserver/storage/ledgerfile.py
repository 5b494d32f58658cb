"""The ledger's file: read by anybody, written by who holds the lease (floor 4)."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.errors import StateConflict, StoreMismatch
from tusserver.storage.files import (
    DATA_MODE,
    put_file,
    read_file,
    write_all,
)
from tusserver.storage.ledger import (
    BLANK,
    FIXED_AT,
    HOLDER_AT,
    SECTOR,
    Ledger,
    LedgerError,
    LedgerForeign,
    fixed_part,
    format_holder,
    format_ledger,
    format_slot,
    has_fixed,
    newest,
    parse_holder,
    parse_ledger,
    parse_slots,
    slot_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tusserver.ports import Holder
    from tusserver.storage.layout import Names
    from tusserver.storage.ledger import Fixed
    from tusserver.upload import Upload, UploadId

    QuickRead = Callable[[int, int], bytes | None]
    """Reads so many bytes from the start of an open file; None if that would have to wait."""

logger = logging.getLogger(__name__)

READS = 5
"""Attempts to read a ledger while it is being written; a crash's damage stays."""
READ_PAUSE = 0.001
MAX_COMPLAINTS = 10_000


class LedgerReader:
    """Reads the ledgers of one store. Its methods block and raise OSError too."""

    def __init__(self, store_id: str) -> None:
        """Know the store whose records are ours."""
        self._store_id = store_id
        self._complained: set[UploadId] = set()

    def read(self, path: Path | str, upload_id: UploadId) -> tuple[Ledger | None, Holder | None]:
        """Read ledger and holder; no ledger if there is none, or none that is valid (logged once).

        Raises: StoreMismatch for a valid ledger that is not ours.
        """
        ledger: Ledger | None = None
        for attempt in range(READS):
            data = read_file(path)
            if data is None:
                return None, None
            try:
                ledger = parse_ledger(data, upload_id=upload_id, store_id=self._store_id)
            except LedgerForeign as exc:
                self._complain(upload_id, "%s: not ours to use: %s", path, exc)
                raise StoreMismatch from exc
            except LedgerError as exc:
                self._complain(
                    upload_id,
                    "%s holds no valid record: %s; the upload is unknown unless the state store "
                    "knows it",
                    path,
                    exc,
                )
                return None, None
            if ledger.record is not None:
                return ledger, parse_holder(data[HOLDER_AT:FIXED_AT])
            # Two commits may have passed beneath one read: neither slot was whole.
            if attempt < READS - 1:
                time.sleep(READ_PAUSE)
        self._complain(upload_id, "%s: both slots are damaged; its files are kept", path)
        return ledger, None

    def _complain(self, upload_id: UploadId, message: str, *data: object) -> None:
        if upload_id not in self._complained and len(self._complained) < MAX_COMPLAINTS:
            self._complained.add(upload_id)
            logger.warning(message, *data)


def read_holder(path: Path | str) -> Holder | None:
    """Read who holds the lease, without reading the record. Raises: OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return parse_holder(os.pread(descriptor, SECTOR, HOLDER_AT))
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Look:
    """What a ledger said a moment ago."""

    record: Upload
    holder: Holder | None


def _hashes(data: bytes) -> list[int]:
    return [hash(data[:SECTOR]), hash(data[SECTOR:HOLDER_AT])]


class LedgerFile:
    """The ledger of a leased upload, open for writing. Its methods block unless they say so."""

    __slots__ = (
        "_fixed",
        "_holder",
        "_is_named",
        "_names",
        "_size",
        "_slots",
        "_store_id",
        "_versions",
        "descriptor",
        "is_fresh",
        "path",
        "record",
    )

    def __init__(self, path: str, store_id: str, holder: Holder, names: Names) -> None:
        """Stand for the ledger at `path`, which may not be there yet."""
        self.path = path
        self._names = names
        self._store_id = store_id
        self._holder = holder
        self._fixed: Fixed | None = None
        self._versions: list[int | None] = [None, None]
        self._size = 0
        self._slots = [0, 0]
        """What both slots were, as they were written or read last: 64 bits of their 512 bytes.

        One that was damaged since is taken for it as seldom as one among 2 ** 64.
        """
        self.is_fresh = False
        """Whether it was read under the lease that was just taken."""
        self._is_named = False
        """Whether the names of both files are known to be on the disk: they do not change."""
        self.descriptor = -1
        self.record: Upload | None = None
        """What the ledger held when it was opened, read or written last."""

    @property
    def is_open(self) -> bool:
        """Tell whether there is a valid ledger, open for writing."""
        return self.descriptor >= 0 and self.record is not None

    @property
    def holder(self) -> Holder:
        """Give who is named in it while it is open for its lease."""
        return self._holder

    def open(self, reader: LedgerReader, upload_id: UploadId) -> None:
        """Open what is there and name the holder in it. Raises: StoreMismatch, OSError."""
        ledger, _ = reader.read(self.path, upload_id)
        if ledger is None:
            return
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._fixed = ledger.fixed
        self._versions = list(ledger.versions)
        self.record, self._slots = ledger.record, _hashes(ledger.slots)
        self._size = ledger.size
        try:
            write_all(self.descriptor, format_holder(self._holder), HOLDER_AT)
        except BaseException:
            self._close()
            raise

    def write(self, upload: Upload, *, sync: bool) -> None:
        """Write a record; on failure the one before it holds, as far as that can be had.

        Raises: StateConflict, LedgerError, OSError.
        """
        steps = self.steps(upload)
        if steps is None or (sync and os.fstat(self.descriptor).st_nlink == 0):
            # Also when somebody took it away: this upload is about to be told complete.
            self.write_new(upload, sync=sync)
            return
        before, versions = os.pread(self.descriptor, HOLDER_AT, 0), list(self._versions)
        record, known = self.record, list(self._slots)
        try:
            for data, offset in steps:
                write_all(self.descriptor, data, offset)
            self.wrote(upload, steps)
            if sync:
                os.fdatasync(self.descriptor)
                if not self._is_named:
                    self._names.sync(self.path)
                    self._is_named = True
        except OSError:
            # Nobody may be told of a record that is not on the disk although that was asked for.
            write_all(self.descriptor, before, 0)
            self._versions, self.record, self._slots = versions, record, known
            if sync and record is not None:
                # What the disk refused stays in memory as if it had been written, and what is
                # written over it may never come to the disk: another file is to be used.
                with suppress(OSError):
                    self.write_new(record, sync=False)
            raise

    def write_new(self, upload: Upload, *, sync: bool) -> None:
        """Write a new file in the place of any that is there. Raises: LedgerError, OSError."""
        data = format_ledger(upload, self._store_id, self._holder)
        descriptor = put_file(self.path, data, mode=DATA_MODE, sync=sync)
        self._close()
        self.descriptor = descriptor
        self._is_named = False
        if sync:
            self._names.sync(self.path)
            self._is_named = True
        self._fixed = fixed_part(upload, self._store_id)
        self._versions = [None, None]
        self._versions[upload.version % 2] = upload.version
        self.record, self._slots, self._size = upload, _hashes(data), len(data)

    def steps(self, upload: Upload) -> list[tuple[bytes, int]] | None:
        """Give the writes, data and place, that record `upload`; None if the file must be new.

        Does not block. Raises: StateConflict, LedgerError.
        """
        even, odd = self._versions
        newest = max(even or 0, odd or 0)
        if upload.version < newest:
            raise StateConflict(
                f"The ledger holds version {newest}, newer than version {upload.version}."
            )
        if self.descriptor < 0 or self._fixed is None or not has_fixed(upload, self._fixed):
            return None
        self.is_fresh = False
        slot = format_slot(upload)
        own = slot_at(upload.version)
        place = upload.version % 2
        only = self._versions[place] == newest != self._versions[1 - place]
        if only and upload.version != newest:
            # A version was left out: torn, this write must not cost the newest record.
            return [(slot, SECTOR - own), (slot, own)]
        return [(slot, own)]

    def wrote(self, upload: Upload, steps: list[tuple[bytes, int]]) -> None:
        """Note that these writes were made. Does not block."""
        for data, offset in steps:
            self._versions[offset // SECTOR] = upload.version
            self._slots[offset // SECTOR] = hash(data)
        self.record = upload

    # --- while nobody holds the lease ------------------------------------------------------

    def recall(self) -> Upload | None:
        """Give what was read when the lease was taken, once, to whoever looks right afterwards.

        None if it was given, or written since. Does not block.
        """
        is_fresh, self.is_fresh = self.is_fresh, False
        return self.record if is_fresh else None

    @property
    def is_intact(self) -> bool:
        """Tell whether there is a valid ledger, under its name and as long as it was.

        Does not block. Raises: OSError.
        """
        if self.descriptor < 0 or self.record is None:
            return False
        status = os.fstat(self.descriptor)
        # Removed, or another file has its name.
        return status.st_nlink == 1 and status.st_size == self._size

    def look(self, read: QuickRead) -> Look | None:
        """Read it anew where that needs no waiting; None if it does, or is not what it was.

        Does not block. Whoever holds the lease meanwhile may be another process. Raises: OSError.
        """
        fixed, record = self._fixed, self.record
        if fixed is None or not self.is_intact:
            return None
        data = read(self.descriptor, FIXED_AT)
        if data is None:
            return None
        if _hashes(data) != self._slots:
            record = self._parse(data, fixed)
        if record is None:
            return None
        return Look(record, None if data.endswith(BLANK) else parse_holder(data[HOLDER_AT:]))

    def _parse(self, data: bytes, fixed: Fixed) -> Upload | None:
        try:
            records = parse_slots(data, fixed)
        except LedgerError:
            return None
        record = newest(records)
        if record is not None:
            self._versions = [None if one is None else one.version for one in records]
            self.record, self._slots = record, _hashes(data)
        return record

    def hold(self, holder: Holder) -> None:
        """Name the new holder of the lease in the open file. Raises: OSError."""
        write_all(self.descriptor, format_holder(holder), HOLDER_AT)
        self._holder = holder

    def leave(self) -> None:
        """Take the holder's name out; the file stays open. Raises: OSError."""
        write_all(self.descriptor, BLANK, HOLDER_AT)

    def abandon(self) -> int:
        """Give the descriptor to be closed; below 0 if there is none."""
        descriptor, self.descriptor = self.descriptor, -1
        return descriptor

    def close(self) -> None:
        """Take the holder's name out and close. Raises: OSError."""
        try:
            if self.descriptor >= 0:
                write_all(self.descriptor, BLANK, HOLDER_AT)
        finally:
            self._close()

    def _close(self) -> None:
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)
