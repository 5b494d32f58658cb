"""The codec of the ledger: what it writes, and all that can be read back."""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.state.uploads import make_upload, uploads
from tusserver.ports import Holder
from tusserver.storage.ledger import (
    BLANK,
    FIXED_AT,
    HOLDER_AT,
    SECTOR,
    LedgerError,
    LedgerForeign,
    format_holder,
    format_ledger,
    format_slot,
    parse_holder,
    parse_ledger,
    slot_at,
)
from tusserver.upload import MAX_INTEGER, EventState, Kind, Status, Upload, new_upload_id

STORE = "5" * 32
ID = "0123456789abcdef0123456789abcdef"
UPLOAD = Upload(
    upload_id=ID,
    created_at=datetime(2026, 3, 1, 12, 0, 0, 125, tzinfo=UTC),
    length=1000,
    offset=10,
    synced=5,
    epoch="8d2c-801",
    metadata="filename d29ybGQ=,empty",
    kind=Kind.PARTIAL,
    concat="partial",
    expires_at=datetime(2026, 3, 2, 12, 0, tzinfo=UTC),
    version=3,
)
# Written by format 1. These bytes are never changed: they must stay readable.
OLD_SLOT = (
    b"slot1 version=3 offset=10 length=1000 synced=5 status=open epoch=8d2c-801 "
    b"expires=2026-03-02T12:00:00+00:00 assembled=1 event=none event_id=".ljust(498)
    + b" crc=d44150d5\n"
)
OLD_HOLDER = (
    b"holder pid=4711 mailbox=w0a1b2c3d since=2026-03-01T12:00:01+00:00".ljust(498)
    + b" crc=f2a5a344\n"
)
OLD_FIXED = (
    b'{"format": 1, "store": "55555555555555555555555555555555", '
    b'"upload_id": "0123456789abcdef0123456789abcdef", '
    b'"created_at": "2026-03-01T12:00:00.000125+00:00", '
    b'"metadata": "filename d29ybGQ=,empty", "kind": "partial", "concat": "partial", '
    b'"owner": "", "storage": "", "parts": []}\n'
    b"crc=3ab09929\n"
)
# Written by format 2, which brought the grant and the digest. Never changed either.
SLOT_OF_2 = (
    b"slot2 version=3 offset=10 length=1000 synced=5 status=open epoch=8d2c-801 "
    b"expires=2026-03-02T12:00:00+00:00 assembled=1 event=none event_id= "
    b"digest=sha-256%3D:AA%3D%3D:".ljust(498)
    + b" crc=47cadc6b\n"
)
FIXED_OF_2 = (
    b'{"format": 2, "store": "55555555555555555555555555555555", '
    b'"upload_id": "0123456789abcdef0123456789abcdef", '
    b'"created_at": "2026-03-01T12:00:00.000125+00:00", '
    b'"metadata": "filename d29ybGQ=,empty", "kind": "partial", "concat": "partial", '
    b'"owner": "", "grant": "g1", "storage": "", "parts": []}\n'
    b"crc=8e8ba34d\n"
)
HOLDER = Holder(4711, "w0a1b2c3d", datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC))


def parse(data, upload_id=ID):
    return parse_ledger(data, upload_id=upload_id, store_id=STORE)


def sealed(body):
    """Give a sector with a right CRC."""
    body = body.ljust(498)
    return body + b" crc=%08x\n" % zlib.crc32(body)


def test_bytes_of_format_1_stay_readable():
    data = BLANK + OLD_SLOT + OLD_HOLDER + OLD_FIXED
    ledger = parse(data)
    assert ledger.record == UPLOAD
    assert ledger.versions == (None, 3)
    assert parse_holder(data[HOLDER_AT:FIXED_AT]) == HOLDER


def test_format_2_is_what_is_written_and_read():
    upload = replace(UPLOAD, grant="g1", digest="sha-256=:AA==:")
    data = BLANK + SLOT_OF_2 + OLD_HOLDER + FIXED_OF_2
    assert format_ledger(upload, STORE, HOLDER) == data
    assert parse(data).record == upload


def test_the_longest_slot_fits_into_its_sector():
    upload = replace(
        UPLOAD,
        offset=MAX_INTEGER - 1,
        length=MAX_INTEGER,
        synced=MAX_INTEGER - 1,
        version=10**12,
        epoch="e" * 64,
        event=EventState.PENDING,
        event_id="e" * 32,
        digest=f"sha-512=:{'A' * 86}==:",
    )
    assert len(format_slot(upload)) == 512


short_text = st.text(max_size=8)


@given(upload=uploads(), epoch=short_text, event_id=short_text, store=st.text(min_size=1))
def test_every_record_comes_back_as_it_was_written(upload, epoch, event_id, store):
    upload = replace(upload, epoch=epoch, event_id=event_id)
    data = format_ledger(upload, store, None)
    assert parse_ledger(data, upload_id=upload.upload_id, store_id=store).record == upload
    assert data.isascii()


@given(data=st.binary(max_size=4096))
def test_whatever_the_bytes_reading_raises_only_its_own_error(data):
    with pytest.raises(LedgerError):
        parse(data)
    assert parse_holder(data) is None


@given(body=st.binary(max_size=490), fixed=st.binary(max_size=300))
def test_bytes_with_a_right_crc_raise_only_its_own_error(body, fixed):
    line = fixed.replace(b"\n", b"") + b"\n"
    for data in (
        sealed(body) * 3 + OLD_FIXED,
        OLD_SLOT * 2 + sealed(body) + line + b"crc=%08x\n" % zlib.crc32(line),
    ):
        try:
            ledger = parse(data)
        except LedgerError:
            continue
        assert ledger.record is None


@given(data=st.data())
def test_a_changed_bit_never_makes_another_record(data):
    whole = bytearray(format_ledger(UPLOAD, STORE, HOLDER))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        ledger = parse(bytes(whole))
    except LedgerError:
        return
    assert ledger.record in (None, UPLOAD)


def test_surrogates_in_metadata_come_back():
    upload = replace(UPLOAD, metadata="a \udcff", concat="\udc80", owner="\udcfe")
    assert parse(format_ledger(upload, STORE, None)).record == upload


def test_a_slot_is_one_line_of_one_sector_with_the_version_choosing_its_place():
    slot = format_slot(UPLOAD)
    assert len(slot) == SECTOR
    assert slot.count(b"\n") == 1
    assert [slot_at(version) for version in (1, 2, 3)] == [SECTOR, 0, SECTOR]


def test_the_largest_numbers_fit_into_a_slot():
    largest = 2**63 - 1
    upload = replace(
        UPLOAD,
        length=largest,
        offset=largest - 1,
        synced=largest - 1,
        version=largest,
        epoch="x" * 82,
        event=EventState.PENDING,
        event_id="e" * 48,
    )
    assert parse(format_ledger(upload, STORE, None)).record == upload


def test_what_does_not_fit_into_a_slot_is_refused_not_cut():
    with pytest.raises(LedgerError, match="do not fit"):
        format_slot(replace(UPLOAD, epoch="x" * 500))


def two_versions():
    older, newer = UPLOAD, UPLOAD.next(offset=20)
    data = bytearray(format_ledger(older, STORE, None))
    data[slot_at(4) : slot_at(4) + SECTOR] = format_slot(newer)
    return older, newer, data


def test_the_higher_version_holds():
    _, newer, data = two_versions()
    ledger = parse(bytes(data))
    assert ledger.record == newer
    assert ledger.versions == (4, 3)


@pytest.mark.parametrize("written", [15, 100, 256, 498, 505])
def test_a_torn_slot_falls_back_to_the_other(written):
    _, newer, data = two_versions()
    torn = format_slot(newer.next(offset=30))
    data[slot_at(5) : slot_at(5) + written] = torn[:written]
    # Version 5 was being written over version 3: version 4 holds.
    assert parse(bytes(data)).record == newer


def test_with_both_slots_torn_there_is_no_record_but_the_upload_is_known():
    _, _, data = two_versions()
    data[40] ^= 1
    data[SECTOR + 40] ^= 1
    ledger = parse(bytes(data))
    assert ledger.record is None
    assert ledger.fixed.upload_id == ID


def test_a_record_that_breaks_the_invariant_is_no_record():
    slot = sealed(format_slot(UPLOAD)[:498].replace(b"synced=5", b"synced=11").rstrip())
    assert parse(BLANK + slot + BLANK + OLD_FIXED).record is None


def test_a_ledger_of_another_store_is_foreign():
    with pytest.raises(LedgerForeign, match="belongs to store"):
        parse_ledger(format_ledger(UPLOAD, "other", None), upload_id=ID, store_id=STORE)


def test_a_ledger_under_another_name_is_not_that_uploads():
    with pytest.raises(LedgerError, match="belongs to upload"):
        parse(format_ledger(UPLOAD, STORE, None), upload_id=new_upload_id())


def test_a_ledger_of_a_later_format_is_foreign_not_damaged():
    line = OLD_FIXED.partition(b"\n")[0].replace(b'"format": 1', b'"format": 3') + b"\n"
    with pytest.raises(LedgerForeign, match="later"):
        parse(BLANK * 3 + line + b"crc=%08x\n" % zlib.crc32(line))
    with pytest.raises(LedgerForeign, match="later"):
        parse(sealed(b"slot3 version=9") + BLANK * 2 + OLD_FIXED)


def test_ten_thousand_parts_fit():
    parts = tuple(new_upload_id() for _ in range(10_000))
    upload = make_upload(kind=Kind.FINAL, parts=parts, assembled=False, status=Status.OPEN)
    data = format_ledger(upload, STORE, None)
    assert parse(data, upload.upload_id).record == upload


def test_the_holder_comes_back_and_a_blank_sector_is_nobody():
    assert parse_holder(format_holder(HOLDER)) == HOLDER
    assert parse_holder(BLANK) is None
    assert parse_holder(format_slot(UPLOAD)) is None
