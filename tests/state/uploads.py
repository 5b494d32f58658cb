"""Records to store: one by hand, and all that can exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tusserver.upload import MAX_INTEGER, EventState, Kind, Status, Upload, UploadId, new_upload_id

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make_upload(**fields: Any) -> Upload:
    """Give an open upload of 1000 bytes with an id of its own."""
    return Upload(
        **{"upload_id": new_upload_id(), "created_at": NOW, "length": 1000, "epoch": "e1"} | fields
    )


def due(seconds: float) -> datetime:
    """Give a time so many seconds after the tests' now."""
    return NOW + timedelta(seconds=seconds)


upload_ids = st.from_regex(r"[0-9a-f]{32}", fullmatch=True).map(UploadId)
# Hypothesis wants the bounds without a zone.
moments = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001
    max_value=datetime(2999, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@st.composite
def uploads(draw: st.DrawFn) -> Upload:
    """Draw any record that keeps the invariant; text as headers can bring it in."""
    status = draw(st.sampled_from(Status))
    total = draw(st.integers(1, MAX_INTEGER))
    offset = total if status is Status.COMPLETE else draw(st.integers(0, total - 1))
    deferred = status is not Status.COMPLETE and draw(st.booleans())
    text = st.text(st.characters(codec="utf-8"))
    return Upload(
        upload_id=draw(upload_ids),
        created_at=draw(moments),
        length=None if deferred else total,
        offset=offset,
        synced=draw(st.integers(0, offset)),
        epoch=draw(text),
        metadata=draw(text),
        status=status,
        kind=draw(st.sampled_from(Kind)),
        parts=tuple(draw(st.lists(upload_ids, max_size=4))),
        concat=draw(text),
        assembled=draw(st.booleans()),
        expires_at=draw(st.none() | moments),
        owner=draw(text),
        storage=draw(text),
        event=draw(st.sampled_from(EventState)),
        event_id=draw(text),
        version=draw(st.integers(1, 2**53)),
    )
