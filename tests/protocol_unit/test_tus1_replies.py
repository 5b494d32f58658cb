"""The tus 1.0 dialect: what every answer looks like."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from multidict import CIMultiDict

from tests.protocol_unit.heads import FEATURES, A
from tusserver import errors
from tusserver.errors import TusError
from tusserver.protocol.messages import (
    Appended,
    Created,
    Described,
    Discovered,
    Extras,
    Features,
    Head,
    Reply,
    Terminated,
)
from tusserver.protocol.tus1 import STATUS, Tus1
from tusserver.upload import Kind, Status, Upload

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def head_of(method, *fields):
    lines = [("Tus-Resumable", "1.0.0"), *fields]
    return Head(method=method, segment=A, headers=CIMultiDict(lines), content_length=0)


def fail(error, method="PATCH", features=FEATURES):
    return Tus1().fail(error, features=features, head=head_of(method))


def reply(result, head=None, features=FEATURES):
    head = head or head_of("POST")
    return Tus1().reply(result, features=features, locate="/files/{}".format, head=head)


def headers(reply: Reply):
    names = [name.lower() for name, _ in reply.headers]
    assert len(names) == len(set(names)), "a header was given twice"
    return dict(reply.headers)


# --- replies ------------------------------------------------------------------------------


def an_upload(**changes):
    return Upload(**({"upload_id": A, "created_at": NOW, "length": 100, "offset": 30} | changes))


@pytest.mark.clause(
    "CORE-OPT-01", "CORE-OPT-02", "CORE-OPT-04", "CORE-OPT-05", "CHK-01", "CORE-VER-07"
)
def test_options_tells_what_works_without_blanks():
    answer = reply(Discovered(features=FEATURES))
    assert answer.status == 204
    assert headers(answer) == {
        "Tus-Resumable": "1.0.0",
        "Tus-Version": "1.0.0",
        "Tus-Extension": "creation,creation-with-upload,creation-defer-length,checksum,"
        "checksum-trailer,termination,expiration,concatenation,concatenation-unfinished",
        "Tus-Max-Size": "1000",
        "Tus-Checksum-Algorithm": "sha1,md5",
    }


@pytest.mark.clause("CORE-OPT-02", "CORE-OPT-03", "CHT-01", "CWU-01")
@pytest.mark.parametrize(
    ("features", "extension"),
    [
        (Features(extensions=frozenset()), None),
        (Features(extensions=frozenset({"download"}), trailers=True, algorithms=("md5",)), None),
        (Features(extensions=frozenset({"checksum"}), trailers=True), None),
        (Features(extensions=frozenset({"checksum"}), algorithms=("md5",)), "checksum"),
        (Features(extensions=frozenset({"checksum-trailer", "concatenation-unfinished"})), None),
        (Features(extensions=frozenset({"creation-with-upload", "expiration"})), "expiration"),
    ],
    ids=["nothing", "download", "no-algorithm", "no-trailers", "alone", "needs-creation"],
)
def test_only_what_works_is_announced(features, extension):
    fields = headers(reply(Discovered(features=features), features=features))
    assert fields.get("Tus-Extension") == extension
    assert ("Tus-Checksum-Algorithm" in fields) == (extension == "checksum")
    assert "Tus-Max-Size" not in fields


@pytest.mark.clause("CRE-02", "CRE-03", "EXP-03", "CORE-VER-08")
def test_a_creation_is_answered_with_the_url():
    answer = reply(Created(upload=an_upload(expires_at=NOW)))
    assert answer == Reply(
        status=201,
        headers=(
            ("Tus-Resumable", "1.0.0"),
            ("Location", f"/files/{A}"),
            ("Upload-Expires", "Wed, 04 Mar 2026 05:06:07 GMT"),
        ),
        is_bare=True,
    )


@pytest.mark.clause("CWU-02", "CWU-11")
@pytest.mark.parametrize("offset", [0, 30])
def test_a_creation_with_upload_data_is_answered_with_the_offset(offset):
    answer = reply(Created(upload=an_upload(offset=offset), with_body=True, close=True))
    assert headers(answer)["Upload-Offset"] == str(offset)
    assert answer.close


@pytest.mark.clause("CORE-PATCH-02", "CORE-PATCH-03", "EXP-02")
def test_an_append_is_answered_with_the_new_offset_and_no_body():
    answer = reply(Appended(upload=an_upload(expires_at=NOW)))
    assert (answer.status, answer.body) == (204, "")
    assert headers(answer) == {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "30",
        "Upload-Expires": "Wed, 04 Mar 2026 05:06:07 GMT",
    }
    assert "Upload-Expires" not in headers(reply(Appended(upload=an_upload())))


@pytest.mark.parametrize(("make", "status"), [(Appended, 200), (Created, 201)])
def test_a_hook_may_add_headers_and_text(make, status):
    extras = Extras(headers={"X-Processed-As": "job 7"}, body="thanks")
    answer = reply(make(upload=an_upload(), extras=extras))
    assert (answer.status, answer.body) == (status, "thanks")
    fields = headers(answer)
    assert fields["X-Processed-As"] == "job 7"
    assert fields["Content-Type"] == "text/plain; charset=utf-8"
    assert fields["X-Content-Type-Options"] == "nosniff"


def test_a_hook_may_name_the_type_of_its_text_but_not_change_the_protocol_or_framing():
    added = {
        "content-type": "application/json",
        "upload-offset": "99",
        "Tus-Resumable": "2",
        "Content-Length": "5",
        "Transfer-Encoding": "chunked",
        "X-Mine": "1",
    }
    fields = headers(reply(Appended(upload=an_upload(), extras=Extras(headers=added, body="{}"))))
    assert fields == {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "30",
        "X-Content-Type-Options": "nosniff",
        "content-type": "application/json",
        "X-Mine": "1",
    }


@pytest.mark.clause(
    "CORE-HEAD-01",
    "CORE-HEAD-02",
    "CORE-HEAD-03",
    "CORE-HEAD-04",
    "META-01",
    "EXP-05",
    "CAT-HEAD-03",
)
def test_head_describes_an_upload():
    upload = an_upload(metadata="a YR==, b", expires_at=NOW, kind=Kind.PARTIAL, concat="partial")
    answer = reply(Described(upload=upload, offset=20, length=100))
    assert (answer.status, answer.body) == (200, "")
    assert headers(answer) == {
        "Tus-Resumable": "1.0.0",
        "Cache-Control": "no-store",
        "Upload-Offset": "20",
        "Upload-Length": "100",
        "Upload-Metadata": "a YR==, b",
        "Upload-Concat": "partial",
        "Upload-Expires": "Wed, 04 Mar 2026 05:06:07 GMT",
    }


@pytest.mark.clause("DEF-03", "META-02", "CAT-HEAD-06")
def test_head_says_that_the_length_is_deferred():
    answer = reply(Described(upload=an_upload(length=None), offset=30, length=None))
    assert headers(answer) == {
        "Tus-Resumable": "1.0.0",
        "Cache-Control": "no-store",
        "Upload-Offset": "30",
        "Upload-Defer-Length": "1",
    }


@pytest.mark.clause("CAT-HEAD-01", "CAT-HEAD-04", "CAT-HEAD-05")
@pytest.mark.parametrize("length", [None, 11])
def test_head_of_a_final_upload_that_waits_has_no_offset_and_defers_nothing(length):
    upload = an_upload(
        length=length, offset=0, kind=Kind.FINAL, concat=f"final;/files/{A}", parts=(A,)
    )
    fields = headers(reply(Described(upload=upload, offset=None, length=length)))
    assert "Upload-Offset" not in fields
    assert "Upload-Defer-Length" not in fields
    assert fields.get("Upload-Length") == (None if length is None else "11")
    assert fields["Upload-Concat"] == f"final;/files/{A}"


@pytest.mark.clause("CORE-HEAD-08", "CORE-MO-03")
def test_only_a_real_head_tells_the_length_of_a_body_that_does_not_follow():
    upload = an_upload(status=Status.COMPLETE, offset=100)
    result = Described(upload=upload, offset=100, length=100, content_length=100)
    assert headers(reply(result, head_of("HEAD")))["Content-Length"] == "100"
    overridden = head_of("POST", ("X-HTTP-Method-Override", "HEAD"))
    assert "Content-Length" not in headers(reply(result, overridden))
    open_upload = Described(upload=an_upload(), offset=30, length=100)
    assert "Content-Length" not in headers(reply(open_upload, head_of("HEAD")))


@pytest.mark.clause("TER-02")
def test_a_termination_is_answered_204():
    version = (("Tus-Resumable", "1.0.0"),)
    assert reply(Terminated()) == Reply(status=204, headers=version, is_bare=True)


# --- failures -----------------------------------------------------------------------------


def every_error(root=TusError):
    for error in root.__subclasses__():
        if error.__module__ == errors.__name__ and error is not errors.ConfigError:
            yield error
            yield from every_error(error)


def an_error(kind):
    arguments = {
        "header_invalid": ("Upload-Offset", "is missing"),
        "method_not_allowed": ("PUT", ("HEAD",)),
        "checksum_algorithm_unsupported": (("sha1",),),
        "offset_mismatch": (30,),
        "max_size_exceeded": (1000,),
        "range_not_satisfiable": (30,),
        "rejected": (402, "Pay first."),
    }
    return kind(*arguments.get(kind.code, ()))


def test_every_error_has_a_status_and_no_status_is_left_over():
    assert {error.code for error in every_error()} == set(STATUS)


@pytest.mark.parametrize("code", STATUS)
def test_a_status_has_its_registered_reason(code):
    status, reason = STATUS[code]
    # Python's table has the names of older RFCs for some, and does not know tus's own.
    newer = {413: "Content Too Large", 416: "Range Not Satisfiable", 460: "Checksum Mismatch"}
    assert reason == (newer.get(status) or HTTPStatus(status).phrase)


@pytest.mark.clause("CORE-VER-01", "CORE-VER-08", "HTTP-23")
@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.code)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "GET", "OPTIONS", "PUT"])
def test_every_error_is_one_line_of_text_with_the_version(kind, method):
    error = an_error(kind)
    answer = fail(error, method)
    assert answer.status == (402 if kind.code == "rejected" else STATUS[kind.code][0])
    assert answer.body == f"{error.code}: {error.message}\n"
    assert answer.close is error.close
    fields = headers(answer)
    assert fields["Tus-Resumable"] == "1.0.0"
    assert fields["Content-Type"] == "text/plain; charset=utf-8"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields.get("Retry-After") == (
        None if error.retry_after is None else str(error.retry_after)
    )
    assert ("Upload-Offset" in fields) == (kind is errors.OffsetMismatch)
    assert fields.get("Cache-Control") == ("no-store" if method == "GET" else None)


@pytest.mark.clause("CORE-HEAD-03", "CORE-HEAD-06", "CORE-HEAD-07", "CORE-HEAD-10", "CORE-HEAD-11")
@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.code)
@pytest.mark.parametrize(
    "head",
    [head_of("HEAD"), head_of("POST", ("X-HTTP-Method-Override", "head"))],
    ids=["real", "overridden"],
)
def test_head_gets_no_body_and_423_for_all_trouble_that_passes(kind, head):
    answer = Tus1().fail(an_error(kind), features=FEATURES, head=head)
    fields = headers(answer)
    assert answer.body == ""
    assert fields["Cache-Control"] == "no-store"
    assert "Content-Type" not in fields
    normal = 402 if kind.code == "rejected" else STATUS[kind.code][0]
    if normal == 423 or normal >= 500:
        assert (answer.status, answer.reason) == (423, "Locked")
        assert int(fields["Retry-After"]) >= 1
    else:
        assert answer.status == normal


@pytest.mark.clause("CORE-PATCH-22", "CORE-PATCH-23")
def test_405_names_the_methods_that_work():
    answer = fail(errors.MethodNotAllowed("PUT", ("HEAD", "PATCH")), "PUT")
    assert (answer.status, headers(answer)["Allow"]) == (405, "HEAD, PATCH")


@pytest.mark.clause("CORE-VER-03")
def test_412_names_the_versions_that_work():
    answer = fail(errors.VersionUnsupported())
    assert (answer.status, headers(answer)["Tus-Version"]) == (412, "1.0.0")


@pytest.mark.clause("CORE-PATCH-06")
def test_409_carries_the_true_offset():
    answer = fail(errors.OffsetMismatch(2**53 + 1))
    assert (answer.status, headers(answer)["Upload-Offset"]) == (409, "9007199254740993")


@pytest.mark.clause("CHK-03")
def test_a_wrong_checksum_is_460_with_its_reason():
    answer = fail(errors.ChecksumMismatch())
    assert (answer.status, answer.reason) == (460, "Checksum Mismatch")


@pytest.mark.clause("CRE-10")
def test_413_names_the_limit_where_there_is_one():
    assert headers(fail(errors.MaxSizeExceeded(1000)))["Tus-Max-Size"] == "1000"
    unlimited = fail(errors.MaxSizeExceeded(None), features=Features(extensions=frozenset()))
    assert "Tus-Max-Size" not in headers(unlimited)


def test_416_tells_the_length():
    answer = fail(errors.RangeNotSatisfiable(30), "GET")
    assert (answer.status, headers(answer)["Content-Range"]) == (416, "bytes */30")


def test_an_application_refuses_with_its_own_status_and_headers():
    error = errors.Rejected(
        402,
        "Pay first.",
        headers=(("X-Plan", "free"), ("content-length", "1"), ("tus-resumable", "9")),
    )
    answer = fail(error, "POST")
    assert (answer.status, answer.reason, answer.body) == (402, None, "rejected: Pay first.\n")
    fields = headers(answer)
    assert fields["X-Plan"] == "free"
    assert "content-length" not in fields


def test_an_error_that_is_not_in_the_table_is_our_fault():
    class Unheard(TusError):
        code = "unheard"

    assert fail(Unheard("Nobody knows.")).status == 500
