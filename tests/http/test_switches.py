"""What is switched off is neither announced nor done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import OFFSET_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Tus

SHA1_OF_OTHER = "sha1 " + "A" * 27 + "="


@pytest.mark.clause("CORE-OPT-03")
def test_without_extensions_the_list_is_left_out(without: Callable[..., Tus]) -> None:
    bare = without("creation", "checksum", "termination", "expiration", "concatenation")
    answer = bare.options()
    assert answer.status == 204
    assert answer.get("Tus-Version") == "1.0.0"
    assert answer.get("Tus-Extension") is None
    assert answer.get("Tus-Checksum-Algorithm") is None


@pytest.mark.clause("CRE-11", "CWU-01")
def test_without_creation_a_post_is_405(without: Callable[..., Tus]) -> None:
    tus = without("creation")
    assert not tus.extensions & {"creation", "creation-with-upload", "creation-defer-length"}
    answer = tus.post({"Upload-Length": "5"})
    assert (answer.status, answer.get("Location")) == (405, None)
    assert answer.get("Tus-Resumable") == "1.0.0"
    assert "post" not in answer.listed("Allow")


@pytest.mark.clause("DEF-11")
def test_without_deferral_a_creation_that_defers_is_400(without: Callable[..., Tus]) -> None:
    tus = without("creation-defer-length")
    assert "creation-defer-length" not in tus.extensions
    answer = tus.post({"Upload-Defer-Length": "1"})
    assert (answer.status, answer.get("Location")) == (400, None)
    assert tus.post({"Upload-Length": "1"}).status == 201


@pytest.mark.clause("CWU-01", "CRE-13")
def test_without_creation_with_upload_a_body_is_not_upload_data(
    without: Callable[..., Tus],
) -> None:
    tus = without("creation-with-upload")
    assert "creation-with-upload" not in tus.extensions
    answer = tus.post({"Upload-Length": "9", "Content-Type": OFFSET_STREAM}, b"abc")
    assert (answer.status, answer.offset) == (201, None)
    assert tus.offset(tus.target(answer.get("Location") or "")) == 0


@pytest.mark.clause("CHK-12", "CORE-OPT-05")
def test_without_checksums_a_digest_is_ignored(without: Callable[..., Tus]) -> None:
    tus = without("checksum")
    assert not tus.extensions & {"checksum", "checksum-trailer"}
    assert tus.options().get("Tus-Checksum-Algorithm") is None
    target = tus.create(3)
    assert tus.patch(target, 0, b"abc", {"Upload-Checksum": SHA1_OF_OTHER}).status == 204


@pytest.mark.clause("TER-10")
def test_without_termination_an_upload_stays(without: Callable[..., Tus]) -> None:
    tus = without("termination")
    assert "termination" not in tus.extensions
    target = tus.create(3)
    answer = tus.delete(target)
    assert answer.status == 405
    assert "delete" not in answer.listed("Allow")
    assert tus.offset(target) == 0


@pytest.mark.clause("CAT-01", "CAT-02")
def test_without_concatenation_an_upload_is_neither_partial_nor_final(
    without: Callable[..., Tus],
) -> None:
    tus = without("concatenation")
    assert not tus.extensions & {"concatenation", "concatenation-unfinished"}
    target = tus.create(3)
    assert tus.post({"Upload-Concat": f"final;{target}"}).status == 400


@pytest.mark.clause("EXP-01", "EXP-03")
def test_without_expiration_no_time_is_told(without: Callable[..., Tus]) -> None:
    tus = without("expiration")
    assert "expiration" not in tus.extensions
    created = tus.post({"Upload-Length": "3"})
    assert created.get("Upload-Expires") is None
