from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.faults import FAULTS, Fault
from tests.support.raw import OFFSET_STREAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Response, Tus

WRONG_VERSIONS = ["0.2.2", "1.0.1", "2.0.0", "1", "v1.0.0", "1.0.0, 0.2.2"]


@pytest.mark.clause("CORE-VER-01", "CORE-VER-08")
def test_every_success_names_the_version(tus: Tus) -> None:
    created = tus.post({"Upload-Length": "5"})
    target = tus.target(created.get("Location") or "")
    answers = [
        created,
        tus.head(target),
        tus.options(),
        tus.options(target),
        tus.patch(target, 0, b"ab"),
        tus.patch(target, 2, b"cde"),
        tus.get(target),
        tus.delete(target),
    ]
    assert [answer.status for answer in answers] == [201, 200, 204, 204, 204, 204, 200, 204]
    assert [answer.get("Tus-Resumable") for answer in answers] == ["1.0.0"] * 8


@pytest.mark.clause("CORE-VER-01", "CORE-VER-08")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_error_names_the_version_and_says_what_is_wrong(tus: Tus, fault: Fault) -> None:
    with tus.wire() as wire:
        wire.send(fault.make(tus, {}))
        answer = wire.response(fault.method)
    assert answer.status == fault.status, answer
    assert answer.get("Tus-Resumable") == "1.0.0"
    if fault.method != "HEAD":
        assert re.fullmatch(rf"{fault.code}: [^\n]+\n", answer.body.decode())
        assert (answer.get("Content-Type") or "").startswith("text/plain")


def _asked(tus: Tus, method: str, version: str | None) -> Response:
    target = None if method == "POST" else tus.create(10)
    fields = {
        "POST": {"Upload-Length": "10"},
        "PATCH": {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM},
    }.get(method, {})
    body = b"abc" if method == "PATCH" else b""
    return tus.request(method, target, {"Tus-Resumable": version, **fields}, body)


@pytest.mark.clause("CORE-VER-02", "CORE-VER-03")
@pytest.mark.parametrize("version", WRONG_VERSIONS)
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_another_version_is_refused_with_those_that_work(
    tus: Tus, method: str, version: str
) -> None:
    answer = _asked(tus, method, version)
    assert answer.status == 412
    assert answer.get("Tus-Version") == "1.0.0"


@pytest.mark.clause("CORE-VER-04")
def test_a_creation_of_another_version_creates_nothing(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    before = stored()
    answer = _asked(tus, "POST", "0.2.2")
    assert (answer.status, answer.get("Location")) == (412, None)
    assert stored() == before


@pytest.mark.clause("CORE-VER-04")
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("version", ["0.2.2", None], ids=["another", "none"])
def test_a_request_of_another_version_changes_nothing(
    tus: Tus, method: str, version: str | None
) -> None:
    target = tus.create(10, body=b"abc")
    before = tus.snapshot(target)
    fields = {"Tus-Resumable": version, "Upload-Offset": "3", "Content-Type": OFFSET_STREAM}
    assert tus.request(method, target, fields, b"defg").status == 412
    assert tus.snapshot(target) == before


@pytest.mark.clause("CORE-VER-04")
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_another_version_is_refused_before_the_body_is_there(tus: Tus, method: str) -> None:
    target = tus.create(1000) if method == "PATCH" else tus.path
    fields = {
        "Tus-Resumable": "0.2.2",
        "Upload-Offset": "0",
        "Upload-Length": "1000",
        "Content-Type": OFFSET_STREAM,
        "Content-Length": "1000",
    }
    assert tus.request(method, target, fields).status == 412


@pytest.mark.clause("CORE-VER-05", "CORE-VER-03")
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_changing_request_needs_a_version(tus: Tus, method: str) -> None:
    answer = _asked(tus, method, None)
    assert answer.status == 412
    assert answer.get("Tus-Version") == "1.0.0"


@pytest.mark.clause("CORE-VER-05")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_reading_request_needs_no_version(tus: Tus, method: str) -> None:
    target = tus.upload(b"hello")
    answer = tus.request(method, target, {"Tus-Resumable": None})
    assert answer.status == 200
    assert answer.get("Tus-Resumable") == "1.0.0"
    if method == "HEAD":
        assert answer.offset == 5


@pytest.mark.clause("CORE-VER-06")
@pytest.mark.parametrize("version", ["9.9.9", "", "1.0.0"], ids=["wrong", "empty", "right"])
def test_options_does_not_look_at_the_version(tus: Tus, version: str) -> None:
    answer = tus.options(None, {"Tus-Resumable": version})
    assert answer.status == 204
    assert answer.get("Tus-Version") == "1.0.0"


@pytest.mark.clause("CORE-VER-07")
def test_versions_are_a_comma_list(tus: Tus) -> None:
    versions = tus.options().get("Tus-Version") or ""
    assert re.fullmatch(r"\d+\.\d+\.\d+(,\d+\.\d+\.\d+)*", versions)
    assert versions.split(",")[0] == "1.0.0"
