"""What the uploader sends, prints, and ends with."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.auth.credentials import SECRET, token
from tests.support.proxy import Proxy
from tests.support.server import TusServer
from tests.uploader.conftest import content
from tusserver import cli, sign_upload_url


@pytest.fixture(scope="module")
def server():
    with TusServer() as server:
        yield server
        server.check_log()


@pytest.fixture(scope="module")
def guarded():
    variables = {"TUSSERVER_JWT_SECRET": SECRET, "TUSSERVER_URL_SECRET": SECRET}
    with TusServer(environment=variables) as server:
        yield server
        server.check_log()


def test_files_are_sent_and_their_urls_printed_in_order(server, uploader):
    files = {"a.bin": 3_000_000, "b c.txt": 7, "empty": 0}
    data = [uploader.file(name, size, seed=size) for name, size in files.items()]
    urls = uploader.urls(*files, "--to", server.url)
    assert [content(url) for url in urls] == data
    assert uploader.bookmarks() == []


def test_flags_may_stand_between_files(server, uploader):
    for name in "ab":
        uploader.file(name, 10)
    assert len(uploader.urls("a", "--to", server.url, "b", "--quiet")) == 2


def test_the_server_is_told_name_type_and_more(server, uploader):
    uploader.file("bild ü.png", 10)
    words = ["--metadata=project=a=b", "--metadata", "filetype=image/x"]
    [url] = uploader.urls("bild ü.png", "--to", server.url, *words)
    record = server.data_file(url).with_suffix(".meta").read_text(errors="replace")
    for pair in (("filename", "bild ü.png"), ("project", "a=b"), ("filetype", "image/x")):
        assert f"{pair[0]} {base64.b64encode(pair[1].encode()).decode()}" in record


@pytest.mark.parametrize("words", [["--checksum"], ["--checksum=crc32c", "--chunk-size=700KB"]])
def test_each_request_has_a_checksum(server, uploader, words):
    data = uploader.file("a.bin", 2_000_000)
    taken = _Recorder(server)
    with taken:
        [url] = uploader.urls("a.bin", "--to", taken.url, *words)
    patches = [fields for method, fields in taken.seen if method == "PATCH"]
    assert len(patches) == (1 if len(words) == 1 else 3)
    wanted = "sha256 " if len(words) == 1 else "crc32c "
    assert all(fields["Upload-Checksum"].startswith(wanted) for fields in patches)
    assert content(f"http://127.0.0.1:{server.port}{urlsplit(url).path}") == data


def test_parts_are_joined_in_order(server, uploader):
    data = uploader.file("a.bin", 3_000_001)
    events = uploader.events("a.bin", "--to", server.url, "--parallel", "4", "--checksum")
    assert [event["event"] for event in events] == ["start", *["create"] * 4, "finish"]
    assert events[-1]["size"] == len(data)
    assert content(events[-1]["url"]) == data


@pytest.mark.parametrize("size", [0, 5, 1_000_000, 1_000_001], ids=str)
def test_standard_input_is_sent_whatever_its_length(server, uploader, size):
    data = os.urandom(size)
    [url] = uploader.urls("-", "--to", server.url, "--chunk-size=500000", given=data)
    assert content(url) == data


def test_ctrl_c_ends_it_while_it_waits_for_standard_input(server, uploader):
    process = uploader.start("-", "--to", server.url, "--json", stdin=subprocess.PIPE)
    assert json.loads(process.stdout.readline())["event"] == "start"
    assert json.loads(process.stdout.readline())["event"] == "create"
    process.send_signal(2)
    assert process.wait(20) == 130
    uploader.ended(process)


def test_one_of_several_files_fails_and_the_others_are_there(server, uploader):
    data = uploader.file("b", 10)
    done = uploader.run("missing", "b", "--to", server.url)
    assert done.returncode == 1
    assert done.stderr == "tusserver: missing: it cannot be read: No such file or directory\n"
    assert content(done.stdout.strip()) == data


def test_a_folder_or_a_pipe_is_no_file(server, uploader):
    os.mkfifo(uploader.folder / "pipe")
    done = uploader.run(".", "pipe", "--to", server.url)
    assert done.returncode == 1
    assert done.stderr.count("it is not a regular file") == 2


# --- what the server does not do ----------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "words", "reason"),
    [
        ("concatenation,concatenation-unfinished", ["a", "--parallel=2"], "concatenation"),
        ("checksum,checksum-trailer", ["a", "--checksum"], "a checksum"),
        ("creation-defer-length", ["-"], "creation-defer-length"),
    ],
    ids=["parallel", "checksum", "stdin"],
)
def test_what_the_server_does_not_announce_is_refused(uploader, flag, words, reason):
    uploader.file("a", 10)
    with _Recorder(None, hidden=flag.split(",")) as bare:
        done = uploader.run(*words, "--to", bare.url)
    assert done.returncode == 2
    assert f"the server does not announce {reason}" in done.stderr
    assert [method for method, _ in bare.seen] == ["OPTIONS"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "--to: name the creation URL"),
        (["a", "--to=ftp://x/"], "--to: not a URL"),
        (["--to=http://x/"], "FILE: name a file"),
        (["a", "--to=http://x/", "--parallel=0"], "--parallel=0: not a number from 1 to 64"),
        (["a", "--to=http://x/", "--header=secretword"], "--header: not a header"),
        (["a", "--to=http://x/", "--header=Upload-Offset: 1"], "the uploader sets this one"),
        (["a", "--to=http://x/", "--chunk-size=0"], "--chunk-size=0: must be more than 0"),
        (["a", "--to=http://x/", "--metadata=x y=1"], "--metadata=x y=1: metadata key"),
        (["a", "--to=http://x/", "--ca-file=none"], "--ca-file=none: No such file"),
        (["a", "--to=http://x/", "--port=1"], "--port: there is no such flag"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and value else "",
)
def test_wrong_arguments_end_it_with_status_2(words, line, capsys):
    assert cli.main(["upload", *words]) == 2  # In this process, which saves its start.
    printed, told = capsys.readouterr()
    assert line in told
    assert told.count("\n") == 1
    assert "secretword" not in printed + told


def test_its_help_shows_only_its_own_flags(uploader):
    done = uploader.run("--help")
    assert done.returncode == 0
    assert "--to URL" in done.stdout
    assert "--upload-dir" not in done.stdout


# --- who sends ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flag", "file", "variable", "header"])
def test_a_token_is_sent_and_never_shown(guarded, uploader, how):
    data, secret = uploader.file("a", 100_000), token()
    (uploader.folder / "token").write_text(secret + "\n")
    words = {
        "flag": ["--token", secret],
        "file": ["--token-file=token"],
        "variable": [],
        "header": ["--header", f"Authorization: Bearer {secret}"],
    }[how]
    if how == "variable":
        uploader.variables["TUSSERVER_UPLOAD_TOKEN"] = secret
    done = uploader.run("a", "--to", guarded.url, "--json", *words)
    assert done.returncode == 0, done.stdout
    assert secret not in done.stdout + done.stderr
    url = json.loads(done.stdout.splitlines()[-1])["url"]
    assert content(url, Authorization=f"Bearer {secret}") == data


def test_without_a_token_it_fails_for_good(guarded, uploader):
    uploader.file("a", 10)
    done = uploader.run("a", "--to", guarded.url)
    assert done.returncode == 1
    assert "the server answered 401" in done.stderr


def test_a_signed_url_is_used_and_not_shown(guarded, uploader):
    uploader.file("a", 10)
    signed = sign_upload_url(SECRET, guarded.url)
    done = uploader.run("a", "--to", signed)
    assert done.returncode == 0, done.stderr
    assert "grant" not in done.stdout + done.stderr
    assert done.stdout.startswith(guarded.url)


def test_what_a_server_says_back_hides_the_token(uploader):
    uploader.file("a", 10)
    with _Recorder(None, say="you sent Bearer abcdefgh") as rude:
        done = uploader.run("a", "--to", rude.url, "--token=abcdefgh")
    assert done.returncode == 1
    assert "you sent ***" in done.stderr
    assert "abcdefgh" not in done.stderr


# --- what it is told to wait for, and what is too large -----------------------------------


def test_retry_after_is_heeded(uploader):
    uploader.file("a", 10)
    with _Recorder(None, status=503, fields={"Retry-After": "20"}) as busy:
        done = uploader.run("a", "--to", busy.url, "--retry-for=5s")
    assert done.returncode == 75
    assert len(busy.seen) == 1  # 20 s are more than it may wait: it does not ask before.


def test_requests_that_are_too_large_for_a_proxy_are_made_smaller(server, uploader):
    data = uploader.file("a", 1_000_000)
    with _Recorder(server, largest=300_000) as small:
        [url] = uploader.urls("a", "--to", small.url)
    assert content(f"http://127.0.0.1:{server.port}{urlsplit(url).path}") == data


# --- the bar ------------------------------------------------------------------------------


def test_a_terminal_gets_a_bar_with_speed_and_time_left(server, uploader):
    uploader.file("a.bin", 3_000_000)
    ours, its = pty.openpty()
    with Proxy(server.port, rate=2_000_000) as proxy:
        process = uploader.start("a.bin", "--to", proxy.url, stderr=its)
        os.close(its)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # The other end is closed.
            pass
        os.close(ours)
        done = uploader.ended(process)
    assert done.returncode == 0
    text = shown.decode()
    assert "100% |" in text
    assert "MB/s" in text
    assert " left" in text


def test_without_a_terminal_there_is_none(server, uploader):
    uploader.file("a.bin", 100)
    done = uploader.run("a.bin", "--to", server.url)
    assert done.stderr == ""


class _Recorder:
    """A small server that notes requests: passes them on, or answers as it is told."""

    def __init__(self, server, *, hidden=(), status=400, fields=None, say="", largest=None):
        outer = self
        self.seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                outer.seen.append((self.command, dict(self.headers)))
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                if self.command == "OPTIONS" and hidden:
                    self.answer(204, {"Tus-Version": "1.0.0", "Tus-Extension": "creation"})
                elif largest is not None and size > largest:
                    self.answer(413, {})
                elif server is None:
                    self.answer(status, {"Content-Type": "text/plain"} | (fields or {}), say)
                else:
                    self.answer(*_passed_on(server, self.command, self.path, body, self.headers))

            def answer(self, status, fields, text=""):
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_OPTIONS = do_POST = do_PATCH = do_HEAD = handle_any  # noqa: N815

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/files/"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _passed_on(server, method, path, body, headers):
    """Ask the server; give status, headers and body of its answer."""
    onward = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        onward.request(method, path, body, dict(headers))
        got = onward.getresponse()
        text = got.read().decode()
        named = ("Location", "Upload-Offset", "Upload-Length", "Tus-Extension")
        named += ("Tus-Checksum-Algorithm",)
        return got.status, {one: got.headers[one] for one in named if one in got.headers}, text
    finally:
        onward.close()
