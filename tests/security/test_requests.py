"""Lines of the threat model: what strangers put into requests."""

from __future__ import annotations

import base64
import gzip
import re
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.security.conftest import MAX_SIZE
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.waiting import eventually

CHUNKS = {"Content-Length": None, "Transfer-Encoding": "chunked"}


def names_in(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def encoded(text):
    return base64.b64encode(text.encode()).decode()


# --- request line --------------------------------------------------------------------------

ASTRAY = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "....//etc/passwd",
    "..\\..\\etc\\passwd", "%00", "a%00", "/etc/passwd", ".tusserver/store.json", "%2e%2e",
    ".tusserver%2fstore.json", "{id}/../{id}", "{id}%2f", "{id}.meta", "{ID}", "{id}%00",
    "{id};a=b", "{shard}/{id}", "file:///etc/passwd", "\u0660" * 32, "0" * 4000,
]  # fmt: skip


@pytest.mark.parametrize("path", ASTRAY, ids=lambda path: path[:30])
def test_request_line__no_path_leads_to_another_file(tus, server, path):
    target = tus.upload(b"mine")
    upload_id = target.rpartition("/")[2]
    path = path.format(id=upload_id, ID=upload_id.upper() + "A", shard=upload_id[:2])
    before = names_in(server.upload_dir)
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM}
        with tus.wire() as wire:
            wire.send(tus.message(method, tus.path + path, fields))
            answer = wire.response(method)
        assert answer.status in {400, 404}, answer
        assert b"root:" not in answer.body
        assert b"mine" not in answer.body
    assert names_in(server.upload_dir) == before
    assert tus.content(target) == b"mine"


# --- headers -------------------------------------------------------------------------------

HUGE = [2**63, 2**64, 10**30, 10**400]


@pytest.mark.parametrize("number", HUGE, ids=lambda number: f"{number:.0e}"[:8] if number < 10**40
                         else "400 digits")  # fmt: skip
@pytest.mark.parametrize("field", ["Upload-Length", "Upload-Offset", "Content-Length", "Range"])
def test_headers__huge_numbers_are_refused_and_reserve_nothing(tus, server, field, number):
    target = tus.create(10, body=b"abc")
    before = names_in(server.upload_dir)
    if field == "Upload-Length":
        answer = tus.post({field: str(number)})
    elif field == "Range":
        target = tus.upload(b"hello")
        before = names_in(server.upload_dir)
        answer = tus.get(target, {field: f"bytes={number}-"})
        assert answer.status in {200, 416}
        assert answer.status == 416 or answer.body == b"hello"
    else:
        with tus.wire() as wire:
            wire.send(tus.append_message(target, 3, b"defg", {field: str(number)}))
            answer = wire.response("PATCH")
    assert answer.status in {200, 400, 409, 413, 416}, answer
    assert names_in(server.upload_dir) == before
    assert tus.offset(target) in {3, 5}


NUMBERS = ["+3", "-3", " 3", "3 3", "0x3", "3.0", "3e0", "\u0663", "1_0", "", "3,3", "\x0b3"]


@pytest.mark.parametrize("value", NUMBERS, ids=ascii)
def test_headers__a_number_that_two_parsers_read_differently_is_refused(tus, value):
    target = tus.create(10, body=b"abc")
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 3, b"d", {"Upload-Offset": value}))
        answer = wire.response("PATCH")
    # Blanks before a value are no part of it.
    assert answer.status == (204 if value == " 3" else 400), answer
    assert tus.offset(target) == (4 if value == " 3" else 3)


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x", "identity, gzip"]
)
@pytest.mark.parametrize("mode", ["PATCH", "POST"])
def test_headers__a_compressed_body_is_refused_and_never_unpacked(tus, server, coding, mode):
    bomb = (
        gzip.compress(bytes(20_000_000)) if "gzip" in coding else zlib.compress(bytes(20_000_000))
    )
    memory = server.rss()
    fields = {"Content-Encoding": coding, "Content-Type": OFFSET_STREAM}
    if mode == "PATCH":
        target = tus.create(len(bomb))
        answer = tus.patch(target, 0, bomb, fields)
        assert tus.offset(target) == 0
    else:
        before = names_in(server.upload_dir)
        answer = tus.post({**fields, "Upload-Length": str(len(bomb))}, bomb)
        assert names_in(server.upload_dir) == before
    assert (answer.status, answer.code) == (415, "content_encoding_unsupported")
    assert server.rss() - memory < 15_000_000


SMUGGLED = {
    "both framings": {"Transfer-Encoding": "chunked"},
    "two lengths": {"Content-Length": ["{body}", "0"]},
    "a coding nobody knows": {"Transfer-Encoding": ["chunked", "identity"], "Content-Length": None},
    "chunked that is not last": {"Transfer-Encoding": "chunked, gzip", "Content-Length": None},
    "a tab in the coding": {"Transfer-Encoding": "\tchunked", "Content-Length": "0"},
    "a sign in the length": {"Content-Length": "+{body}"},
    "a name with a blank": {"Transfer-Encoding ": "chunked"},
    "a folded line": {"X": "a\r\n Transfer-Encoding: chunked"},
    "a bare line feed": {"X": "a\nTransfer-Encoding: chunked"},
    "a bare return": {"X": "a\rTransfer-Encoding: chunked"},
}


@pytest.mark.parametrize("fields", SMUGGLED.values(), ids=SMUGGLED)
def test_headers__no_request_is_smuggled_in_a_body(tus, fields):
    """Whatever the framing is taken for, what lies in the body is never carried out."""
    victim, target = tus.upload(b"victim"), tus.create(1000)
    hidden = tus.message("DELETE", victim)
    body = b"0\r\n\r\n" + hidden
    filled = {
        name: [item.format(body=len(body)) for item in value] if isinstance(value, list)
        else value and value.format(body=len(body))
        for name, value in fields.items()
    }  # fmt: skip
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, body, filled))
        answer = wire.response("PATCH")
        assert answer.status in {204, 400, 501}, answer
        if answer.status == 204:
            assert answer.offset == len(body), "the body was read as another message"
            assert wire.is_silent()
        else:
            assert wire.is_closed()
    assert tus.content(victim) == b"victim"


# --- Upload-Metadata -----------------------------------------------------------------------

HOSTILE = {
    "line ends": "a\r\nSet-Cookie: x=1\r\n\r\n<script>",
    "a path": "../../../etc/passwd",
    "an absolute path": "/etc/cron.d/evil",
    "a path of Windows": "C:\\windows\\system32\\evil.exe",
    "quotes": 'a"; filename="evil.html',
    "turned text": "photo\u202egpj.exe",
    "a null byte": "a.html\0.png",
    "script": "<img src=x onerror=alert(1)>.png",
    "semicolons": "a;b=c;filename*=UTF-8''evil",
    "no end": "x" * 3000,
    "surrogates": "\U0001f4a9" * 50,
}


DISPOSITION = re.compile(
    r'attachment; filename="(?P<plain>(?:[^"\\]|\\["\\])*)"'
    r"(; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]*)?"
)
"""RFC 6266: a quoted string, in which a backslash stands before quotes and itself only."""


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_upload_metadata__a_hostile_name_reaches_a_download_harmless(tus, name):
    told = f"filename {encoded(name)},filetype {encoded('text/html')}"
    target = tus.upload(b"<script>alert(1)</script>", {"Upload-Metadata": told})
    answer = tus.get(target)
    assert answer.status == 200
    assert answer.get("Set-Cookie") is None
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert answer.get("Content-Security-Policy").startswith("sandbox")
    shown = answer.get("Content-Disposition")
    found = DISPOSITION.fullmatch(shown)
    assert found, shown
    name = found["plain"].replace("\\", "")
    assert not set(name) & set("/\0\r\n\u202e"), shown
    assert len(shown) < 2000
    assert tus.head(target).get("Upload-Metadata") == told


SPLITTING = [
    "filename YQ==\r\nSet-Cookie: a=b", "filename YQ==\nX: y", "filename YQ==\rX: y",
    "file\0name YQ==", "filename YQ==\r\n\r\nHTTP/1.1 200 OK", "\x7fa YQ==", "a\u2028b YQ==",
]  # fmt: skip


@pytest.mark.parametrize("value", SPLITTING, ids=ascii)
def test_upload_metadata__no_response_is_split(tus, value):
    with tus.wire() as wire:
        wire.send(tus.message("POST", None, {"Upload-Length": "1", "Upload-Metadata": value}))
        answer = wire.response("POST")
        if answer.closes:
            assert wire.is_closed()
    assert answer.get("Set-Cookie") is None
    assert answer.get("X") is None
    if answer.status == 201:
        # What came behind the line end was a field of its own, of the request.
        head = tus.head(tus.target(answer.get("Location")))
        assert head.get("Set-Cookie") is None
        assert (head.get("Upload-Metadata") or "").isprintable()
    else:
        assert answer.status == 400


# --- Upload-Concat -------------------------------------------------------------------------


def test_upload_concat__urls_are_matched_by_path_and_never_fetched(tus):
    with Listener() as listener:
        part = tus.upload(b"part", {"Upload-Concat": "partial"})
        name = part.rpartition("/")[2]
        foreign = f"http://127.0.0.1:{listener.port}{part}"
        for url in (f"file://{part}x", f"//127.0.0.1:{listener.port}/x/{name}", "gopher://x/", "@"):
            assert tus.post({"Upload-Concat": f"final;{url}"}).status in {400, 404}, url
        answer = tus.post({"Upload-Concat": f"final;{foreign}"})
        assert answer.status == 201
        assert tus.content(tus.target(answer.get("Location"))) == b"part"
        assert not listener.was_called(within=0.2)


class Listener:
    """A port at which nobody should call."""

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_):
        self._socket.close()

    def was_called(self, *, within):
        self._socket.settimeout(within)
        try:
            self._socket.accept()[0].close()
        except TimeoutError:
            return False
        return True


def test_upload_concat__repeats_count_against_the_largest_size(tus, server):
    part = tus.upload(bytes(1_000_000), {"Upload-Concat": "partial"})
    before = names_in(server.upload_dir)
    times = MAX_SIZE // 1_000_000
    answer = tus.post({"Upload-Concat": "final;" + " ".join([part] * (times + 1))})
    assert answer.status == 413
    assert names_in(server.upload_dir) == before
    assert tus.post({"Upload-Concat": "final;" + " ".join([part] * 10_001)}).status in {400, 413}


# --- request body --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_request_body__never_more_than_declared_is_stored(tus, server, how):
    target = tus.create(10)
    body, fields = bytes(100), {}
    if how == "chunked":
        body, fields = chunked(bytes(100)), CHUNKS
    assert tus.patch(target, 0, body, fields).status == 413
    assert tus.offset(target) <= 10
    deferred = tus.create(None)
    with tus.wire() as wire:
        wire.send(tus.append_message(deferred, 0, b"", CHUNKS))
        wire.flood(MAX_SIZE * 3, piece=chunked(bytes(65_536), end=False))
        assert wire.response("PATCH").status == 413
    assert tus.offset(deferred) <= MAX_SIZE
    assert server.data_file(deferred).stat().st_blocks * 512 < MAX_SIZE + 70_000_000


def test_request_body__slow_and_silent_ones_end_and_the_upload_goes_on(tus):
    target = tus.create(1000)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"x" * 10, {"Content-Length": "1000"}))
        answer = wire.response("PATCH", timeout=8)
        assert (answer.status, answer.code, answer.closes) == (503, "body_timeout", True)
    assert tus.offset(target) == 10
    assert tus.patch(target, 10, b"x" * 990).status == 204


# --- trailers of chunked bodies ------------------------------------------------------------

LATE = [
    "Upload-Offset: 999", "Host: evil", "Content-Length: 5", "Transfer-Encoding: chunked",
    "Authorization: Bearer x", "X-HTTP-Method-Override: DELETE", "Tus-Resumable: 0.0.1",
    "Connection: close", "User-Agent: x", "Upgrade: websocket", "X-Other: 1\r\nHost: evil",
]  # fmt: skip


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
@pytest.mark.parametrize("field", LATE, ids=ascii)
def test_trailers_of_chunked_bodies__none_slips_into_the_next_request(tus, field, *, announced):
    """Perhaps another user's: it is answered as it was meant, or the connection was closed."""
    target, other = tus.create(100), tus.upload(b"other")
    trailer = {"Trailer": field.partition(":")[0]} if announced else {}
    with tus.wire() as wire:
        body = chunked(b"hello", trailers=[field])
        wire.send(tus.append_message(target, 0, body, {**CHUNKS, **trailer}))
        first = wire.response("PATCH")
        assert first.status in {204, 400}, first
        if first.closes:
            assert wire.is_closed()
        else:
            wire.send(tus.message("GET", other, {"Tus-Resumable": None, "User-Agent": "a user's"}))
            second = wire.response("GET")
            assert (second.status, second.body) == (200, b"other")
    # What the parser takes for broken is kept as far as it was whole, or not at all.
    assert tus.offset(target) == 5 or first.status == 400


# --- creation ------------------------------------------------------------------------------


def test_creation__open_uploads_are_limited_without_any_setting(make_server):
    """A thousand, whoever asks, all at once: not one more."""
    server = make_server()

    def create(_):
        return Tus(server.url).post({"Upload-Length": "1"}).status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(create, range(1030)))
    assert statuses.count(201) == 1000
    assert set(statuses) == {201, 429}
    assert len(list(server.upload_dir.glob("??/*.meta"))) == 1000


def test_creation__what_the_disk_cannot_hold_is_refused_at_once(make_server):
    server = make_server()
    tus = Tus(server.url)
    answer = tus.post({"Upload-Length": str(2**50)})
    assert answer.status in {413, 507}, answer
    assert not list(server.upload_dir.glob("??/*"))


# --- checksum ------------------------------------------------------------------------------


def test_checksum__what_is_hashed_is_what_was_sent_and_no_more(tus):
    """Megabytes of a wrong digest cost what they take to send; the field itself is bounded."""
    target = tus.create(MAX_SIZE)
    for value in ("sha1 " + "A" * 7000, "sha1 AAAA AAAA", "sha1", "x" * 100 + " AAAA", "sha1 ===="):
        assert tus.patch(target, 0, b"x", {"Upload-Checksum": value}).status in {400, 460}, value
    wrong = {"Upload-Checksum": "sha1 " + "A" * 27 + "="}
    assert tus.patch(target, 0, bytes(1_000_000), wrong).status == 460
    assert tus.offset(target) == 0


# --- PATCH, HEAD, DELETE of a known URL ----------------------------------------------------


def test_patch_head_delete_of_a_known_url__what_will_be_refused_stops_nobody(tus):
    target = tus.create(1000)
    refused = [
        {"Upload-Offset": "7"}, {"Content-Type": "text/plain"}, {"Tus-Resumable": "0.1.0"},
        {"Content-Encoding": "gzip"}, {"Upload-Checksum": "foo AAAA"}, {"Upload-Offset": "x"},
    ]  # fmt: skip
    with tus.wire() as wire:
        message = tus.append_message(target, 0, bytes(1000))
        wire.send(message[:-500])
        for fields in refused:
            answer = tus.patch(target, 500, b"stranger", fields)
            assert answer.status in {400, 409, 412, 415}, answer
            wire.send(b"\0")  # it goes on
        wire.send(bytes(500 - len(refused)))
        assert wire.response("PATCH").status == 204
    assert eventually(lambda: tus.offset(target) == 1000)
