"""Parsers that have no such test beside them: whatever comes is read, or refused properly."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from string import printable

import jwt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.auth.credentials import SECRET, access
from tests.state.uploads import make_upload
from tusserver.auth.grants import GrantAuthorizer
from tusserver.caller import Caller
from tusserver.errors import RangeNotSatisfiable, StateConflict, TusError
from tusserver.hooks.payload import AnswerMalformed, Response, decide, read_response
from tusserver.ports import EventKind
from tusserver.state.codec import format_upload, parse_upload
from tusserver.upload import Upload
from tusserver.values import parse_size, parse_time
from tusserver.web.download import parse_range

pytestmark = pytest.mark.timeout(120)
calm = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
text = st.text() | st.text(printable)
numbers = st.integers() | st.floats() | st.booleans() | st.none()
values = st.recursive(
    numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
RECORD = json.loads(format_upload(make_upload()))
DEEP = b"[" * 100_000


@calm
@given(st.binary() | text.map(str.encode) | values.map(lambda value: json.dumps(value).encode()))
@example(DEEP)
@example(b'{"codec":' + b"9" * 5000 + b"}")
def test_whatever_is_in_the_state_store_is_a_record_or_refused(data):
    with suppress(StateConflict):
        assert isinstance(parse_upload(data), Upload)


@calm
@given(st.sampled_from(sorted(RECORD)), values)
def test_a_record_with_any_field_changed_is_a_record_or_refused(name, value):
    with suppress(StateConflict):
        assert isinstance(parse_upload(json.dumps(RECORD | {name: value}).encode()), Upload)


@calm
@given(text | text.map("bytes=".__add__) | st.from_regex(r"bytes=[0-9, \-]*", fullmatch=True),
       st.integers(0, 2**63 - 1))  # fmt: skip
@example("bytes=" + "9" * 5000 + "-", 10)
@example("bytes=-" + "9" * 5000, 10)
def test_any_range_lies_within_the_file_or_is_refused(value, length):
    with suppress(RangeNotSatisfiable):
        found = parse_range(value, length)
        assert found is None or 0 <= found[0] < found[1] <= length


@calm
@given(st.binary() | values.map(lambda value: json.dumps(value).encode()))
@example(DEEP)
def test_whatever_a_receiver_answers_is_a_response_or_refused(body):
    with suppress(AnswerMalformed):
        assert isinstance(read_response(body), Response)


ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "RejectUpload": values,
        "StopUpload": values,
        "HTTPResponse": values | st.fixed_dictionaries(
            {}, optional={"StatusCode": values, "Header": values, "Body": values}
        ),
        "ChangeFileInfo": values | st.fixed_dictionaries({}, optional={"ID": values,
                                                                      "MetaData": values}),
    },
)  # fmt: skip


@calm
@given(ANSWERS)
def test_whatever_a_receiver_decides_is_a_decision_or_refused(answer):
    with suppress(AnswerMalformed):
        decision = decide(EventKind.PRE_CREATE, read_response(json.dumps(answer).encode()))
        assert decision.reject is None or 400 <= decision.reject[0] <= 599


@calm
@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "sub", "jti", "aud", "tus_max_size",
                                        "tus_types", "tus_verbs"]), values))  # fmt: skip
def test_whatever_a_signed_grant_claims_is_a_caller_or_refused(claims):
    """Who can sign is trusted; what a backend writes wrongly is refused all the same."""
    told = {"aud": "tusserver-upload", "jti": "one", "exp": int(time.time()) + 1000} | claims
    try:
        made = jwt.api_jws.encode(json.dumps(told).encode(), SECRET, algorithm="HS256")
    except UnicodeEncodeError:
        return
    with suppress(TusError):
        found = asyncio.run(
            GrantAuthorizer([SECRET]).authorize(access(uri=f"/files/?grant={made}"))
        )
        assert isinstance(found, Caller)


@calm
@given(text)
def test_any_text_as_a_grant_is_refused(grant):
    with pytest.raises(TusError):
        asyncio.run(GrantAuthorizer([SECRET]).authorize(access(uri=f"/files/?grant={grant}")))


@calm
@given(values | st.from_regex(r"[0-9]+ ?(ms|s|m|h|d|KiB|GB|)", fullmatch=True))
@example("9" * 5000 + "s")
@example("9" * 400 + "s")
@example("9" * 5000 + "GiB")
@example(float("nan"))
@example(float("inf"))
def test_any_setting_is_a_size_or_a_time_or_refused_with_a_reason(value):
    for parse in (parse_size, parse_time):
        with suppress(ValueError):
            assert 0 <= parse(value) < 2**63
