"""Servers that answer what no server should: the uploader ends, says why, gives nothing away."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import threading
from itertools import count

import pytest

from tests.uploader.conftest import wait_for

TOKEN = "token-of-mine"  # noqa: S105 - of no server
SIZE = 1000


class _Answers:
    """A server that answers with the bytes that `answer(method, path)` gives."""

    def __init__(self, answer):
        outer = self
        self.seen: list[tuple[str, str, dict[str, str]]] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while line := self.rfile.readline():
                    method, path, _ = line.decode().split(" ")
                    fields = {}
                    while field := self.rfile.readline().decode().strip():
                        name, _, value = field.partition(": ")
                        fields[name.lower()] = value
                    self.rfile.read(int(fields.get("content-length", 0)))
                    outer.seen.append((method, path, fields))
                    self.wfile.write(answer(method, path))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/files/"

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.seen]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def said(status: int, *fields: str, reason: str = "X") -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", "Tus-Resumable: 1.0.0", *fields]
    if status != 204:
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode()


def tus(*, location="/files/1", patched=("Upload-Offset: 1000",), offset=0):
    """Answers of a server that takes everything, but for what is told otherwise."""

    def answer(method: str, _path: str) -> bytes:
        if method == "POST":
            return said(201, f"Location: {location}")
        if method == "HEAD":
            return said(200, f"Upload-Offset: {offset}", f"Upload-Length: {SIZE}")
        return said(204, *patched)

    return answer


# --- credentials --------------------------------------------------------------------------


def test_credentials_do_not_go_to_another_host(uploader):
    uploader.file("a", SIZE)
    words = ["--token", TOKEN, "--header", "X-Api-Key: key-of-mine"]
    with _Answers(tus()) as other, _Answers(tus(location=other.url + "1")) as first:
        [url] = uploader.urls("a", "--to", first.url, *words)
    assert url == other.url + "1"
    assert first.seen[0][2]["authorization"] == f"Bearer {TOKEN}"
    [(method, _, fields)] = other.seen
    assert method == "PATCH"
    assert "authorization" not in fields
    assert "x-api-key" not in fields


def test_who_needs_credentials_on_another_host_is_told_why_there_were_none(uploader):
    uploader.file("a", SIZE)
    closed = _Answers(lambda *_: said(401))
    with closed as other, _Answers(tus(location=other.url + "1")) as first:
        done = uploader.run("a", "--to", first.url, "--token", TOKEN)
    assert done.returncode == 1
    assert "not on the host of --to, so it got no credentials" in done.stderr


@pytest.mark.parametrize("location", ["/files/1", "http://127.0.0.1:{port}/files/1"])
def test_a_password_in_the_url_is_sent_and_not_stored(uploader, location):
    uploader.file("a", SIZE)
    told = []

    def answer(method, path):
        if method == "PATCH":
            told.extend(json.loads(path.read_text()) for path in uploader.bookmarks())
        return tus(location=location.format(port=server.port))(method, path)

    with _Answers(answer) as server:
        done = uploader.run("a", "--to", server.url.replace("//", "//me:pass%40word@"))
    assert done.returncode == 0, done.stderr
    expected = "Basic " + base64.b64encode(b"me:pass@word").decode()
    assert [fields["authorization"] for _, _, fields in server.seen] == [expected] * 2
    assert told
    assert "pass" not in json.dumps(told)
    assert done.stdout == f"{server.url}1\n"


def test_a_password_and_a_token_are_one_too_many(uploader):
    done = uploader.run("a", "--to", "http://me:word@127.0.0.1:9/", "--token", TOKEN)
    assert done.returncode == 2
    assert "word" not in done.stderr.replace("a password", "")


def test_a_token_in_a_reason_phrase_or_a_redirect_is_not_shown(uploader):
    uploader.file("a", SIZE)
    away = said(307, f"Location: /{TOKEN}/", reason=f"to {TOKEN}")
    with _Answers(lambda *_: away) as server:
        done = uploader.run("a", "--to", server.url, "--token", TOKEN)
    assert done.returncode == 1
    assert server.methods() == ["POST"]
    assert "give it as --to" in done.stderr
    assert TOKEN not in done.stderr


# --- URLs that are none -------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://[x/1",
        "http://x:99999/1",
        "http://me:hidden@127.0.0.1:{port}/files/1",
        "/files/\x1b[31m1",
        "/files/\x9b31m1",
        "/files/1 /files/2",
        "javascript:alert(1)",
    ],
    ids=ascii,
)
def test_a_url_that_is_none_ends_it(uploader, location):
    uploader.file("a", SIZE)

    def answer(method, path):
        return tus(location=location.format(port=server.port))(method, path)

    with _Answers(answer) as server:
        done = uploader.run("a", "--to", server.url, "--token", TOKEN)
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "hidden" not in done.stderr
    assert server.methods() == ["POST"]


def test_a_redirect_to_nowhere_ends_it(uploader):
    uploader.file("a", SIZE)
    with _Answers(lambda *_: said(302, "Location: http://[x/")) as server:
        done = uploader.run("a", "--to", server.url)
    assert done.returncode == 1
    assert "302" in done.stderr


def test_one_url_for_two_files_is_not_believed(uploader):
    uploader.file("a", SIZE)
    uploader.file("b", SIZE, seed=2)
    with _Answers(tus()) as server:
        done = uploader.run("a", "b", "--to", server.url)
    assert done.returncode == 1
    assert done.stdout == f"{server.url}1\n"
    assert "b: the server gave this upload the URL of another" in done.stderr


# --- offsets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patched", "offset"),
    [(["Upload-Offset: 0"], 0), ([], 0), (["Upload-Offset: -5"], 0), (["Upload-Offset: 10"], 10)],
    ids=["zero", "untold", "negative", "stuck"],
)
def test_a_server_that_takes_nothing_is_not_asked_for_ever(uploader, patched, offset):
    uploader.file("a", SIZE)
    with _Answers(tus(patched=patched, offset=offset)) as server:
        done = uploader.run("a", "--to", server.url, "--retry-for=1s")
    assert done.returncode == 75, done.stderr
    assert "took nothing of what it was sent" in done.stderr
    assert len(server.seen) < 12


@pytest.mark.parametrize("words", [[], ["--chunk-size=400"]], ids=["whole", "chunk"])
@pytest.mark.parametrize("told", ["1001", "9" * 19, "9" * 400], ids=len)
def test_an_offset_past_the_end_is_no_success(uploader, told, words):
    uploader.file("a", SIZE)
    with _Answers(tus(patched=[f"Upload-Offset: {told}"])) as server:
        done = uploader.run("a", "--to", server.url, "--retry-for=0", *words)
    assert done.returncode != 0
    assert done.stdout == ""


@pytest.mark.parametrize("where", ["PATCH", "HEAD"])
def test_more_than_was_sent_is_no_success(uploader, where):
    uploader.file("a", SIZE)
    patched = [f"Upload-Offset: {SIZE}"] if where == "PATCH" else []
    with _Answers(tus(patched=patched, offset=SIZE)) as server:
        done = uploader.run("a", "--to", server.url, "--retry-for=0", "--chunk-size=400")
    assert done.returncode == 1
    assert "does not fit what is sent" in done.stderr


@pytest.mark.parametrize(
    "value", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "9" * 5000, "x", "-1"], ids=len
)
def test_a_wrong_retry_after_is_none(uploader, value):
    uploader.file("a", SIZE)
    numbers = count()

    def answer(method, path):
        if next(numbers) == 0:
            return said(503, f"Retry-After: {value}")
        return tus()(method, path)

    with _Answers(answer) as server:
        assert uploader.urls("a", "--to", server.url)


# --- the file, and what is read -----------------------------------------------------------


def test_another_file_of_the_same_size_and_time_is_not_taken_for_the_first(uploader):
    uploader.file("a", SIZE)
    place = uploader.folder / "a"
    os.utime(place, (1, 1))
    numbers = count(1)

    def answer(method, _path):
        if method == "POST":
            return said(201, f"Location: /files/{next(numbers)}")
        return said(200, "Upload-Offset: 400", f"Upload-Length: {SIZE}")

    with _Answers(answer) as server:
        assert uploader.run("a", "--to", server.url, "--retry-for=0").returncode == 75
        assert len(uploader.bookmarks()) == 1
        before = place.stat().st_ctime_ns
        wait_for(lambda: _replaced(uploader) > before)
        done = uploader.run("a", "--to", server.url, "--retry-for=0")
    assert "the file has changed since an earlier run: begins anew" in done.stderr
    assert server.methods().count("POST") == 2


def _replaced(uploader) -> int:
    """Put another file in the place of the first; give when that was."""
    uploader.file("b", SIZE, seed=2)
    os.utime(uploader.folder / "b", (1, 1))
    (uploader.folder / "b").replace(uploader.folder / "a")
    return (uploader.folder / "a").stat().st_ctime_ns


def test_an_upload_is_remembered_until_another_takes_its_place(uploader):
    uploader.file("a", SIZE)
    broken = tus(offset=400)
    with _Answers(lambda m, p: said(503) if m == "PATCH" else answer(m, p)) as server:
        answer = broken
        uploader.run("a", "--to", server.url, "--retry-for=0")
        answer = lambda *_: said(403)  # noqa: E731 - a token that has expired
        assert uploader.run("a", "--to", server.url, "--retry-for=0").returncode == 1
        answer = broken
        done = uploader.run("a", "--to", server.url, "--retry-for=0")
    assert "goes on at byte 400" in done.stderr
    assert server.methods().count("POST") == 2


def test_a_link_in_the_place_of_what_is_kept_is_not_followed(uploader):
    uploader.file("a", SIZE)
    with _Answers(lambda *_: said(503)) as server:
        uploader.run("a", "--to", server.url, "--retry-for=0")
    with _Answers(lambda m, p: said(500) if m == "PATCH" else tus()(m, p)) as server:
        uploader.run("a", "--to", server.url, "--retry-for=0")
        [kept] = uploader.bookmarks()
        victim = uploader.folder / "victim"
        victim.write_text("precious")
        kept.unlink()
        kept.symlink_to(victim)
        done = uploader.run("a", "--to", server.url, "--retry-for=0")
    assert done.returncode == 1
    assert victim.read_text() == "precious"


def test_without_standard_input_nothing_is_waited_for(uploader):
    def answer(method, path):
        if method == "OPTIONS":
            return said(204, "Tus-Extension: creation,creation-defer-length")
        return tus()(method, path)

    with _Answers(answer) as server:
        process = uploader.start("-", "--to", server.url, preexec_fn=lambda: os.close(0))
        done = uploader.ended(process)
    assert done.returncode == 1
    assert "there is no standard input" in done.stderr
