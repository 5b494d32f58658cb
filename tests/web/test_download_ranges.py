"""GET with conditions and ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.downloads import (
    ETAG,
    UPLOAD_ID,
    Served,
    get,
    open_reader,
    serving,
)
from tusserver.errors import RangeNotSatisfiable
from tusserver.web.download import parse_range


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("If-None-Match", ETAG, 304),
        ("If-None-Match", f"W/{ETAG}", 304),
        ("If-None-Match", f'"a", "b,c" , {ETAG}', 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"other"', 200),
        ("If-None-Match", UPLOAD_ID, 200),
        ("If-None-Match", "", 200),
        ("If-Match", ETAG, 200),
        ("If-Match", f'"a", {ETAG}', 200),
        ("If-Match", "*", 200),
        ("If-Match", f"W/{ETAG}", 412),
        ("If-Match", '"other"', 412),
        ("If-Match", "", 412),
        ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ],
)
async def test_conditions_are_compared_with_the_entity_tag(tmp_path, header, value, status):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, **{header: value})
    assert answer.status == status
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    if status == 304:
        assert answer.body == b""
        assert answer.headers["ETag"] == ETAG
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Origin"
    if status == 200:
        assert answer.body == served.data


async def test_a_failed_precondition_goes_before_an_unchanged_upload(tmp_path):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, If_Match='"other"', If_None_Match=ETAG, Range="bytes=9999-")
        assert answer.status == 412
        answer = await get(server.url, If_None_Match=ETAG, Range="bytes=9999-")
        assert answer.status == 304


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (ETAG, 206),
        (f"W/{ETAG}", 200),
        ('"other"', 200),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ("*", 200),
        ("", 200),
    ],
)
async def test_if_range_gives_a_part_only_for_the_very_tag(tmp_path, value, status):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, If_Range=value, Range="bytes=10-19")
        assert answer.status == status
        assert answer.body == (served.data[10:20] if status == 206 else served.data)
        # Without a Range there is nothing to decide.
        assert (await get(server.url, If_Range=value)).status == 200


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=999990-", 999_990, 3_000_000),
        ("bytes=-1", 2_999_999, 3_000_000),
        ("bytes=-99999999", 0, 3_000_000),
        (f"bytes=1-{'9' * 5000}", 1, 3_000_000),
        ("bytes=999999-1000001", 999_999, 1_000_002),
        ("BYTES= 5-6 ,", 5, 7),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_range_is_sent_across_the_files(tmp_path, value, start, end):
    served = Served(tmp_path, [1_000_000, 1, 1_999_999])
    async with serving(served) as server:
        answer = await get(server.url, Range=value)
    assert answer.status == 206
    assert answer.body == served.data[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/3000000"
    assert answer.headers["Content-Length"] == str(end - start)
    assert answer.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    "value",
    ["bytes=5-3", "bytes=-", "bytes=", "bytes", "", "lines=1-2", "bytes=a-b", "bytes=+1-2",
     "bytes=1 - 2", "bytes=0-1,5-6", "bytes=1_0-20", "bytes=\u0661-", "bytes =0-5", "bytes=--5"],
)  # fmt: skip
async def test_a_range_that_is_not_understood_is_ignored(tmp_path, value):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, Range=value)
    assert (answer.status, answer.body) == (200, served.data)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=9999-"])
async def test_a_range_beyond_the_upload_cannot_be_satisfied(tmp_path, value):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        assert (await get(server.url, Range=value)).status == 416


async def test_ranges_sent_in_several_lines_are_ignored(tmp_path):
    served = Served(tmp_path, [1000])
    request = b"GET /file HTTP/1.0\r\nRange: bytes=0-1\r\nRange: bytes=0-2\r\n\r\n"
    async with serving(served) as server:
        reader, writer = await open_reader(server.port, request)
        assert (await reader.read()).endswith(served.data)
        writer.close()


def test_the_end_of_nothing_is_the_whole_of_it():
    assert parse_range("bytes=-5", 0) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0)


@given(
    first=st.none() | st.integers(0, 120),
    last=st.none() | st.integers(0, 120),
    length=st.integers(0, 100),
)
def test_a_range_is_the_slice_it_says(first, last, length):
    data = bytes(range(length))
    value = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        expected = data[-last:] if last else b""
    else:
        expected = data[first : None if last is None else last + 1]
    try:
        span = parse_range(value, length)
    except RangeNotSatisfiable:
        span = (0, 0)
        assert expected == b""
    if span is None:
        assert (first is None and not (last and length)) or (last is not None and last < first)
        return
    assert data[slice(*span)] == expected
    assert expected or span == (0, 0)


@given(st.text() | st.from_regex(r"bytes=[0-9,\- ]*"))
def test_any_text_is_a_range_or_ignored_or_refused(value):
    try:
        span = parse_range(value, 50)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span[0] < span[1] <= 50
