from __future__ import annotations

import re
import threading
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.support.faults import UNKNOWN
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Response, Tus

DATA = b"0123456789abcdef"
INLINE = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "audio/mpeg",
    "audio/ogg",
    "text/plain",
]
ATTACHED = [
    "image/svg+xml",
    "text/html",
    "application/xhtml+xml",
    "text/xml",
    "application/xml",
    "application/pdf",
    "application/javascript",
    "text/css",
    "application/octet-stream",
    "multipart/x-mixed-replace",
    "nonsense",
    "",
]
HOSTILE = {
    "path": b"../../etc/passwd",
    "windows path": b"C:\\Windows\\evil.exe",
    "crlf": b"a\r\nX-Evil: 1\r\n\r\n<script>",
    "lf": b"a\nb",
    "quotes": b'a"; filename=evil.exe; x="',
    "backslash": b'a\\"b',
    "nul": b"a.txt\x00.exe",
    "bidi": "invoice\u202efdp.exe".encode(),
    "isolates": "a\u2066b\u2069c".encode(),
    "controls": b"a\x01\x1b[2Jb\x7f",
    "dot": b".",
    "dots": b"..",
    "blanks": b"   ",
    "empty": b"",
    "not utf-8": b"caf\xe9.txt",
    "percent": b"100%25%0d%0a.txt",
    "long": b"x" * 3000,
    "long in utf-8": ("\u00e4" * 1500).encode(),
    "separator": "a\u2028b\u0085c".encode(),
    "tag": b"<img src=x onerror=alert(1)>.png",
    "semicolon": b"a;b,c.txt",
}
GOOD = {
    "plain": "report.pdf",
    "blanks": "my report 2.pdf",
    "umlaut": "\u00dcbersicht.pdf",
    "chinese": "\u6587\u4ef6.txt",
    "emoji": "\U0001f600.png",
    "apostrophe": "it's.txt",
    "percent": "100%.txt",
}


def _metadata(**values: bytes) -> dict[str, str]:
    pairs = (f"{key} {b64encode(value).decode()}".strip() for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


def _file_name(answer: Response) -> str | None:
    """Read the name as browsers do: filename* first (RFC 6266)."""
    value = answer.get("Content-Disposition") or ""
    assert value.isascii()
    assert all(" " <= letter <= "~" for letter in value)
    extended = re.search(r"filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})*)", value)
    if extended:
        return unquote(extended[1], errors="strict")
    quoted = re.search(r'filename="((?:[^"\\]|\\.)*)"', value)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else None


def test_a_finished_upload_can_be_read(tus: Tus) -> None:
    target = tus.upload(DATA)
    for fields in ({}, {"Tus-Resumable": None}):
        answer = tus.get(target, fields)
        assert (answer.status, answer.body) == (200, DATA)
        assert answer.get("Content-Length") == str(len(DATA))
        assert answer.get("Accept-Ranges") == "bytes"
        assert re.fullmatch(r'"[!#-~]+"', answer.get("ETag") or "")


def test_an_empty_upload_can_be_read(tus: Tus) -> None:
    answer = tus.get(tus.create(0))
    assert (answer.status, answer.body, answer.get("Content-Length")) == (200, b"", "0")


@pytest.mark.clause("DEF-12")
@pytest.mark.parametrize(
    "make",
    [
        lambda tus: tus.create(10),
        lambda tus: tus.create(10, body=b"abc"),
        lambda tus: tus.create(None, body=b"abc"),
        lambda tus: tus.path + UNKNOWN,
    ],
    ids=["new", "begun", "deferred", "unknown"],
)
def test_what_is_not_finished_cannot_be_read(tus: Tus, make: Callable[[Tus], str]) -> None:
    target = make(tus)
    for fields in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
        answer = tus.get(target, fields)
        assert answer.status == 404
        assert b"abc" not in answer.body


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0-3", (0, 4)),
        ("4-9", (4, 10)),
        ("0-0", (0, 1)),
        ("15-15", (15, 16)),
        ("10-", (10, 16)),
        ("10-99999999999999999999", (10, 16)),
        ("0-15", (0, 16)),
        ("-4", (12, 16)),
        ("-99", (0, 16)),
    ],
)
def test_one_range_is_served(tus: Tus, spec: str, expected: tuple[int, int]) -> None:
    target = tus.upload(DATA)
    answer = tus.get(target, {"Range": f"bytes={spec}"})
    start, end = expected
    assert (answer.status, answer.body) == (206, DATA[start:end])
    assert answer.get("Content-Range") == f"bytes {start}-{end - 1}/16"
    assert answer.get("Content-Length") == str(end - start)
    assert answer.get("ETag") == tus.get(target).get("ETag")


@pytest.mark.parametrize("spec", ["16-", "16-20", "99-100", "-0"])
def test_a_range_outside_is_416_and_tells_the_length(tus: Tus, spec: str) -> None:
    answer = tus.get(tus.upload(DATA), {"Range": f"bytes={spec}"})
    assert answer.status == 416
    assert answer.get("Content-Range") == "bytes */16"
    assert answer.get("Tus-Resumable") == "1.0.0"


@pytest.mark.parametrize(
    "value",
    ["bytes=0-3,8-11", "bytes=0-0, -1", "lines=1-2", "bytes", "bytes=", "bytes=a-b", "bytes=5-2",
     "bytes=--1", "bytes=1-2-3", "0-3", "bytes=+1-2", "bytes=1_0-12"],
)  # fmt: skip
def test_several_or_malformed_ranges_give_everything_or_a_refusal(tus: Tus, value: str) -> None:
    answer = tus.get(tus.upload(DATA), {"Range": value})
    assert answer.status in {200, 416}
    if answer.status == 200:
        assert answer.body == DATA


def test_a_range_of_an_empty_upload_gives_nothing(tus: Tus) -> None:
    answer = tus.get(tus.create(0), {"Range": "bytes=0-"})
    assert answer.status in {200, 416}
    assert answer.get("Content-Range") in {None, "bytes */0"}


def test_a_range_holds_only_if_the_upload_is_the_same(tus: Tus) -> None:
    target = tus.upload(DATA)
    tag = tus.get(target).get("ETag") or ""
    asked = {"Range": "bytes=0-3"}
    assert tus.get(target, {**asked, "If-Range": tag}).status == 206
    for other in ('"other"', f"W/{tag}", "Wed, 01 Jan 2020 00:00:00 GMT", "rubbish"):
        answer = tus.get(target, {**asked, "If-Range": other})
        assert (answer.status, answer.body) == (200, DATA)


def test_what_the_client_has_is_not_sent_again(tus: Tus) -> None:
    target = tus.upload(DATA)
    tag = tus.get(target).get("ETag") or ""
    for value in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        with tus.wire() as wire:
            answer = tus.request("GET", target, {"If-None-Match": value}, wire=wire)
            assert (answer.status, answer.body, answer.get("ETag")) == (304, b"", tag)
            assert tus.head(target, wire=wire).offset == 16
    assert tus.get(target, {"If-None-Match": '"other"'}).body == DATA


def test_another_upload_has_another_tag(tus: Tus) -> None:
    first, second = tus.upload(DATA), tus.upload(DATA)
    assert tus.get(first).get("ETag") != tus.get(second).get("ETag")


@pytest.mark.clause("CORE-HEAD-08", "CORE-HEAD-01")
def test_head_is_that_of_tus_and_has_the_length_of_get(tus: Tus) -> None:
    target = tus.upload(DATA)
    for fields in ({}, {"Range": "bytes=0-3"}, {"If-None-Match": "*"}):
        answer = tus.head(target, fields)
        assert (answer.status, answer.offset) == (200, 16)
        assert answer.get("Content-Length") == "16"


@pytest.mark.clause("META-08")
def test_downloads_are_safe_and_private_by_default(tus: Tus) -> None:
    for fields in (_metadata(filetype=b"text/html"), _metadata(filetype=b"image/png"), {}):
        target = tus.upload(DATA, fields)
        for asked in ({}, {"Range": "bytes=0-3"}):
            answer = tus.get(target, asked)
            assert answer.get("X-Content-Type-Options") == "nosniff"
            assert "sandbox" in (answer.get("Content-Security-Policy") or "")
            assert answer.listed("Cache-Control") == {"private", "no-cache"}


@pytest.mark.parametrize("kind", INLINE)
def test_safe_types_are_shown(tus: Tus, kind: str) -> None:
    answer = tus.get(tus.upload(DATA, _metadata(filename=b"a.b", filetype=kind.encode())))
    assert (answer.get("Content-Type") or "").partition(";")[0] == kind
    assert (answer.get("Content-Disposition") or "").startswith("inline")
    assert _file_name(answer) == "a.b"


@pytest.mark.clause("META-08")
@pytest.mark.parametrize("kind", ATTACHED)
def test_other_types_are_saved(tus: Tus, kind: str) -> None:
    answer = tus.get(tus.upload(DATA, _metadata(filename=b"a.b", filetype=kind.encode())))
    assert (answer.get("Content-Disposition") or "").startswith("attachment")


@pytest.mark.clause("META-08")
@pytest.mark.parametrize(
    "kind",
    [b"image/png\r\nX-Evil: 1", b"image/png\x00", b"\xff\xfe", b'image/png; x="\r\n"', b"a" * 500,
     b"image/png, text/html", b"IMAGE/PNG", b" image/png ", b"text/plain; charset=utf-7"],
    ids=["crlf", "nul", "bytes", "parameter", "long", "list", "capitals", "blanks", "utf-7"],
)  # fmt: skip
def test_an_odd_type_does_no_harm(tus: Tus, kind: bytes) -> None:
    answer = tus.get(tus.upload(DATA, _metadata(filename=b"a", filetype=kind)))
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.get("X-Evil") is None
    value = answer.get("Content-Type") or ""
    assert all(" " <= letter <= "~" for letter in value)
    assert "utf-7" not in value
    assert "html" not in value or (answer.get("Content-Disposition") or "").startswith("attach")


@pytest.mark.clause("META-08")
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_does_no_harm(tus: Tus, name: bytes) -> None:
    answer = tus.get(tus.upload(DATA, _metadata(filename=name)))
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.get("X-Evil") is None
    assert (answer.get("Content-Disposition") or "").startswith("attachment")
    shown = _file_name(answer)
    if shown is not None:
        assert shown.strip(" .")
        assert not set(shown) & set("/\\\0\r\n\x1b\x7f\x85\u2028\u2029")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x1f]", shown)
        assert len(shown.encode()) <= 1024
    assert len(answer.get("Content-Disposition") or "") < 8000


@pytest.mark.parametrize("name", GOOD.values(), ids=GOOD.keys())
def test_an_ordinary_name_arrives_as_it_is(tus: Tus, name: str) -> None:
    answer = tus.get(tus.upload(DATA, _metadata(filename=name.encode())))
    assert _file_name(answer) == name


def test_a_final_upload_can_be_read_across_its_parts(tus: Tus) -> None:
    parts = [
        tus.upload(piece, {"Upload-Concat": "partial"}) for piece in (b"012", b"", b"3456", b"789")
    ]
    created = tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})
    target = tus.target(created.get("Location") or "")
    data = b"0123456789"
    for start in range(10):
        for end in range(start, 10):
            answer = tus.get(target, {"Range": f"bytes={start}-{end}"})
            assert (answer.status, answer.body) == (206, data[start : end + 1])
    assert tus.content(target) == data


def test_the_tag_of_a_final_upload_stays_when_it_has_been_assembled(
    tus: Tus, files_of: Callable[[str], list[str]]
) -> None:
    part = tus.upload(bytes(5_000_000), {"Upload-Concat": "partial"})
    created = tus.post({"Upload-Concat": f"final;{part} {part}"})
    target = tus.target(created.get("Location") or "")
    first = tus.get(target)
    assert eventually(lambda: tus.delete(part).status == 204)
    again = tus.get(target)
    assert again.get("ETag") == first.get("ETag")
    assert first.body == again.body == bytes(10_000_000)


def test_many_can_read_at_once(tus: Tus) -> None:
    data = bytes(range(256)) * 20_000
    target = tus.upload(data)
    same: list[bool] = []

    def read() -> None:
        same.append(tus.content(target) == data)

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 12


def test_a_slow_reader_holds_up_nobody(tus: Tus) -> None:
    data = bytes(30_000_000)
    target = tus.upload(data)
    with tus.wire() as slow:
        slow.send(tus.message("GET", target))
        assert not slow.is_silent(for_=10)
        assert tus.content(target) == data
        assert tus.offset(target) == len(data)
        assert slow.response("GET").body == data


def test_a_reader_that_goes_away_harms_nobody(tus: Tus) -> None:
    target = tus.upload(bytes(30_000_000))
    for _ in range(5):
        with tus.wire() as wire:
            wire.send(tus.message("GET", target))
            assert not wire.is_silent(for_=10)
            wire.reset()
    assert len(tus.content(target)) == 30_000_000


@pytest.mark.clause("HTTP-18")
def test_downloads_can_be_pipelined(tus: Tus) -> None:
    first, second = tus.upload(DATA), tus.upload(DATA[::-1])
    with tus.wire() as wire:
        wire.send(
            tus.message("GET", first) + tus.message("GET", second) + tus.message("GET", first)
        )
        assert [wire.response().body for _ in range(3)] == [DATA, DATA[::-1], DATA]


@pytest.mark.clause("CORE-PATCH-23")
def test_downloads_can_be_switched_off(undownloadable: Tus) -> None:
    target = undownloadable.upload(DATA)
    answer = undownloadable.get(target)
    assert answer.status == 405
    assert "get" not in answer.listed("Allow")
    assert answer.listed("Allow") >= {"head", "patch", "delete", "options"}
    assert DATA not in answer.body
    head = undownloadable.head(target)
    assert head.offset == 16
    assert head.get("Content-Length") in {None, "0"}
