from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw import OFFSET_STREAM, chunked

if TYPE_CHECKING:
    from tests.support.raw import Tus


def _override(method: str) -> dict[str, str]:
    return {"X-HTTP-Method-Override": method}


@pytest.mark.clause("CORE-MO-01", "CORE-MO-03")
def test_a_post_overridden_to_patch_appends(tus: Tus) -> None:
    target = tus.create(5)
    fields = {**_override("PATCH"), "Upload-Offset": "0", "Content-Type": OFFSET_STREAM}
    answer = tus.request("POST", target, fields, b"hello")
    assert (answer.status, answer.offset) == (204, 5)
    assert tus.content(target) == b"hello"


@pytest.mark.clause("CORE-MO-02", "CORE-MO-03")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
def test_any_method_overridden_to_head_is_answered_as_head(tus: Tus, method: str) -> None:
    target = tus.create(5, body=b"abc")
    with tus.wire() as wire:
        answer = tus.request(method, target, _override("HEAD"), wire=wire)
        assert (answer.status, answer.offset) == (200, 3)
        assert answer.get("Upload-Length") == "5"
        assert answer.body == b""
        again = tus.head(target, wire=wire)
    assert again.offset == 3


@pytest.mark.clause("CORE-MO-02", "CORE-MO-03")
@pytest.mark.parametrize("method", ["POST", "PATCH", "GET"])
def test_any_method_overridden_to_delete_removes(tus: Tus, method: str) -> None:
    target = tus.create(5)
    answer = tus.request(method, target, _override("DELETE"))
    assert (answer.status, answer.body) == (204, b"")
    assert tus.head(target).status == 404


@pytest.mark.clause("CORE-MO-02")
def test_an_override_without_a_version_is_ignored(tus: Tus) -> None:
    target = tus.upload(b"hello")
    answer = tus.request("GET", target, {**_override("DELETE"), "Tus-Resumable": None})
    assert (answer.status, answer.body) == (200, b"hello")
    assert tus.offset(target) == 5


@pytest.mark.clause("CORE-MO-04")
@pytest.mark.parametrize("method", ["FOO", "BREW", "PROPFIND", "", "TRACE", "CONNECT"])
def test_an_unknown_method_in_the_override_is_refused(tus: Tus, method: str) -> None:
    target = tus.create(5)
    before = tus.snapshot(target)
    answer = tus.request("POST", target, _override(method))
    assert answer.status in {400, 405, 501}
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-MO-04")
def test_a_lower_case_method_is_understood_or_refused(tus: Tus) -> None:
    target = tus.create(5)
    fields = {**_override("patch"), "Upload-Offset": "0", "Content-Type": OFFSET_STREAM}
    answer = tus.request("POST", target, fields, b"hello")
    assert answer.status in {204, 400, 405, 501}
    assert tus.offset(target) == (5 if answer.status == 204 else 0)


@pytest.mark.clause("CORE-MO-05", "CLI-04")
@pytest.mark.parametrize("waits", [True, False], ids=["waits", "does not wait"])
def test_override_chunks_and_expectation_work_together(tus: Tus, *, waits: bool) -> None:
    target = tus.create(11)
    fields = {
        **_override("PATCH"),
        "Upload-Offset": "0",
        "Content-Type": OFFSET_STREAM,
        "Content-Length": None,
        "Transfer-Encoding": "chunked",
        "Expect": "100-continue",
    }
    with tus.wire() as wire:
        wire.send(tus.message("POST", target, fields))
        if waits:
            assert wire.interim().status == 100
        wire.send(chunked(b"hello ", b"world"))
        answer = wire.response("PATCH")
    assert (answer.status, answer.offset) == (204, 11)
    assert tus.content(target) == b"hello world"
