from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Tus

GOOD = {
    "as in the specification": "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
    "order of its own": "z YQ==,a Yg==,m Yw==",
    "non-zero trailing bits": "k YR==",
    "odd key": "!#$%&'*+-.^_`|~/\\{}[]()<>@;:\"=? YQ==",
    "long value": "k " + b64encode(b"x" * 3000).decode(),
}
BAD = {
    "comma alone": ",",
    "empty entry": "a YQ==,,b Yg==",
    "three words": "a YQ== Yg==",
    "no alphabet": "k !!!!",
    "no padding": "k YQ",
    "half the padding": "k YQ=",
    "too much padding": "k YQ===",
    "url-safe alphabet": "k -_-_",
    "padding inside": "k YQ==YQ==",
    "key twice": "k YQ==,k Yg==",
    "key twice without values": "k,k",
    "key beyond ascii": "ключ dmFs",
    "value beyond ascii": "k \u00e9\u00e9\u00e9\u00e9",
    "tab": "k\tYQ==",
}


@pytest.mark.clause("META-01")
@pytest.mark.parametrize("metadata", GOOD.values(), ids=GOOD.keys())
def test_head_gives_metadata_back_byte_for_byte(tus: Tus, metadata: str) -> None:
    target = tus.create(10, {"Upload-Metadata": metadata})
    assert tus.head(target).get("Upload-Metadata") == metadata
    tus.patch(target, 0, b"0123456789")
    assert tus.head(target).get("Upload-Metadata") == metadata


@pytest.mark.clause("META-02", "META-10", "CLI-03")
@pytest.mark.parametrize("metadata", [None, ""], ids=["none", "empty"])
def test_without_metadata_head_has_none(tus: Tus, metadata: str | None) -> None:
    target = tus.create(10, {"Upload-Metadata": metadata})
    assert tus.head(target).get("Upload-Metadata") is None


@pytest.mark.clause("META-03", "META-04", "META-05", "META-07")
@pytest.mark.parametrize("metadata", BAD.values(), ids=BAD.keys())
def test_malformed_metadata_is_400(tus: Tus, stored: Callable[[], set[str]], metadata: str) -> None:
    before = stored()
    answer = tus.post({"Upload-Length": "1", "Upload-Metadata": metadata})
    assert (answer.status, answer.get("Location")) == (400, None)
    assert stored() == before


@pytest.mark.clause("META-06")
@pytest.mark.parametrize("metadata", ["a,b ", "a ,b Yg==", "a", "a ", "a,b,c"])
def test_values_may_be_empty(tus: Tus, metadata: str) -> None:
    target = tus.create(1, {"Upload-Metadata": metadata})
    seen = tus.head(target).get("Upload-Metadata")
    # Blanks at the end of a line are HTTP's, not ours.
    assert seen == metadata.rstrip(" ")


@pytest.mark.clause("META-08")
@pytest.mark.parametrize(
    "value",
    [b"a\r\nX-Evil: 1", b"a\nX-Evil: 1", b"../../etc/passwd", b"a\x00b", "\u202egnp.exe".encode()],
    ids=["crlf", "lf", "path", "nul", "bidi"],
)
def test_decoded_values_get_nowhere(tus: Tus, value: bytes) -> None:
    metadata = f"filename {b64encode(value).decode()},filetype {b64encode(value).decode()}"
    target = tus.upload(b"abc", {"Upload-Metadata": metadata})
    for answer in (tus.head(target), tus.get(target)):
        assert answer.status == 200
        assert answer.get("X-Evil") is None
    assert tus.content(target) == b"abc"


@pytest.mark.clause("META-09")
@pytest.mark.parametrize(
    "metadata", ["a YQ==, b Yg==", "a YQ== ,b Yg==", "a YQ== , b Yg==", "a , b"]
)
def test_blanks_around_commas_do_no_harm(tus: Tus, metadata: str) -> None:
    target = tus.create(1, {"Upload-Metadata": metadata})
    assert tus.head(target).get("Upload-Metadata") == metadata


@pytest.mark.clause("META-11")
def test_several_lines_are_one_list(tus: Tus) -> None:
    target = tus.create(1, {"Upload-Metadata": ["a YQ==", "b Yg=="]})
    assert (tus.head(target).get("Upload-Metadata") or "").split(",") == ["a YQ==", "b Yg=="]


@pytest.mark.clause("META-11", "META-07")
def test_a_key_in_two_lines_is_400(tus: Tus) -> None:
    fields = {"Upload-Length": "1", "Upload-Metadata": ["a YQ==", "a Yg=="]}
    assert tus.post(fields).status == 400


@pytest.mark.clause("META-12")
def test_metadata_of_8_kib_works_or_is_refused_cleanly(tus: Tus, *, is_program: bool) -> None:
    metadata = "k " + b64encode(bytes(6144)).decode()
    answer = tus.post({"Upload-Length": "1", "Upload-Metadata": metadata})
    if is_program or answer.status == 201:
        assert answer.status == 201
        target = tus.target(answer.get("Location") or "")
        assert tus.head(target).get("Upload-Metadata") == metadata
    else:
        assert answer.status in {400, 431}


@pytest.mark.clause("META-12")
@pytest.mark.parametrize("size", [100_000, 900_000], ids=str)
def test_large_metadata_is_kept_or_refused(tus: Tus, size: int) -> None:
    metadata = "k " + "A" * size
    with tus.wire() as wire:
        head = tus.message("POST", None, {"Upload-Length": "1", "Upload-Metadata": metadata})
        wire.flood(len(head), piece=head)
        answer = wire.response("POST")
    assert answer.status in {201, 400, 431}
    if answer.status == 201:
        target = tus.target(answer.get("Location") or "")
        assert tus.head(target).get("Upload-Metadata") == metadata


@pytest.mark.clause("META-12")
@pytest.mark.parametrize("size", [2_000_000, 20_000_000], ids=str)
def test_metadata_beyond_any_limit_is_refused_cleanly(tus: Tus, size: int) -> None:
    with tus.wire() as wire:
        head = tus.message(
            "POST", None, {"Upload-Length": "1", "Upload-Metadata": "k " + "A" * size}
        )
        wire.flood(len(head), piece=head)
        assert wire.response("POST").status in {400, 431}
        assert wire.is_closed()
    assert tus.options().status == 204


@pytest.mark.clause("META-13")
def test_any_byte_may_stand_in_a_value(tus: Tus) -> None:
    metadata = "k " + b64encode(bytes(range(256))).decode()
    target = tus.upload(b"abc", {"Upload-Metadata": metadata})
    assert tus.head(target).get("Upload-Metadata") == metadata
