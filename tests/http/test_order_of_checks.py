"""Two faults at once: which one is told. Everywhere else a request has one fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults import UNKNOWN
from tests.support.raw import OFFSET_STREAM

if TYPE_CHECKING:
    from tests.support.raw import Tus

# From the first that is checked to the last: what breaks a PATCH, and the answer.
FAULTS: dict[str, tuple[dict[str, str | None], int]] = {
    "version": ({"Tus-Resumable": "0.1.0"}, 412),
    "existence": ({}, 404),
    "content type": ({"Content-Type": "text/plain"}, 415),
    "header syntax": ({"Upload-Length": "x"}, 400),
    "final upload": ({}, 403),
    "algorithm": ({"Upload-Checksum": "foo AAAA"}, 400),
    "offset": ({"Upload-Offset": "4"}, 409),
    "length": ({}, 413),
}
CODES = {
    "version": "version_unsupported",
    "existence": "upload_not_found",
    "content type": "content_type_unsupported",
    "header syntax": "header_invalid",
    "final upload": "final_upload_immutable",
    "algorithm": "checksum_algorithm_unsupported",
    "offset": "offset_mismatch",
    "length": "length_exceeded",
}
NAMES = list(FAULTS)
PAIRS = [
    (first, second)
    for place, first in enumerate(NAMES)
    for second in NAMES[place + 1 :]
    # What does not exist is no final upload, and nothing can be compared with its offset.
    if not (first == "existence" and second == "final upload")
]


def _target(tus: Tus, faults: set[str]) -> str:
    if "existence" in faults:
        return tus.path + UNKNOWN
    if "final upload" in faults:
        part = tus.upload(b"abc", {"Upload-Concat": "partial"})
        final = tus.post({"Upload-Concat": f"final;{part}"})
        return tus.target(final.get("Location") or "")
    return tus.create(10, body=b"abc")


@pytest.mark.clause(
    "CORE-VER-04",
    "CORE-PATCH-04",
    "CORE-PATCH-06",
    "CORE-PATCH-10",
    "CORE-PATCH-14",
    "CAT-12",
    "CHK-04",
)
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[" before ".join(p) for p in PAIRS])
def test_of_two_faults_of_a_patch_the_first_is_told(tus: Tus, first: str, second: str) -> None:
    target = _target(tus, {first, second})
    body = b"x" * 99 if "length" in (first, second) else b"x"
    fields = {
        "Upload-Offset": "3",
        "Content-Type": OFFSET_STREAM,
        **FAULTS[second][0],
        **FAULTS[first][0],
    }
    answer = tus.request("PATCH", target, fields, body)
    assert (answer.status, answer.code) == (FAULTS[first][1], CODES[first])


@pytest.mark.clause("CORE-VER-04", "CORE-HEAD-05")
@pytest.mark.parametrize("method", ["HEAD", "DELETE", "GET"])
def test_the_version_is_checked_before_existence(tus: Tus, method: str) -> None:
    answer = tus.request(method, tus.path + UNKNOWN, {"Tus-Resumable": "0.1.0"})
    assert answer.status == 412


@pytest.mark.clause("CORE-PATCH-06", "CORE-PATCH-13")
def test_the_offset_is_compared_before_the_body_of_a_complete_upload(tus: Tus) -> None:
    target = tus.upload(b"abcde")
    assert tus.patch(target, 4, b"xx").status == 409


@pytest.mark.clause("CORE-VER-04", "CRE-06", "CRE-10")
def test_the_version_is_checked_before_everything_of_a_creation(limited: Tus) -> None:
    wrong = {"Tus-Resumable": "0.1.0"}
    for fields in ({}, {"Upload-Length": "x"}, {"Upload-Length": "1001"}):
        assert limited.post({**wrong, **fields}).status == 412


@pytest.mark.clause("CRE-07", "META-05", "CRE-10")
def test_syntax_is_checked_before_the_largest_size(limited: Tus) -> None:
    fields = {"Upload-Length": "1001", "Upload-Metadata": "k !!!"}
    assert limited.post(fields).status == 400
