from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults import FAULTS, Fault

if TYPE_CHECKING:
    from tests.support.raw import Response, Tus

ORIGIN = "https://page.example"
METHODS = {"post", "get", "head", "patch", "delete", "options"}
SENT = [
    "Authorization",
    "Content-Type",
    "X-Requested-With",
    "X-Request-ID",
    "X-HTTP-Method-Override",
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-Draft-Interop-Version",
    "Content-Disposition",
]
READ = {
    "location",
    "upload-offset",
    "upload-length",
    "upload-metadata",
    "upload-defer-length",
    "upload-concat",
    "upload-expires",
    "tus-version",
    "tus-resumable",
    "tus-max-size",
    "tus-extension",
    "tus-checksum-algorithm",
    "retry-after",
}


def _check_allowed(answer: Response, origin: str = ORIGIN) -> None:
    allowed = answer.get("Access-Control-Allow-Origin")
    assert allowed in {"*", origin}, answer
    if allowed != "*":
        assert "origin" in answer.listed("Vary")
    if answer.get("Access-Control-Allow-Credentials") is not None:
        assert allowed == origin


def _preflight(tus: Tus, target: str, method: str, headers: str) -> Response:
    fields = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return tus.options(target, fields)


@pytest.mark.clause("CORS-01", "CORE-OPT-01", "CORE-OPT-06")
@pytest.mark.parametrize("method", sorted(METHODS - {"options"}))
@pytest.mark.parametrize("on", ["creation URL", "upload", "nothing"])
def test_a_preflight_is_answered(tus: Tus, method: str, on: str) -> None:
    target = {"creation URL": tus.path, "upload": tus.create(1), "nothing": tus.path + "0"}[on]
    answer = _preflight(tus, target, method.upper(), "tus-resumable")
    assert answer.status in {200, 204}
    _check_allowed(answer)
    assert answer.listed("Access-Control-Allow-Methods") >= METHODS
    assert int(answer.get("Access-Control-Max-Age") or "0") >= 600


@pytest.mark.clause("CORS-02")
@pytest.mark.parametrize("name", SENT)
def test_every_header_that_a_client_sends_is_allowed(tus: Tus, name: str) -> None:
    answer = _preflight(tus, tus.path, "POST", name.lower())
    allowed = answer.listed("Access-Control-Allow-Headers")
    assert name.lower() in allowed
    assert "*" not in allowed


@pytest.mark.clause("CORS-03")
def test_every_header_that_a_page_reads_is_exposed(tus: Tus) -> None:
    fields = {"Origin": ORIGIN}
    created = tus.post({**fields, "Upload-Length": "5"})
    target = tus.target(created.get("Location") or "")
    answers = [
        created,
        tus.head(target, fields),
        tus.patch(target, 0, b"hello", fields),
        tus.get(target, fields),
        tus.options(None, fields),
        tus.delete(target, fields),
    ]
    for answer in answers:
        _check_allowed(answer)
        assert answer.listed("Access-Control-Expose-Headers") >= READ


@pytest.mark.clause("CORS-04", "CORS-03")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_errors_carry_the_headers_too(tus: Tus, fault: Fault) -> None:
    with tus.wire() as wire:
        wire.send(fault.make(tus, {"Origin": ORIGIN}))
        answer = wire.response(fault.method)
    assert answer.status == fault.status
    _check_allowed(answer)
    assert answer.listed("Access-Control-Expose-Headers") >= READ


@pytest.mark.clause("CORS-05")
@pytest.mark.parametrize("origin", [ORIGIN, "null", "http://localhost:3000"])
def test_a_star_and_credentials_never_meet(tus: Tus, origin: str) -> None:
    answer = tus.post({"Origin": origin, "Upload-Length": "5"})
    assert answer.status == 201
    _check_allowed(answer, origin)


@pytest.mark.clause("CORS-05")
def test_a_request_that_no_page_made_needs_no_cors(tus: Tus) -> None:
    answer = tus.post({"Upload-Length": "5"})
    assert answer.get("Access-Control-Allow-Origin") in {None, "*"}


@pytest.mark.clause("CORS-05", "META-08")
@pytest.mark.parametrize("origin", ['https://a"b', "https://a, https://b", "x y", "%0d%0aX: y"])
def test_an_odd_origin_is_never_repeated_blindly(tus: Tus, origin: str) -> None:
    answer = tus.options(None, {"Origin": origin})
    assert answer.get("Access-Control-Allow-Origin") in {None, "*", origin}
    assert answer.get("X") is None


@pytest.mark.clause("CORS-05", "CORS-01")
def test_an_origin_that_is_named_is_echoed_with_credentials(choosy: Tus) -> None:
    for answer in (
        choosy.post({"Origin": ORIGIN, "Upload-Length": "5"}),
        _preflight(choosy, choosy.path, "POST", "tus-resumable"),
    ):
        assert answer.get("Access-Control-Allow-Origin") == ORIGIN
        assert answer.get("Access-Control-Allow-Credentials") == "true"
        assert "origin" in answer.listed("Vary")


@pytest.mark.clause("CORS-06")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://page.example", "https://page.example.evil", "null"]
)
def test_an_origin_that_is_not_allowed_has_no_effect(choosy: Tus, origin: str) -> None:
    target = choosy.upload(b"hello")
    fields = {"Origin": origin}
    answers = [
        choosy.post({**fields, "Upload-Length": "5"}),
        choosy.patch(target, 5, b"", fields),
        choosy.delete(target, fields),
        choosy.get(target, fields),
        choosy.options(target, {**fields, "Access-Control-Request-Method": "PATCH"}),
    ]
    assert [answer.status for answer in answers[:4]] == [403] * 4
    for answer in answers:
        assert answer.get("Access-Control-Allow-Origin") is None
        assert answer.get("Access-Control-Allow-Credentials") is None
        assert answer.get("Location") is None
        assert "origin" in answer.listed("Vary")
    assert choosy.content(target) == b"hello"


@pytest.mark.clause("CORS-05")
def test_a_program_needs_no_origin_where_origins_are_named(choosy: Tus) -> None:
    assert choosy.post({"Upload-Length": "5"}).status == 201
