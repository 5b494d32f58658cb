"""Digests in metadata, in all the ways in which clients write them."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.errors import HeaderInvalid
from tusserver.protocol.digests import DigestRules, format_digest
from tusserver.protocol.headers import format_metadata
from tusserver.protocol.messages import Checksum
from tusserver.upload import Kind, Upload, new_upload_id

FILE = b"the whole file"
NAMES = ("md5", "sha1", "sha256", "sha512")
RAW = {name: hashlib.new(name, FILE, usedforsecurity=False).digest() for name in NAMES}
HEX = {name: digest.hex() for name, digest in RAW.items()}
BASE64 = {name: base64.b64encode(digest).decode() for name, digest in RAW.items()}
RULES = DigestRules(name="sha-256", keys=("checksum", "sha256", "SHA-512", "md5"))


def expected(key, value):
    value = value if isinstance(value, bytes) else value.encode()
    return RULES.expected(format_metadata({"filename": b"film.mp4", key: value}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "write",
    [
        lambda name: HEX[name],
        lambda name: HEX[name].upper(),
        lambda name: BASE64[name],
        lambda name: f"{name} {HEX[name]}",  # ownCloud, OpenCloud
        lambda name: f"{name.upper()}:{HEX[name]}",  # OC-Checksum
        lambda name: f"{name} {BASE64[name]}",  # Upload-Checksum
        lambda name: f"{name}-{BASE64[name]}",  # Subresource Integrity
        lambda name: f" {name} {HEX[name]}\n",
    ],
    ids=["hex", "HEX", "Base64", "named", "colon", "as tus", "as SRI", "blanks"],
)
def test_a_digest_is_understood_however_it_is_written(name, write):
    assert expected("checksum", write(name)) == (Checksum(name, RAW[name]),)


@pytest.mark.parametrize(
    ("key", "name"), [("sha256", "sha256"), ("SHA-512", "sha512"), ("md5", "md5")]
)
@pytest.mark.parametrize("form", [HEX, BASE64, RAW], ids=["hex", "Base64", "raw"])
def test_a_key_may_name_the_algorithm(key, name, form):
    assert expected(key, form[name]) == (Checksum(name, RAW[name]),)


def test_the_form_of_repr_digest_may_hold_several():
    value = f"sha-256=:{BASE64['sha256']}:, sha-512=:{BASE64['sha512']}:"
    both = Checksum("sha256", RAW["sha256"]), Checksum("sha512", RAW["sha512"])
    assert expected("checksum", value) == both


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checksum", "crc32 12345678"),
        ("checksum", "sha256 1234"),
        ("checksum", f"sha512 {HEX['sha256']}"),
        ("checksum", f"sha-256=:{BASE64['sha1']}:"),
        ("checksum", f"sha-256=:{BASE64['sha256']}:, unixsum=:AAA=:"),
        ("checksum", RAW["sha256"]),
        ("checksum", "what is this"),
        ("checksum", f"{HEX['sha256']}0"),
        ("sha256", HEX["sha1"]),
        ("md5", BASE64["sha256"]),
    ],
)
def test_what_is_no_digest_is_refused(key, value):
    with pytest.raises(HeaderInvalid, match=f"the value of {key} is no digest"):
        expected(key, value)


def test_nothing_is_expected_where_nothing_is_said_or_looked_for():
    assert expected("other", "what is this") == ()
    assert expected("checksum", "") == ()
    assert RULES.expected("") == ()
    off = DigestRules(keys=RULES.keys)
    assert off.expected(format_metadata({"checksum": b"what is this"})) == ()


@given(st.text())
def test_any_text_is_a_digest_or_refused(text):
    try:
        found = expected("checksum", text)
    except HeaderInvalid:
        return
    assert all(len(checksum.digest or b"") in {16, 20, 32, 64} for checksum in found)


@given(st.sampled_from(["sha256", "sha512"]))
def test_what_is_told_is_understood(name):
    assert expected("checksum", format_digest(name, RAW[name])) == (Checksum(name, RAW[name]),)


def test_parts_are_not_told_of():
    upload = Upload(upload_id=new_upload_id(), created_at=datetime.now(UTC), kind=Kind.PARTIAL)
    assert RULES.told(upload) == ""
