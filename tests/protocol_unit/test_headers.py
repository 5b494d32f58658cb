"""The grammar of headers: what is read, what is refused, and that nothing else happens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tusserver.errors import (
    ChecksumAlgorithmUnsupported,
    HeaderInvalid,
)
from tusserver.protocol.headers import (
    format_checksum,
    format_imf_fixdate,
    format_metadata,
    is_token,
    joined,
    parse_checksum,
    parse_integer,
    parse_media_type,
    parse_metadata,
    parse_tokens,
    single,
)
from tusserver.protocol.messages import Checksum
from tusserver.upload import MAX_INTEGER

# What arrives in a header value: any text, and bytes that are not UTF-8 as lone surrogates.
anything = st.text(st.characters() | st.characters(categories=["Cs"]))
near_base64 = st.text("AZaz09+/=-_ ,;!\udcff", max_size=24)
keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","))
keys = keys.filter(bool)


# --- reading fields -----------------------------------------------------------------------


@pytest.mark.clause("HTTP-01")
def test_names_of_fields_have_no_case():
    assert single(CIMultiDict([("UPLOAD-offset", "5")]), "Upload-Offset") == "5"


@pytest.mark.clause("HTTP-03")
def test_blanks_around_a_value_are_no_part_of_it():
    assert single(CIMultiDict([("Upload-Offset", " \t 0  ")]), "Upload-Offset") == "0"


@pytest.mark.clause("HTTP-02", "CHK-13")
@pytest.mark.parametrize("second", ["5", "6"], ids=["equal", "different"])
def test_a_single_field_that_was_sent_twice_is_refused(second):
    headers = CIMultiDict([("Upload-Offset", "5"), ("upload-offset", second)])
    with pytest.raises(HeaderInvalid, match=r"^Upload-Offset: was sent more than once\.$"):
        single(headers, "Upload-Offset")


def test_a_field_that_was_not_sent_is_none_and_an_empty_one_is_empty():
    headers = CIMultiDict([("Upload-Concat", "")])
    assert single(headers, "Upload-Offset") is None
    assert single(headers, "Upload-Concat") == ""


@pytest.mark.clause("META-11")
@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ([], ""),
        ([""], ""),
        (["a YQ==", "b Yg=="], "a YQ==,b Yg=="),
        (["", "a YQ=="], "a YQ=="),
        (["a,  b", "c"], "a,  b,c"),
    ],
    ids=["none", "empty", "two", "empty-first", "inner-blanks-stay"],
)
def test_lines_of_a_list_are_joined_by_commas(lines, value):
    headers = CIMultiDict([("Upload-Metadata", line) for line in lines])
    assert joined(headers, "upload-metadata") == value


def test_tokens_are_read_over_all_lines_without_case():
    headers = CIMultiDict([("Trailer", "X-One , UPLOAD-Checksum"), ("trailer", ",\tlast,,")])
    assert parse_tokens(headers, "Trailer") == ("x-one", "upload-checksum", "last")


@pytest.mark.clause("CORE-PATCH-05")
@pytest.mark.parametrize(
    "value",
    [
        "application/offset+octet-stream",
        "Application/Offset+OCTET-stream",
        "application/offset+octet-stream;charset=utf-8",
        "application/offset+octet-stream \t; a=b; c",
    ],
)
def test_a_media_type_has_no_case_and_its_parameters_do_not_count(value):
    assert parse_media_type(value) == "application/offset+octet-stream"


@pytest.mark.parametrize("value", ["", "a b", "a\r\nb", "a,b", "pätch", "\udcff", "PATCH\n"])
def test_what_is_no_token_is_no_name_of_a_method(value):
    assert not is_token(value)
    assert is_token("M-SEARCH")


# --- integers -----------------------------------------------------------------------------


@pytest.mark.clause("CORE-PATCH-08", "CRE-07", "CRE-09")
@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("00", 0),
        ("007", 7),
        ("0" * 5000 + "12", 12),
        ("9007199254740993", 2**53 + 1),
        ("9223372036854775807", MAX_INTEGER),
    ],
    ids=["zero", "zeros", "not-octal", "long-zeros", "beyond-doubles", "largest"],
)
def test_digits_are_an_integer(value, number):
    assert parse_integer("Upload-Offset", value) == number


@pytest.mark.clause("CORE-PATCH-08", "CRE-07")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "+1",
        "1.0",
        "abc",
        "0x0",
        "1 0",
        "1e1",
        "1_0",
        " 1",
        "1\n",
        "\u0665",
        "\uff11",
        "²",
        "\udcb2",
    ],
)
def test_anything_but_digits_is_no_integer(value):
    with pytest.raises(HeaderInvalid, match=r"^Upload-Length: must be a non-negative integer\.$"):
        parse_integer("Upload-Length", value)


@pytest.mark.clause("CORE-PATCH-09", "CRE-07")
@pytest.mark.parametrize(
    "value",
    ["9223372036854775808", "9" * 19, "1" + "0" * 30, "9" * 100_000],
    ids=["one-more", "same-digits", "ten-to-thirty", "giant"],
)
def test_an_integer_of_more_than_63_bits_is_refused(value):
    with pytest.raises(HeaderInvalid, match="must not be larger than 9223372036854775807"):
        parse_integer("Upload-Offset", value)


@given(st.integers(0, MAX_INTEGER), st.integers(0, 30))
def test_every_integer_is_read_exactly(number, zeros):
    assert parse_integer("Upload-Offset", "0" * zeros + str(number)) == number


@given(anything)
def test_any_text_is_an_integer_or_refused(text):
    if re.fullmatch("[0-9]{1,18}", text):
        assert parse_integer("Upload-Offset", text) == int(text)
    else:
        with pytest.raises(HeaderInvalid):
            parse_integer("Upload-Offset", text)


# --- dates --------------------------------------------------------------------------------


@pytest.mark.clause("EXP-04")
def test_a_date_is_imf_fixdate_in_gmt_from_any_zone():
    moment = datetime(2014, 6, 25, 18, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_imf_fixdate(moment) == "Wed, 25 Jun 2014 16:00:00 GMT"


@pytest.mark.clause("EXP-04")
@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds are naive
def test_every_date_is_read_back_to_the_second(moment):
    text = format_imf_fixdate(moment)
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", text)
    assert parsedate_to_datetime(text) == moment.replace(microsecond=0)


# --- metadata -----------------------------------------------------------------------------


@pytest.mark.clause("META-02", "META-06", "META-09", "META-10")
@pytest.mark.parametrize(
    ("value", "metadata"),
    [
        ("", {}),
        ("filename d29y,is_confidential", {"filename": b"wor", "is_confidential": b""}),
        ("a,b ", {"a": b"", "b": b""}),
        ("a ,b Yg==", {"a": b"", "b": b"b"}),
        ("a YQ==, b Yg==", {"a": b"a", "b": b"b"}),
        ("a YQ==\t,\t b Yg==", {"a": b"a", "b": b"b"}),
        ("k YR==", {"k": b"a"}),
        ("k YWJ=", {"k": b"ab"}),
        ("!\"#$%&'()*+-./:;<=>?@[\\]^_`{|}~ ", {"!\"#$%&'()*+-./:;<=>?@[\\]^_`{|}~": b""}),
        ("k YQ0KWC1FdmlsOiAx", {"k": b"a\r\nX-Evil: 1"}),
    ],
    ids=[
        "empty",
        "no-value",
        "trailing-blank",
        "blank-before-comma",
        "blank-after-comma",
        "tabs-around-comma",
        "trailing-bits-of-two",
        "trailing-bits-of-one",
        "every-sign-in-a-key",
        "line-ends-in-a-value",
    ],
)
def test_metadata_is_read(value, metadata):
    assert parse_metadata(value) == metadata


@pytest.mark.clause("META-03", "META-04", "META-05", "META-07")
@pytest.mark.parametrize(
    "value",
    [
        "  ",
        ",",
        "a YQ==,",
        ",a YQ==",
        "a b c",
        "a  YQ==",
        "a\tYQ==",
        "a\nb YQ==",
        "ключ dmFs",
        "\udcd0\udcba dmFs",
        "k !!!",
        "k YQ",
        "k YQ=",
        "k Y===",
        "k ====",
        "k Y",
        "k YQ==YQ==",
        "k YQ==\n",
        "k -_-_",
        "k YQ==,k Yg==",
        "k,k",
    ],
)
def test_malformed_metadata_is_refused(value):
    with pytest.raises(HeaderInvalid, match=r"^Upload-Metadata: "):
        parse_metadata(value)


@pytest.mark.clause("META-13")
def test_all_bytes_pass_through_metadata():
    every = bytes(range(256))
    assert parse_metadata(f"k {base64.b64encode(every).decode()}") == {"k": every}


@pytest.mark.clause("META-13")
@given(st.dictionaries(keys, st.binary(max_size=40), max_size=5))
def test_metadata_that_was_written_is_read_back(metadata):
    assert parse_metadata(format_metadata(metadata)) == metadata


@pytest.mark.parametrize("key", ["", "a b", "a,b", "ü", "a\r\nX-Evil: 1", "\udcff"])
def test_a_key_that_the_grammar_forbids_is_not_written(key):
    with pytest.raises(ValueError, match="metadata key"):
        format_metadata({"fine": b"", key: b"x"})


@given(anything | near_base64 | near_base64.map("k ".__add__))
def test_any_text_is_metadata_or_refused(text):
    try:
        metadata = parse_metadata(text)
    except HeaderInvalid as error:
        error.message.encode("utf-8")  # no surrogate of the client's comes back
    else:
        assert parse_metadata(format_metadata(metadata)) == metadata


# --- checksums ----------------------------------------------------------------------------


@pytest.mark.clause("CHK-02", "CHK-06")
@pytest.mark.parametrize(
    ("value", "checksum"),
    [
        (
            "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            Checksum("sha1", hashlib.sha1(b"hello world", usedforsecurity=False).digest()),
        ),
        ("sha1 AAAA", Checksum("sha1", b"\0\0\0")),
        ("md5 AB==", Checksum("md5", b"\0")),
    ],
    ids=["hello-world", "wrong-length", "trailing-bits"],
)
def test_a_checksum_is_read(value, checksum):
    assert parse_checksum(value, ("sha1", "md5")) == checksum


@pytest.mark.clause("CHK-05")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha1",
        "sha1 ",
        "sha1 !!",
        " AAA=",
        "AAA=",
        "sha1 a b",
        "sha1  AAAA",
        "sha1 AAA",
        "sha1 -_-_",
        "sha1,md5 AAAA",
        "sha1\tAAAA",
        "sha\udcff AAAA",
        "sha1 AAAA\n",
    ],
)
def test_a_malformed_checksum_is_refused(value):
    with pytest.raises(HeaderInvalid, match=r"^Upload-Checksum: "):
        parse_checksum(value, ("sha1",))


@pytest.mark.clause("CHK-04", "CHK-10")
@pytest.mark.parametrize("name", ["foo", "SHA1", "sha256"])
def test_an_algorithm_that_is_not_announced_is_refused(name):
    with pytest.raises(ChecksumAlgorithmUnsupported, match=r"must be one of sha1, md5\.$"):
        parse_checksum(f"{name} AAAA", ("sha1", "md5"))


@given(st.sampled_from(["sha1", "sha512", "crc32c"]), st.binary(min_size=1, max_size=70))
def test_a_checksum_that_was_written_is_read_back(algorithm, digest):
    value = format_checksum(algorithm, digest)
    assert parse_checksum(value, ("crc32c", "sha1", "sha512")) == Checksum(algorithm, digest)


@given(anything | near_base64.map("sha1 ".__add__))
def test_any_text_is_a_checksum_or_refused(text):
    try:
        checksum = parse_checksum(text, ("sha1",))
    except (HeaderInvalid, ChecksumAlgorithmUnsupported) as error:
        error.message.encode("utf-8")
    else:
        assert checksum.algorithm == "sha1"
        assert binascii.a2b_base64(text.removeprefix("sha1 ")) == checksum.digest
