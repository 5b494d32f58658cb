from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Tus

NOT_LENGTHS = {
    "negative": "-1",
    "plus sign": "+1",
    "decimal": "1.5",
    "word": "abc",
    "empty": "",
    "hexadecimal": "0x10",
    "exponent": "1e3",
    "underscore": "1_0",
    "blank inside": "1 0",
    "arabic digit": "\u0661",
    "2^63": str(2**63),
    "10^30": str(10**30),
}


@pytest.mark.clause("CRE-02", "CRE-03", "CRE-05")
def test_a_creation_is_201_and_its_location_leads_to_an_upload_at_offset_0(tus: Tus) -> None:
    answer = tus.post({"Upload-Length": "100"})
    assert (answer.status, answer.body) == (201, b"")
    location = answer.get("Location") or ""
    assert re.fullmatch(re.escape(tus.path) + "[0-9a-f]{32}", location)
    head = tus.head(tus.target(location))
    assert (head.status, head.offset, head.get("Upload-Length")) == (200, 0, "100")


@pytest.mark.clause("CRE-03", "CRE-04", "HTTP-16")
@pytest.mark.parametrize(
    "fields",
    [
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example;proto=https"},
        {"X-Forwarded-Prefix": "/evil"},
        {"X-Forwarded-Port": "666"},
        {"Host": "evil.example"},
        {"Host": 'evil.example"><script>'},
    ],
    ids=str,
)
def test_nothing_that_a_client_claims_about_the_origin_gets_into_location(
    tus: Tus, fields: dict[str, str]
) -> None:
    answer = tus.post({"Upload-Length": "1", **fields})
    assert answer.status in {201, 400}
    if answer.status == 201:
        assert re.fullmatch(re.escape(tus.path) + "[0-9a-f]{32}", answer.get("Location") or "")
    assert "evil" not in str(answer.fields)


@pytest.mark.clause("CRE-06")
def test_a_creation_without_a_length_is_400(tus: Tus, stored: Callable[[], set[str]]) -> None:
    before = stored()
    answer = tus.post()
    assert (answer.status, answer.get("Location")) == (400, None)
    assert stored() == before


@pytest.mark.clause("CRE-07")
@pytest.mark.parametrize("length", NOT_LENGTHS.values(), ids=NOT_LENGTHS.keys())
def test_a_length_that_is_no_integer_is_400(
    tus: Tus, stored: Callable[[], set[str]], length: str
) -> None:
    before = stored()
    answer = tus.post({"Upload-Length": length})
    assert (answer.status, answer.get("Location")) == (400, None)
    assert stored() == before


@pytest.mark.clause("CRE-10")
def test_a_length_that_no_disk_can_hold_is_refused_and_leaves_nothing(
    tus: Tus, stored: Callable[[], set[str]]
) -> None:
    before = stored()
    for length in (2**50, 2**53 + 1, 2**63 - 1):
        assert tus.post({"Upload-Length": str(length)}).status in {413, 507}
    assert stored() == before


@pytest.mark.clause("CRE-08")
@pytest.mark.parametrize("length", ["0", "10"])
def test_a_length_and_its_deferral_at_once_are_400(tus: Tus, length: str) -> None:
    answer = tus.post({"Upload-Length": length, "Upload-Defer-Length": "1"})
    assert (answer.status, answer.get("Location")) == (400, None)


@pytest.mark.clause("CRE-09")
def test_an_upload_of_length_0_is_complete_when_it_is_created(tus: Tus) -> None:
    answer = tus.post({"Upload-Length": "0"})
    assert answer.status == 201
    target = tus.target(answer.get("Location") or "")
    head = tus.head(target)
    assert (head.status, head.offset, head.get("Upload-Length")) == (200, 0, "0")
    assert tus.content(target) == b""
    assert tus.patch(target, 0).status == 204
    assert tus.patch(target, 0, b"x").status == 413


@pytest.mark.clause("CRE-10")
def test_the_largest_size_is_a_limit_for_lengths(
    limited: Tus,
) -> None:
    assert limited.post({"Upload-Length": "1000"}).status == 201
    answer = limited.post({"Upload-Length": "1001"})
    assert (answer.status, answer.get("Location")) == (413, None)


@pytest.mark.clause("CRE-12")
def test_each_creation_has_a_url_of_its_own_with_122_random_bits_or_more(tus: Tus) -> None:
    targets = {tus.create(1) for _ in range(20)}
    assert len(targets) == 20
    ids = [int(target.removeprefix(tus.path), 16) for target in targets]
    varying = 0
    for first, second in pairwise(ids):
        varying |= first ^ second
    assert varying.bit_count() >= 122


@pytest.mark.clause("CRE-13")
@pytest.mark.parametrize("kind", ["application/json", "text/plain", None], ids=str)
def test_a_body_of_another_type_is_not_upload_data(tus: Tus, kind: str | None) -> None:
    answer = tus.post({"Upload-Length": "100", "Content-Type": kind}, b"{}")
    assert answer.status == 201
    target = tus.target(answer.get("Location") or "")
    assert tus.offset(target) == 0


@pytest.mark.clause("CRE-13", "HTTP-19")
def test_a_body_that_is_not_upload_data_leaves_the_connection_in_step(tus: Tus) -> None:
    with tus.wire() as wire:
        fields = {"Upload-Length": "9", "Content-Type": "application/json"}
        answer = tus.post(fields, b"GET / HTTP/1.1\r\n\r\n", wire=wire)
        assert answer.status == 201
        if not answer.closes:
            target = tus.target(answer.get("Location") or "")
            assert tus.head(target, wire=wire).offset == 0


@pytest.mark.clause("CRE-11")
def test_the_creation_url_without_post_is_405(tus: Tus) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        answer = tus.request(method, tus.path, {"Content-Length": "0"})
        assert answer.status == 405
        assert answer.get("Location") is None


@pytest.mark.clause("CRE-03", "CRE-04")
def test_a_configured_public_url_stands_in_every_location(public: Tus) -> None:
    fields = {"Upload-Length": "1", "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    location = public.post(fields).get("Location") or ""
    base = "https://uploads.example/up/"
    assert re.fullmatch(re.escape(base) + "[0-9a-f]{32}", location)
    assert public.offset(public.path + location.removeprefix(base)) == 0
