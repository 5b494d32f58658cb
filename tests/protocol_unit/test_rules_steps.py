"""The rules of time, epochs and versions, and every step from one record to the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tusserver.protocol import rules
from tusserver.upload import EventState, Kind, Limits, Status, Upload

A = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
LIMITS = Limits(max_size=1000, expire_after=60, expire_finished=None)
NO_LIMITS = Limits(max_size=None, expire_after=None)


def an_upload(**changes):
    fields = {"upload_id": A, "created_at": NOW, "length": 100, "offset": 30, "epoch": "e1"}
    return Upload(**(fields | changes))


def deferred(**changes):
    return an_upload(**({"length": None} | changes))


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


# --- time ---------------------------------------------------------------------------------


@pytest.mark.clause("EXP-07", "EXP-11")
@pytest.mark.parametrize(
    ("kind", "status", "seconds"),
    [
        (Kind.SINGLE, Status.OPEN, 60),
        (Kind.PARTIAL, Status.OPEN, 60),
        (Kind.FINAL, Status.OPEN, 60),
        (Kind.SINGLE, Status.COMPLETE, 600),
        (Kind.FINAL, Status.COMPLETE, 600),
        (Kind.PARTIAL, Status.COMPLETE, 60),
    ],
)
def test_unfinished_and_finished_uploads_have_lives_of_their_own(kind, status, seconds):
    limits = Limits(expire_after=60, expire_finished=600)
    assert rules.expires_at(kind, status, NOW, limits) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("status", [Status.OPEN, Status.COMPLETE])
def test_without_a_life_nothing_expires(status):
    assert rules.expires_at(Kind.SINGLE, status, NOW, NO_LIMITS) is None
    assert not rules.is_expired(an_upload(expires_at=None), NOW)


def test_an_upload_expires_at_its_time_and_not_before():
    assert not rules.is_expired(an_upload(expires_at=LATER), NOW)
    assert rules.is_expired(an_upload(expires_at=LATER), LATER)


# --- epochs and versions ------------------------------------------------------------------


@pytest.mark.clause("CORE-PATCH-17")
def test_in_a_new_epoch_only_what_was_synced_is_there():
    upload = an_upload(synced=10, version=4)
    assert rules.in_epoch(upload, "e1") is upload
    reborn = rules.in_epoch(upload, "e2")
    assert (reborn.offset, reborn.synced, reborn.version, reborn.epoch) == (10, 10, 4, "e1")


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.INVALID, Status.REMOVED])
def test_a_new_epoch_takes_nothing_from_what_is_not_open(status):
    upload = an_upload(status=status, offset=100)
    assert rules.in_epoch(upload, "e2") is upload


def test_the_newer_record_is_further_on_in_status_then_in_version():
    old, young = an_upload(version=3), an_upload(version=4, offset=40)
    assert rules.newer(old, young) is young
    assert rules.newer(young, old) is young
    removed = an_upload(version=2, status=Status.REMOVED)
    assert rules.newer(young, removed) is removed
    assert rules.newer(removed, young) is removed


def test_any_record_is_newer_than_none():
    upload = an_upload()
    assert rules.newer(None, upload) is upload
    assert rules.newer(upload, None) is upload
    assert rules.newer(None, None) is None


# --- from one record to the next ----------------------------------------------------------


def after_bytes(upload, *, offset, length, limits=LIMITS):
    return rules.after_bytes(
        upload, offset=offset, length=length, epoch="e2", now=NOW, limits=limits
    )


@pytest.mark.clause("CORE-PATCH-03", "EXP-07", "DEF-12")
@pytest.mark.parametrize(
    ("upload", "offset", "length", "committed"),
    [
        (an_upload(), 70, 100, (70, 100)),
        (an_upload(), 30, 100, (30, 100)),
        (an_upload(), 100, 100, (99, 100)),
        (an_upload(offset=99), 100, 100, (99, 100)),
        (deferred(), 70, None, (70, None)),
        (deferred(), 70, 100, (70, 100)),
        (deferred(), 100, 100, (99, 100)),
        (deferred(), 30, 30, (30, None)),
        (deferred(offset=0), 0, 0, (0, None)),
        (an_upload(length=0, offset=0), 0, 0, (0, 0)),
        (an_upload(length=1, offset=0), 1, 1, (0, 1)),
    ],
    ids=[
        "some",
        "none",
        "all",
        "the-last-byte",
        "deferred",
        "declared",
        "declared-and-all",
        "declared-at-the-offset",
        "declared-as-empty",
        "empty",
        "a-single-byte",
    ],
)
def test_bytes_are_committed_but_never_the_last_one(upload, offset, length, committed):
    after = after_bytes(upload, offset=offset, length=length)
    assert (after.offset, after.length) == committed
    assert after.status is Status.OPEN
    assert after.version == upload.version + 1
    assert (after.epoch, after.expires_at) == ("e2", NOW + timedelta(seconds=60))


@given(open_uploads(), st.integers(0, 3000), st.none() | st.integers(0, 3000))
def test_no_commit_of_bytes_takes_back_or_completes(upload, more, declared):
    length = upload.length
    if length is None and declared is not None and declared >= upload.offset:
        length = declared
    offset = upload.offset + more
    assume(length is None or offset <= length)
    after = after_bytes(upload, offset=offset, length=length)
    assert upload.offset <= after.offset <= offset
    assert after.synced == upload.synced
    assert after.length in {upload.length, length}
    assert after.offset == offset or after.offset == length - 1
    assert after.length is None or after.offset < after.length or after.length == 0


@pytest.mark.parametrize(("synced", "expected"), [(20, 20), (30, 30), (99, 30), (5, 10)])
def test_a_sync_moves_synced_forward_up_to_the_offset(synced, expected):
    upload = an_upload(synced=10)
    after = rules.after_sync(upload, synced=synced)
    assert (after.synced, after.offset, after.version) == (expected, 30, upload.version + 1)


@given(open_uploads(), st.integers(0, 3000))
def test_no_sync_breaks_the_invariant(upload, synced):
    after = rules.after_sync(upload, synced=synced)
    assert upload.synced <= after.synced <= after.offset == upload.offset


def after_finish(upload, **changes):
    fields = {"length": 100, "synced": True, "event_id": "ev", "epoch": "e2"}
    limits = Limits(expire_after=60, expire_finished=600)
    return rules.after_finish(upload, **(fields | changes), now=NOW, limits=limits)


@pytest.mark.clause("EXP-02", "CAT-HEAD-02")
def test_a_finished_upload_is_whole_and_lives_by_the_other_limit():
    after = after_finish(an_upload(synced=10))
    assert (after.offset, after.length, after.synced) == (100, 100, 100)
    assert (after.status, after.epoch, after.version) == (Status.COMPLETE, "e2", 2)
    assert (after.event, after.event_id) == (EventState.PENDING, "ev")
    assert after.expires_at == NOW + timedelta(seconds=600)


def test_an_unsynced_finish_claims_no_sync_and_no_listener_gets_no_event():
    after = after_finish(deferred(synced=10), synced=False, event_id="")
    assert (after.offset, after.length, after.synced) == (100, 100, 10)
    assert (after.event, after.event_id) == (EventState.NONE, "")


@pytest.mark.clause("CRE-09")
def test_an_empty_upload_can_be_finished():
    after = after_finish(an_upload(length=0, offset=0), length=0)
    assert (after.offset, after.length, after.is_complete) == (0, 0, True)


@given(open_uploads())
def test_after_a_failed_sync_only_what_was_synced_is_known(upload):
    after = rules.after_fault(upload)
    assert after.offset == after.synced == upload.synced
    assert after.version == upload.version + 1


@given(open_uploads(), st.text(max_size=5))
def test_a_changed_record_is_what_dataclasses_make_of_it(upload, owner):
    changes = {"owner": owner, "length": 4000, "expires_at": LATER}
    assert upload.changed(**changes) == replace(upload, **changes)
    assert upload.changed() == upload
    assert upload.next(owner=owner) == replace(upload, owner=owner, version=upload.version + 1)


def test_a_changed_record_holds_the_invariant():
    with pytest.raises(ValueError, match="beyond"):
        an_upload().changed(offset=101)
