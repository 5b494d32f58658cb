"""The checks of a command against a record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver import errors
from tusserver.protocol import rules
from tusserver.protocol.messages import Append, Create, Part
from tusserver.upload import MAX_INTEGER, Kind, Limits, Status, Upload

A = "0123456789abcdef0123456789abcdef"
B = "fedcba9876543210fedcba9876543210"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
LIMITS = Limits(max_size=1000, expire_after=60, expire_finished=None)
NO_LIMITS = Limits(max_size=None, expire_after=None)


def an_upload(**changes):
    fields = {"upload_id": A, "created_at": NOW, "length": 100, "offset": 30, "epoch": "e1"}
    return Upload(**(fields | changes))


def complete(**changes):
    return an_upload(**({"offset": 100, "status": Status.COMPLETE} | changes))


def deferred(**changes):
    return an_upload(**({"length": None} | changes))


def append(**fields):
    return Append(**({"upload_id": A, "offset": 30} | fields))


@st.composite
def open_uploads(draw):
    """Draw records of open uploads: every one that the invariant allows below 2000 bytes."""
    length = draw(st.none() | st.integers(0, 2000))
    offset = draw(st.integers(0, 2000 if length is None else max(length - 1, 0)))
    return an_upload(
        length=length,
        offset=offset,
        synced=draw(st.integers(0, offset)),
        kind=draw(st.sampled_from([Kind.SINGLE, Kind.PARTIAL])),
        version=draw(st.integers(1, 9)),
    )


# --- creation -----------------------------------------------------------------------------


@pytest.mark.clause("CRE-10", "DEF-09", "CWU-05", "CWU-03")
@pytest.mark.parametrize(
    "command",
    [
        Create(length=1000),
        Create(length=None),
        Create(length=0, has_body=True, body_length=0),
        Create(length=5, has_body=True, body_length=5),
        Create(length=5, has_body=True, body_length=None),
        Create(length=None, has_body=True, body_length=1000),
        Create(length=None, parts=(Part(upload_id=A),)),
    ],
    ids=["max", "deferred", "empty", "whole", "chunked", "deferred-max", "final"],
)
def test_a_creation_that_can_be_completed_is_accepted(command):
    rules.check_create(command, LIMITS)


@pytest.mark.clause("CRE-10", "DEF-09", "CWU-05")
@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Create(length=1001), errors.MaxSizeExceeded),
        (Create(length=5, has_body=True, body_length=6), errors.LengthExceeded),
        (Create(length=None, has_body=True, body_length=1001), errors.MaxSizeExceeded),
    ],
    ids=["over-max", "over-length", "deferred-over-max"],
)
def test_a_creation_that_can_never_be_completed_is_refused(command, error):
    with pytest.raises(error):
        rules.check_create(command, LIMITS)


def test_without_a_limit_any_length_is_accepted():
    rules.check_create(Create(length=MAX_INTEGER), NO_LIMITS)


# --- existence ----------------------------------------------------------------------------


@pytest.mark.clause("EXP-06", "TER-03", "CORE-PATCH-10", "CORE-HEAD-05")
@pytest.mark.parametrize(
    "upload",
    [
        None,
        an_upload(status=Status.INVALID),
        an_upload(status=Status.REMOVED),
        an_upload(expires_at=NOW),
        complete(expires_at=NOW - timedelta(days=1)),
        an_upload(length=0, offset=0, synced=0),
    ],
    ids=["unknown", "invalid", "removed", "expires-now", "finished-and-expired", "not-made"],
)
def test_what_is_not_there_for_clients_is_not_found(upload):
    with pytest.raises(errors.UploadNotFound):
        rules.check_exists(upload, NOW)


@pytest.mark.parametrize(
    "upload",
    [an_upload(), complete(), an_upload(expires_at=LATER)],
    ids=["open", "complete", "expires-later"],
)
def test_what_is_there_is_given_back(upload):
    assert rules.check_exists(upload, NOW) is upload


# --- PATCH --------------------------------------------------------------------------------


@pytest.mark.clause("CAT-12", "CHK-04")
def test_the_faults_of_a_patch_come_in_their_order():
    fault = errors.ContentTypeUnsupported()
    algorithm_fault = errors.ChecksumAlgorithmUnsupported(("sha1",))
    final = an_upload(kind=Kind.FINAL)
    command = append(fault=fault, algorithm_fault=algorithm_fault, declared_length=5)
    with pytest.raises(errors.ContentTypeUnsupported) as caught:
        rules.check_append(final, command, LIMITS)
    assert caught.value is fault
    command = append(algorithm_fault=algorithm_fault, declared_length=5, offset=77)
    with pytest.raises(errors.FinalUploadImmutable):
        rules.check_append(final, command, LIMITS)
    with pytest.raises(errors.ChecksumAlgorithmUnsupported):
        rules.check_append(an_upload(), command, LIMITS)
    with pytest.raises(errors.LengthConflict):
        rules.check_append(an_upload(), append(declared_length=5), LIMITS)


@pytest.mark.clause("CORE-PATCH-12", "CORE-PATCH-01")
def test_the_length_that_holds_for_an_append_is_given():
    assert rules.check_append(an_upload(), append(), LIMITS) == 100
    assert rules.check_append(complete(), append(offset=100), LIMITS) == 100
    assert rules.check_append(deferred(), append(), LIMITS) is None
    assert rules.check_append(deferred(), append(declared_length=50), LIMITS) == 50


@pytest.mark.clause("DEF-04", "DEF-05", "DEF-06", "DEF-07", "DEF-08")
@pytest.mark.parametrize(
    ("upload", "declared", "length"),
    [
        (deferred(), None, None),
        (deferred(), 30, 30),
        (deferred(), 1000, 1000),
        (deferred(), 29, errors.LengthConflict),
        (deferred(), 1001, errors.MaxSizeExceeded),
        (an_upload(), 100, 100),
        (an_upload(), 101, errors.LengthConflict),
        (an_upload(), 99, errors.LengthConflict),
        (complete(), 100, 100),
        (complete(length=1001, offset=1001), 1001, 1001),
    ],
    ids=[
        "still-open",
        "at-the-offset",
        "at-max",
        "below-the-offset",
        "over-max",
        "the-same-again",
        "larger",
        "smaller",
        "complete",
        "max-was-lowered",
    ],
)
def test_a_length_is_declared_once(upload, declared, length):
    if isinstance(length, type):
        with pytest.raises(length):
            rules.declare_length(upload, declared, LIMITS)
    else:
        assert rules.declare_length(upload, declared, LIMITS) == length


@pytest.mark.clause(
    "CORE-PATCH-06", "CORE-PATCH-11", "CORE-PATCH-12", "CORE-PATCH-13", "CORE-PATCH-14"
)
@pytest.mark.parametrize(
    ("command", "length", "offset", "error"),
    [
        (append(offset=30, body_length=70), 100, 30, None),
        (append(offset=30, body_length=0), 100, 30, None),
        (append(offset=30, body_length=None), 100, 30, None),
        (append(offset=100, body_length=0), 100, 100, None),
        (append(offset=30, body_length=970), None, 30, None),
        (append(offset=29, body_length=0), 100, 30, errors.OffsetMismatch),
        (append(offset=31, body_length=0), 100, 30, errors.OffsetMismatch),
        (append(offset=0, body_length=0), 100, 30, errors.OffsetMismatch),
        (append(offset=0, body_length=0), 100, 100, errors.OffsetMismatch),
        (append(offset=101, body_length=0), 100, 100, errors.OffsetMismatch),
        (append(offset=29, body_length=500), 100, 30, errors.OffsetMismatch),
        (append(offset=30, body_length=71), 100, 30, errors.LengthExceeded),
        (append(offset=100, body_length=1), 100, 100, errors.LengthExceeded),
        (append(offset=30, body_length=971), None, 30, errors.MaxSizeExceeded),
        (append(offset=1001, body_length=None), None, 1001, errors.MaxSizeExceeded),
    ],
    ids=[
        "the-rest",
        "nothing",
        "chunked",
        "nothing-on-a-complete-one",
        "up-to-max",
        "one-less",
        "one-more",
        "from-the-start",
        "start-of-a-complete-one",
        "beyond-a-complete-one",
        "offset-before-size",
        "one-byte-too-many",
        "more-on-a-complete-one",
        "over-max",
        "max-was-lowered",
    ],
)
def test_an_append_starts_at_the_offset_and_fits(command, length, offset, error):
    if error is None:
        rules.check_offset(command, LIMITS, length=length, offset=offset)
        return
    with pytest.raises(error) as caught:
        rules.check_offset(command, LIMITS, length=length, offset=offset)
    if error is errors.OffsetMismatch:
        assert caught.value.offset == offset


@pytest.mark.clause("CORE-PATCH-15", "DEF-09")
@pytest.mark.parametrize(
    ("length", "limits", "size"),
    [(100, LIMITS, 70), (None, LIMITS, 970), (None, NO_LIMITS, MAX_INTEGER - 30)],
    ids=["length", "max-size", "no-limit"],
)
def test_no_more_is_stored_than_may_be(length, limits, size):
    assert rules.window(30, length, limits) == size


@pytest.mark.clause("CORE-PATCH-15", "DEF-09")
@given(open_uploads(), st.none() | st.integers(0, 2000), st.none() | st.integers(0, 2000))
def test_what_was_checked_has_room_for_its_announced_body(upload, body_length, max_size):
    limits = Limits(max_size=max_size)
    command = append(offset=upload.offset, body_length=body_length)
    try:
        length = rules.check_append(upload, command, limits)
        rules.check_offset(command, limits, length=length, offset=upload.offset)
    except (errors.LengthExceeded, errors.MaxSizeExceeded):
        return
    assert rules.window(upload.offset, length, limits) >= (body_length or 0)


# --- parts --------------------------------------------------------------------------------


def part(length=5, **changes):
    fields = {"kind": Kind.PARTIAL, "length": length, "offset": 0}
    return an_upload(**(fields | changes))


@pytest.mark.clause("CAT-04", "CAT-09", "CAT-HEAD-04", "CAT-08")
@pytest.mark.parametrize(
    ("parts", "length"),
    [
        ([part(5)], 5),
        ([part(5), part(6, upload_id=B)], 11),
        ([part(5), part(5), part(5)], 15),
        ([part(0, status=Status.COMPLETE)] * 2, 0),
        ([part(5, offset=5, status=Status.COMPLETE), part(6)], 11),
        ([part(5), part(None), part(6)], None),
        ([part(500), part(500)], 1000),
    ],
    ids=["one", "two", "repeated", "empty", "finished-and-not", "one-deferred", "at-max"],
)
def test_the_length_of_a_final_upload_is_the_sum_of_its_parts(parts, length):
    assert rules.check_parts(parts, NOW, LIMITS) == length


@pytest.mark.clause("CAT-07", "CAT-13", "CAT-15")
@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([part(), None], errors.PartNotFound),
        ([part(expires_at=NOW)], errors.PartNotFound),
        ([part(status=Status.REMOVED)], errors.PartNotFound),
        ([part(status=Status.INVALID)], errors.PartNotFound),
        ([part(), part(0)], errors.PartNotFound),
        ([part(), part(kind=Kind.SINGLE)], errors.PartInvalid),
        ([part(kind=Kind.FINAL)], errors.PartInvalid),
        ([part(None), part(kind=Kind.SINGLE)], errors.PartInvalid),
        ([part(500), part(501)], errors.MaxSizeExceeded),
    ],
    ids=[
        "unknown",
        "expired",
        "removed",
        "invalid",
        "empty-and-not-made",
        "normal-upload",
        "final-upload",
        "deferred-and-normal",
        "over-max",
    ],
)
def test_parts_that_cannot_be_joined_are_refused(parts, error):
    with pytest.raises(error):
        rules.check_parts(parts, NOW, LIMITS)


@pytest.mark.clause("CAT-15")
def test_a_sum_beyond_63_bits_is_too_large_without_any_limit():
    assert rules.check_parts([part(MAX_INTEGER)], NOW, NO_LIMITS) == MAX_INTEGER
    with pytest.raises(errors.MaxSizeExceeded):
        rules.check_parts([part(MAX_INTEGER), part(1)], NOW, NO_LIMITS)
