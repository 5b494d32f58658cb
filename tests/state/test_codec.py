from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from tests.state.uploads import make_upload, uploads
from tusserver.errors import StateConflict
from tusserver.state.codec import format_upload, parse_upload
from tusserver.upload import EventState, Kind, Status, Upload, UploadId, new_upload_id

# As version 1 wrote it. Never edit this: it shows that old bytes stay readable.
BYTES_OF_VERSION_1 = (
    b'{"codec":1,"upload_id":"0123456789abcdef0123456789abcdef","version":7,"status":"complete",'
    b'"kind":"final","length":300,"offset":300,"synced":300,"epoch":"boot-1:2049",'
    b'"created_at":"2026-03-01T12:00:00.000250+00:00","expires_at":"2026-03-02T12:00:00+00:00",'
    b'"metadata":"filename d29ybGQ=,empty","parts":["00000000000000000000000000000001",'
    b'"00000000000000000000000000000002"],"concat":"final;/files/1 /files/2","assembled":false,'
    b'"owner":"\\u00e5sa","storage":"s","event":"pending","event_id":"e-1"}'
)
# As version 2 writes it: the grant and the digest came in.
BYTES_OF_VERSION_2 = (
    BYTES_OF_VERSION_1.replace(b'"codec":1', b'"codec":2')
    .replace(b'"storage":', b'"grant":"g-1","storage":')
    .replace(b'"event_id":"e-1"', b'"event_id":"e-1","digest":"sha-256=:AA==:"')
)
UPLOAD_OF_VERSION_1 = Upload(
    upload_id=UploadId("0123456789abcdef0123456789abcdef"),
    version=7,
    status=Status.COMPLETE,
    kind=Kind.FINAL,
    length=300,
    offset=300,
    synced=300,
    epoch="boot-1:2049",
    created_at=datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC),
    expires_at=datetime(2026, 3, 2, 12, 0, tzinfo=UTC),
    metadata="filename d29ybGQ=,empty",
    parts=(UploadId("0" * 31 + "1"), UploadId("0" * 31 + "2")),
    concat="final;/files/1 /files/2",
    assembled=False,
    owner="åsa",
    storage="s",
    event=EventState.PENDING,
    event_id="e-1",
)


@given(uploads())
def test_every_record_comes_back_as_it_was(upload):
    assert parse_upload(format_upload(upload)) == upload


def test_every_field_is_written():
    fields = {field.name for field in dataclasses.fields(Upload)}

    assert set(json.loads(format_upload(make_upload()))) == fields | {"codec"}


def test_bytes_of_version_1_are_read():
    assert parse_upload(BYTES_OF_VERSION_1) == UPLOAD_OF_VERSION_1


def test_bytes_of_version_2_are_read_and_written():
    upload = dataclasses.replace(UPLOAD_OF_VERSION_1, grant="g-1", digest="sha-256=:AA==:")
    assert parse_upload(BYTES_OF_VERSION_2) == upload
    assert format_upload(upload) == BYTES_OF_VERSION_2


def test_a_final_upload_of_10000_parts_comes_back():
    parts = tuple(new_upload_id() for _ in range(10_000))
    upload = make_upload(kind=Kind.FINAL, parts=parts, concat="final;" + "/files/x " * 10_000)

    assert parse_upload(format_upload(upload)) == upload


def test_bytes_that_were_no_utf8_in_a_header_come_back():
    upload = make_upload(metadata=b"name \xff\xfe".decode(errors="surrogateescape"))

    assert parse_upload(format_upload(upload)) == upload


def test_a_time_of_another_zone_is_written_in_utc():
    here = timezone(timedelta(hours=5))
    upload = make_upload(created_at=datetime(2026, 3, 1, 17, 0, tzinfo=here))

    assert json.loads(format_upload(upload))["created_at"] == "2026-03-01T12:00:00+00:00"


def test_a_later_version_is_refused_by_name():
    later = BYTES_OF_VERSION_1.replace(b'"codec":1', b'"codec":3')

    with pytest.raises(StateConflict, match=r"version 3 of its format; .* versions up to 2"):
        parse_upload(later)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00", id="not text"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"{}", id="no codec version"),
        pytest.param(b'{"codec":1}', id="no fields"),
        pytest.param(BYTES_OF_VERSION_1[:-40], id="torn"),
        pytest.param(BYTES_OF_VERSION_1.replace(b"complete", b"done"), id="unknown status"),
        pytest.param(BYTES_OF_VERSION_1.replace(b'"offset":300', b'"offset":301'), id="invariant"),
        pytest.param(BYTES_OF_VERSION_1.replace(b"2026-03-02", b"2026-13-02"), id="a time"),
        pytest.param(BYTES_OF_VERSION_1.replace(b'"offset":300', b'"offset":"x"'), id="a type"),
    ],
)
def test_what_is_no_record_is_refused(data):
    with pytest.raises(StateConflict):
        parse_upload(data)
