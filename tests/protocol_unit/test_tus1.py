"""The tus 1.0 dialect: which request is which command, and which is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.protocol_unit.heads import (
    EXTENSIONS,
    FEATURES,
    SHA1_OF_NOTHING,
    STREAM,
    A,
    head_of,
    parse,
    patch,
    without,
)
from tusserver import errors
from tusserver.errors import TusError
from tusserver.protocol.messages import (
    Append,
    Checksum,
    Create,
    Describe,
    Discover,
    Download,
    Features,
    Head,
    Terminate,
)
from tusserver.protocol.tus1 import Tus1

# --- version and method -------------------------------------------------------------------


@pytest.mark.clause("CORE-VER-02", "CORE-VER-04")
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE", "GET", "PUT"])
@pytest.mark.parametrize("version", ["0.2.2", "1.0", "1.0.1", "", "\udcff"])
def test_another_version_is_refused_before_all_else(method, version):
    with pytest.raises(errors.VersionUnsupported):
        parse(method, "no-id-of-ours", version=version, Upload_Offset="junk")


@pytest.mark.clause("CORE-VER-05")
@pytest.mark.parametrize(("method", "segment"), [("POST", None), ("PATCH", A), ("DELETE", A)])
def test_methods_that_change_something_need_the_version(method, segment):
    with pytest.raises(errors.VersionUnsupported):
        parse(method, segment, version=None)


@pytest.mark.clause("CORE-VER-05")
def test_head_and_get_work_without_the_version():
    assert parse("HEAD", A, version=None) == Describe(A)
    assert parse("GET", A, version=None) == Download(A)


@pytest.mark.clause("HTTP-02")
def test_the_version_is_sent_once():
    with pytest.raises(errors.HeaderInvalid):
        parse("HEAD", A, tus_resumable="1.0.0")


@pytest.mark.clause("CORE-VER-06", "CORE-OPT-01", "CORE-OPT-06")
@pytest.mark.parametrize("version", [None, "1.0.0", "9.9.9"])
@pytest.mark.parametrize("segment", [None, A, "no-id-of-ours"])
def test_options_works_everywhere_whatever_the_version(version, segment):
    assert parse("OPTIONS", segment, version=version) == Discover()


@pytest.mark.clause("CORE-MO-01", "CORE-MO-02", "CORE-MO-04", "CORE-MO-05")
@pytest.mark.parametrize("real", ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("override", ["HEAD", "head", "Head"])
def test_an_override_holds_from_any_method_and_without_case(real, override):
    assert parse(real, A, X_HTTP_Method_Override=override) == Describe(A)
    assert Tus1.method(head_of(real, A, X_HTTP_Method_Override=override)) == "HEAD"


@pytest.mark.clause("CORE-MO-01", "CORE-MO-03")
def test_a_post_can_mean_patch_delete_get_or_options():
    assert parse("POST", A, X_HTTP_Method_Override="DELETE") == Terminate(A)
    assert parse("POST", A, X_HTTP_Method_Override="GET") == Download(A)
    assert parse("POST", A, X_HTTP_Method_Override="OPTIONS") == Discover()
    command = parse(
        "POST", A, None, X_HTTP_Method_Override="PATCH", Upload_Offset="7", Content_Type=STREAM
    )
    assert command == Append(upload_id=A, offset=7, body_length=None)


@pytest.mark.clause("CORE-MO-02")
def test_an_override_without_the_version_is_ignored():
    assert parse("GET", A, version=None, X_HTTP_Method_Override="DELETE") == Download(A)
    with pytest.raises(errors.VersionUnsupported):
        parse("POST", A, version=None, X_HTTP_Method_Override="PATCH")


@pytest.mark.clause("CORE-MO-04")
def test_an_unknown_override_is_a_method_that_does_not_work():
    with pytest.raises(errors.MethodNotAllowed) as caught:
        parse("POST", A, X_HTTP_Method_Override="foo")
    assert caught.value.allowed == ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize(
    "value", ["", "PA TCH", "PATCH\r\nX-Evil: 1", "\udcff", ["PATCH", "DELETE"], ["HEAD", "HEAD"]]
)
def test_a_malformed_or_repeated_override_is_refused_but_never_fails(value):
    with pytest.raises(errors.HeaderInvalid, match=r"^X-HTTP-Method-Override: "):
        parse("OPTIONS", A, X_HTTP_Method_Override=value)
    assert Tus1.method(head_of("POST", A, X_HTTP_Method_Override=value)) == "POST"


@pytest.mark.clause("CORE-PATCH-22", "CORE-PATCH-23", "CRE-11", "TER-10")
@pytest.mark.parametrize(
    ("method", "segment", "off", "allowed"),
    [
        ("PATCH", None, (), ("POST", "OPTIONS")),
        ("HEAD", None, (), ("POST", "OPTIONS")),
        ("GET", None, (), ("POST", "OPTIONS")),
        ("DELETE", None, (), ("POST", "OPTIONS")),
        ("POST", None, ("creation",), ("OPTIONS",)),
        ("POST", A, (), ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS")),
        ("PUT", A, (), ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS")),
        ("TRACE", "no-id-of-ours", (), ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS")),
        ("patch", A, (), ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS")),
        ("DELETE", A, ("termination",), ("GET", "HEAD", "PATCH", "OPTIONS")),
        ("GET", A, ("download",), ("HEAD", "PATCH", "DELETE", "OPTIONS")),
    ],
)
def test_a_method_that_does_not_work_names_those_that_do(method, segment, off, allowed):
    with pytest.raises(errors.MethodNotAllowed) as caught:
        parse(method, segment, features=without(*off))
    assert caught.value.allowed == allowed


@pytest.mark.clause("CORE-HEAD-05", "CORE-PATCH-10", "TER-05", "HTTP-24")
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize(
    "segment",
    ["abc", A.upper(), A + "0", A + "\n", "..", "a/b", "", "\0", "\udcff", "x" * 9000],
    ids=["short", "upper", "long", "line-end", "dots", "slash", "empty", "nul", "bytes", "giant"],
)
def test_a_segment_that_is_no_id_of_ours_is_not_found(method, segment):
    with pytest.raises(errors.UploadNotFound):
        parse(method, segment)


def test_head_and_delete_name_their_upload():
    assert parse("HEAD", A) == Describe(A)
    assert parse("DELETE", A, 5) == Terminate(A)


# --- PATCH --------------------------------------------------------------------------------


@pytest.mark.clause("CORE-PATCH-05", "CORE-PATCH-11", "CORE-PATCH-19", "DEF-04")
def test_a_patch_is_read():
    assert patch(5, Upload_Offset="70") == Append(upload_id=A, offset=70, body_length=5)
    assert patch(None) == Append(upload_id=A, offset=0, body_length=None)
    assert patch(0, Upload_Length="70").declared_length == 70
    assert patch(Content_Type="Application/Offset+octet-stream; charset=utf-8").fault is None


@pytest.mark.clause("CLI-05")
def test_fields_of_the_ietf_draft_do_not_matter():
    plain = patch(5)
    assert patch(5, Upload_Complete="?1", Upload_Draft_Interop_Version="8") == plain


@pytest.mark.clause("CORE-PATCH-04", "CORE-PATCH-07", "CORE-PATCH-08", "CORE-PATCH-09", "HTTP-17")
@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"Content_Type": None}, errors.ContentTypeUnsupported),
        ({"Content_Type": ""}, errors.ContentTypeUnsupported),
        ({"Content_Type": "text/plain"}, errors.ContentTypeUnsupported),
        ({"Content_Type": "application/octet-stream"}, errors.ContentTypeUnsupported),
        ({"Content_Type": [STREAM, STREAM]}, errors.HeaderInvalid),
        ({"Content_Encoding": "gzip"}, errors.ContentEncodingUnsupported),
        ({"Content_Encoding": "identity, br"}, errors.ContentEncodingUnsupported),
        ({"Content_Encoding": ["identity", "gzip"]}, errors.ContentEncodingUnsupported),
        ({"Upload_Offset": None}, errors.HeaderInvalid),
        ({"Upload_Offset": "-1"}, errors.HeaderInvalid),
        ({"Upload_Offset": "9223372036854775808"}, errors.HeaderInvalid),
        ({"Upload_Offset": ["0", "0"]}, errors.HeaderInvalid),
        ({"Upload_Length": "1.5"}, errors.HeaderInvalid),
        ({"Upload_Length": ["1", "2"]}, errors.HeaderInvalid),
        ({"Upload_Checksum": "sha1"}, errors.HeaderInvalid),
        ({"Upload_Checksum": ["sha1 AAAA", "sha1 AAAA"]}, errors.HeaderInvalid),
        ({"Content_Type": "x/y", "Upload_Offset": "junk"}, errors.ContentTypeUnsupported),
        (
            {"Content_Encoding": "gzip", "Upload_Offset": "junk"},
            errors.ContentEncodingUnsupported,
        ),
        ({"Upload_Offset": "junk", "Upload_Checksum": "foo AAAA"}, errors.HeaderInvalid),
    ],
)
def test_a_fault_of_a_patch_travels_in_the_command(fields, fault):
    command = patch(5, **fields)
    assert type(command.fault) is fault
    assert command.algorithm_fault is None
    assert command.upload_id == A


@pytest.mark.parametrize("coding", ["", "identity", "IDENTITY", ["identity", "identity"]])
def test_no_content_coding_is_none(coding):
    assert patch(5, Content_Encoding=coding).fault is None


@pytest.mark.clause("CHK-04", "CAT-12")
def test_an_unknown_algorithm_is_a_fault_of_its_own():
    command = patch(5, Upload_Offset="3", Upload_Checksum="foo AAAA")
    assert command.fault is None
    assert isinstance(command.algorithm_fault, errors.ChecksumAlgorithmUnsupported)
    assert command.offset == 3


@pytest.mark.clause("CHK-02", "CHK-12")
def test_a_checksum_is_read_where_it_is_announced_and_else_ignored():
    assert patch(Upload_Checksum="md5 AAAA").checksum == Checksum("md5", b"\0\0\0")
    for features in (without("checksum"), Features(extensions=EXTENSIONS)):
        for value in ("sha1 AAAA", "junk", ["a", "b"]):
            command = patch(Upload_Checksum=value, features=features)
            assert (command.checksum, command.fault) == (None, None)


# --- checksum-trailer ---------------------------------------------------------------------


@pytest.mark.clause("CHT-02")
@pytest.mark.parametrize(
    "trailer", ["Upload-Checksum", "x-a, upload-checksum", ["x", "UPLOAD-CHECKSUM"]]
)
def test_an_announced_trailer_will_bring_the_checksum(trailer):
    command = patch(None, Trailer=trailer)
    assert command.checksum == Checksum("", None)
    assert command.fault is None


@pytest.mark.clause("CHT-05")
def test_a_checksum_in_header_and_trailer_is_refused():
    command = patch(None, Trailer="Upload-Checksum", Upload_Checksum=SHA1_OF_NOTHING)
    assert isinstance(command.fault, errors.HeaderInvalid)


@pytest.mark.clause("CHT-06", "CHT-01")
@pytest.mark.parametrize(
    ("length", "trailer", "features"),
    [
        (None, "X-Upload-Checksum", FEATURES),
        (None, "", FEATURES),
        (5, "Upload-Checksum", FEATURES),
        (None, "Upload-Checksum", without()),
        (None, "Upload-Checksum", without("checksum")),
    ],
    ids=["another-trailer", "empty", "not-chunked", "no-trailers-here", "no-checksums-here"],
)
def test_a_trailer_that_can_bring_no_checksum_is_ignored(length, trailer, features):
    command = patch(length, Trailer=trailer, features=features)
    assert (command.checksum, command.fault) == (None, None)


@pytest.mark.clause("CHT-01")
def test_a_promised_trailer_that_cannot_arrive_is_refused():
    assert isinstance(
        patch(None, Trailer="Upload-Checksum", trail=False).fault, errors.HeaderInvalid
    )


# --- anything a client may send -----------------------------------------------------------

FIELDS = [
    "Tus-Resumable",
    "X-HTTP-Method-Override",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Defer-Length",
    "Upload-Metadata",
    "Upload-Concat",
    "Upload-Checksum",
    "Content-Type",
    "Content-Encoding",
    "Trailer",
]
values = st.sampled_from(
    ["1.0.0", "1", "0", "PATCH", "HEAD", STREAM, "partial", f"final;{A}", SHA1_OF_NOTHING, "a YQ=="]
) | st.text(st.characters() | st.characters(categories=["Cs"]), max_size=12)
heads = st.builds(
    Head,
    method=st.sampled_from(["POST", "HEAD", "PATCH", "DELETE", "GET", "OPTIONS", "PUT"]),
    segment=st.none() | st.just(A) | st.text(st.characters() | st.characters(categories=["Cs"])),
    headers=st.lists(st.tuples(st.sampled_from(FIELDS), values), max_size=8).map(CIMultiDict),
    content_length=st.none() | st.integers(0, 10),
    can_trail=st.booleans(),
)
features = st.builds(
    Features,
    extensions=st.sets(st.sampled_from(sorted(EXTENSIONS))).map(frozenset),
    algorithms=st.sampled_from([(), ("sha1",)]),
    trailers=st.booleans(),
)


@given(heads, features)
def test_any_request_is_a_command_or_a_well_formed_refusal(head, features):
    dialect = Tus1()
    try:
        command = dialect.parse(head, features)
    except TusError as error:
        answer = dialect.fail(error, features=features, head=head)
        assert 400 <= answer.status < 500
        answer.body.encode("utf-8")
        for name, value in answer.headers:
            assert f"{name}: {value}".isascii()
            assert f"{name}: {value}".isprintable()
    else:
        assert dialect.method(head) in {"POST", "HEAD", "PATCH", "DELETE", "GET", "OPTIONS"}
        if isinstance(command, Create | Append):
            assert head.headers.get("Tus-Resumable") == "1.0.0"
