"""The tus 1.0 dialect: POST on the creation URL."""

from __future__ import annotations

import pytest

from tests.protocol_unit.heads import FEATURES, SHA1_OF_NOTHING, STREAM, A, B, create, without
from tusserver import errors
from tusserver.protocol.messages import Checksum, Create, Part


@pytest.mark.clause("CRE-02", "CRE-07", "CRE-09")
def test_a_creation_is_read():
    assert create() == Create(length=100, body_length=0)
    assert create(Upload_Length="0").length == 0
    assert create(Upload_Length="9007199254740993").length == 2**53 + 1


@pytest.mark.clause("CRE-06", "CRE-07", "CRE-08", "DEF-02", "HTTP-02")
@pytest.mark.parametrize(
    "fields",
    [
        {"Upload_Length": None},
        {"Upload_Length": ""},
        {"Upload_Length": "-1"},
        {"Upload_Length": "abc"},
        {"Upload_Length": "1" + "0" * 30},
        {"Upload_Length": ["1", "1"]},
        {"Upload_Defer_Length": "1"},
        {"Upload_Length": None, "Upload_Defer_Length": "0"},
        {"Upload_Length": None, "Upload_Defer_Length": "2"},
        {"Upload_Length": None, "Upload_Defer_Length": "true"},
        {"Upload_Length": None, "Upload_Defer_Length": ""},
        {"Upload_Length": None, "Upload_Defer_Length": "01"},
        {"Upload_Length": None, "Upload_Defer_Length": ["1", "1"]},
    ],
)
def test_a_creation_without_one_clear_length_is_refused(fields):
    with pytest.raises(errors.HeaderInvalid, match=r"^Upload-(Defer-)?Length: "):
        create(**fields)


@pytest.mark.clause("DEF-01", "DEF-11")
def test_a_deferred_length_is_none_where_it_may_be_deferred():
    assert create(Upload_Length=None, Upload_Defer_Length="1").length is None
    with pytest.raises(errors.HeaderInvalid, match=r"^Upload-Defer-Length: "):
        create(
            Upload_Length=None, Upload_Defer_Length="1", features=without("creation-defer-length")
        )


@pytest.mark.clause("META-01", "META-10", "META-11")
def test_metadata_is_kept_as_it_was_sent():
    assert create(Upload_Metadata="b YR==,  a ,c").metadata == "b YR==,  a ,c"
    assert create(Upload_Metadata="").metadata == ""
    assert create(Upload_Metadata=["a YQ==", "", "b Yg=="]).metadata == "a YQ==,b Yg=="


@pytest.mark.clause("META-03", "META-04", "META-05", "META-07")
@pytest.mark.parametrize("value", ["a b c", "\udcd0 YQ==", "a Y", ["a YQ==", "a Yg=="]])
def test_malformed_metadata_makes_no_upload(value):
    with pytest.raises(errors.HeaderInvalid, match=r"^Upload-Metadata: "):
        create(Upload_Metadata=value)


@pytest.mark.clause("CWU-02", "CWU-08", "CWU-11")
@pytest.mark.parametrize("length", [5, 0, None], ids=["five-bytes", "empty", "chunked"])
def test_a_body_of_upload_data_is_announced_with_its_length(length):
    command = create(length, Content_Type=STREAM)
    assert (command.has_body, command.body_length) == (True, length)


@pytest.mark.clause("CRE-13", "CWU-01")
@pytest.mark.parametrize(
    ("content_type", "features"),
    [
        (None, FEATURES),
        ("application/json", FEATURES),
        ("application/octet-stream", FEATURES),
        (STREAM, without("creation-with-upload")),
    ],
)
def test_any_other_body_is_no_upload_data(content_type, features):
    command = create(
        5,
        Content_Type=content_type,
        Content_Encoding="gzip",
        Upload_Checksum=SHA1_OF_NOTHING,
        features=features,
    )
    assert command == Create(length=100, body_length=0)


@pytest.mark.clause("HTTP-17")
def test_upload_data_must_not_be_compressed():
    with pytest.raises(errors.ContentEncodingUnsupported):
        create(None, Content_Type=STREAM, Content_Encoding="gzip")
    assert create(0, Content_Type=STREAM, Content_Encoding="gzip").has_body


@pytest.mark.clause("CWU-09", "CHK-04", "CHK-05")
def test_the_checksum_of_upload_data_is_read_and_its_faults_are_raised():
    command = create(5, Content_Type=STREAM, Upload_Checksum="sha1 AAAA")
    assert command.checksum == Checksum("sha1", b"\0\0\0")
    trailing = create(None, Content_Type=STREAM, Trailer="Upload-Checksum")
    assert trailing.checksum == Checksum("", None)
    with pytest.raises(errors.ChecksumAlgorithmUnsupported):
        create(5, Content_Type=STREAM, Upload_Checksum="foo AAAA")
    with pytest.raises(errors.HeaderInvalid):
        create(5, Content_Type=STREAM, Upload_Checksum="sha1")


@pytest.mark.clause("CAT-02", "CAT-17")
def test_a_partial_upload_may_defer_its_length():
    command = create(Upload_Concat="partial", Upload_Length=None, Upload_Defer_Length="1")
    assert command == Create(length=None, partial=True, concat="partial", body_length=0)


@pytest.mark.clause("CAT-03", "CAT-05", "CAT-06", "CAT-11")
def test_a_final_upload_names_its_parts_and_needs_no_length():
    command = create(
        Upload_Concat=f"final;https://h/files/{B}?t=1 /files/{A}",
        Upload_Length=None,
        Upload_Metadata="a YQ==",
    )
    assert command == Create(
        length=None,
        metadata="a YQ==",
        parts=(Part(upload_id=B, query="t=1"), Part(upload_id=A)),
        concat=f"final;https://h/files/{B} /files/{A}",
        body_length=0,
    )


@pytest.mark.clause("CAT-05")
def test_the_length_sent_with_a_final_upload_is_kept_for_comparison():
    assert create(Upload_Concat=f"final;{A}", Upload_Length="11").length == 11


@pytest.mark.clause("CAT-14", "CAT-17", "CWU-10", "HTTP-02")
@pytest.mark.parametrize(
    "fields",
    [
        {"Upload_Concat": ""},
        {"Upload_Concat": "final;"},
        {"Upload_Concat": ["partial", "partial"]},
        {"Upload_Concat": f"final;{A}", "Upload_Length": None, "Upload_Defer_Length": "1"},
        {"Upload_Concat": f"final;{A}", "Content_Type": STREAM, "length": 5},
        {"Upload_Concat": f"final;{A}", "Content_Type": STREAM, "length": None},
    ],
)
def test_a_malformed_concatenation_is_refused(fields):
    with pytest.raises(errors.HeaderInvalid, match=r"^Upload-(Concat|Defer-Length): "):
        create(fields.pop("length", 0) if "length" in fields else 0, **fields)


def test_an_empty_body_of_upload_data_does_no_harm_to_a_final_upload():
    assert not create(0, Upload_Concat=f"final;{A}", Content_Type=STREAM).has_body


@pytest.mark.clause("CAT-07")
def test_a_final_upload_of_what_can_be_no_part_is_not_made():
    with pytest.raises(errors.PartNotFound):
        create(Upload_Concat="final;/files/abc")


@pytest.mark.clause("CAT-01")
@pytest.mark.parametrize("value", ["partial", f"final;{A}", "junk"])
def test_concatenation_is_refused_where_it_is_switched_off(value):
    with pytest.raises(errors.HeaderInvalid, match=r"^Upload-Concat: "):
        create(Upload_Concat=value, features=without("concatenation"))
