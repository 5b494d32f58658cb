"""Lines of the threat model: what lies around the server, and who else can reach it."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import stat
from pathlib import Path

import pytest

from tests.hooks.receivers import Reply, receiving
from tests.security.conftest import application
from tests.support.hosted import hosted
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tests.uploader.conftest import uploader
from tests.uploader.test_hostile import SIZE, TOKEN, _Answers, said, tus
from tusserver.hooks.callables import CallableHooks

__all__ = ["uploader"]

WHOLE = {"Upload-Length": "5", "Content-Type": OFFSET_STREAM}


def named(name):
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


def files_of(server):
    return sorted(path.name for path in server.upload_dir.glob("??/*"))


# --- tusserver upload ----------------------------------------------------------------------


def test_tusserver_upload__redirects_are_not_followed_and_texts_steer_no_terminal(uploader):
    uploader.file("a", SIZE)
    with _Answers(tus()) as other:
        moved = _Answers(lambda *_: said(307, f"Location: {other.url}", reason="\x1b[2J\x1b[31m"))
        with moved as first:
            done = uploader.run("a", "--to", first.url, "--token", TOKEN)
        assert other.seen == []
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout


# --- upload directory ----------------------------------------------------------------------


def test_upload_directory__another_state_than_it_was_made_with_is_refused(make_server, tmp_path):
    server = make_server()
    Tus(server.url).upload(b"hello")
    server.terminate()
    with pytest.raises(RuntimeError, match="adopt"):
        TusServer(upload_dir=server.upload_dir, state="redis://127.0.0.1:1/0")


def test_upload_directory__a_link_in_the_place_of_a_file_is_not_followed(make_server, tmp_path):
    server = make_server()
    client = Tus(server.url)
    target = client.create(10, body=b"abc")
    server.terminate()
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789")
    data = server.data_file(target)
    data.unlink()
    data.symlink_to(secret)
    server.start()
    client = Tus(server.url)
    assert client.patch(target, 3, b"defghij").status != 204
    assert secret.read_bytes() == b"0123456789"
    assert client.get(target).body != b"0123456789"
    assert client.upload(b"others go on")
    server.may_fail = True


# --- worker sockets in .tusserver/run ------------------------------------------------------


def test_worker_sockets_in_tusserver_run__rubbish_changes_nothing(make_server):
    server = make_server()
    client = Tus(server.url)
    target = client.create(10, body=b"abc")
    upload_id = target.rpartition("/")[2]
    run = server.upload_dir / ".tusserver" / "run"
    assert stat.S_IMODE(run.stat().st_mode) & 0o077 == 0
    chance = random.Random(1)
    verbs = ["stop", "tell", "look", "wait", "free", "busy", "x", ""]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for place in run.iterdir():
            if not stat.S_ISSOCK(place.stat().st_mode):
                continue
            for _ in range(300):
                text = f"{chance.choice(verbs)} {upload_id} {chance.random()} 1 2".encode()
                data = chance.choice([text, chance.randbytes(chance.randrange(2000)), b"{}", b""])
                try:
                    sender.sendto(data, socket.MSG_DONTWAIT, str(place))
                except BlockingIOError:
                    client.offset(target)
    assert client.offset(target) == 3
    assert client.patch(target, 3, b"defghij").status == 204
    assert client.content(target) == b"abcdefghij"
    server.check_log()


# --- Redis ---------------------------------------------------------------------------------


def test_redis__one_that_was_emptied_or_rolled_back_moves_no_offset(make_server, start_redis):
    redis = start_redis()
    server = make_server(state=redis.url)
    client = Tus(server.url)
    target, removed = client.create(10, body=b"abc"), client.upload(b"gone")
    before = {key: redis.cli("DUMP", key) for key in redis.cli("KEYS", "*upload*")}
    assert client.patch(target, 3, b"def").offset == 6
    assert client.delete(removed).status == 204
    for key, dump in before.items():
        redis.cli("RESTORE", key, 0, dump.encode("utf-8", "surrogateescape"), "REPLACE")
    assert client.offset(target) == 6
    assert client.head(removed).status == 404
    for key in redis.cli("KEYS", "*"):
        if "store" not in key:
            redis.cli("DEL", key)
    assert client.offset(target) == 6
    assert client.patch(target, 6, b"ghij").status == 204
    assert client.content(target) == b"abcdefghij"


# --- hooks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [ZeroDivisionError("detail"), True, "no", 0], ids=repr)
def test_hooks__one_that_fails_lets_nothing_pass_and_stores_nothing(tmp_path, answer):
    async def pre_create(_event):
        if isinstance(answer, Exception):
            raise answer
        return answer

    hooks = CallableHooks(pre_create=pre_create)
    with hosted(lambda: application(tmp_path, hooks=hooks)) as port:
        client = Tus(f"http://127.0.0.1:{port}/files/")
        told = client.post({**WHOLE, "Expect": "100-continue"}, b"hello")
        assert (told.status, told.interim) == (503, ())
        assert b"detail" not in told.body
    assert not list(tmp_path.glob("??/*"))


# --- webhooks ------------------------------------------------------------------------------

WRONG = {
    "a redirect": Reply(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "no JSON": Reply(b"<html>"),
    "a list": Reply([1]),
    "too much": Reply(b"[" + b"1," * 2_000_000 + b"1]"),
    "an error": Reply(status=500),
    "a wrong type": Reply({"RejectUpload": "perhaps"}),
    "a long wait": 3.0,
}


@pytest.mark.parametrize("reply", WRONG.values(), ids=WRONG)
def test_webhooks__what_a_receiver_answers_wrongly_is_refused(make_server, reply):
    with receiving() as receiver:
        words = ("--webhook-url", receiver.url, "--webhook-events", "pre-create")
        server = make_server(*words, "--webhook-timeout", "1s", "--webhook-retry", "0")
        receiver.answer = lambda _got: reply
        answer = Tus(server.url).post(WHOLE, b"hello")
        assert answer.status == 503, answer
        assert files_of(server) == []
        outbox = server.upload_dir / ".tusserver" / "outbox"
        assert not outbox.exists() or stat.S_IMODE(outbox.stat().st_mode) & 0o077 == 0


# --- published files -----------------------------------------------------------------------

ASTRAY = [
    "../../etc/passwd", "/etc/passwd", "..", ".", "a/../../b", "a\0b", "con\n", "..\\..\\x",
    "\u202e", "link/x", "~/x", "-rf", "x" * 5000, "%2e%2e%2fx",
]  # fmt: skip


@pytest.mark.parametrize("template", ["{name}", "{owner}/{name}", "link/{name}"])
def test_published_files__no_name_leads_out_or_replaces_a_file(make_server, tmp_path, template):
    films, outside = tmp_path / "films", tmp_path / "outside"
    for folder in (films, outside):
        folder.mkdir()
    (films / "taken").write_bytes(b"mine")
    (films / "link").symlink_to(outside)
    server = make_server("--publish", template, "--publish-dir", str(films))
    client = Tus(server.url)
    before = {path for path in tmp_path.parent.rglob("*") if not path.is_relative_to(films)}
    for name in (*ASTRAY, "taken"):
        client.upload(b"theirs", named(name))
    assert eventually(
        lambda: template.startswith("link") or len(list(films.rglob("*"))) >= len(ASTRAY), within=10
    )
    server.whole_log()
    assert list(outside.iterdir()) == []
    after = {path for path in tmp_path.parent.rglob("*") if not path.is_relative_to(films)}
    assert after == before
    assert (films / "taken").read_bytes() == b"mine"
    assert not [path for path in films.rglob("*") if path.is_symlink() and path.name != "link"]
    server.may_fail = True


# --- digests of files ----------------------------------------------------------------------


def test_digests_of_files__a_wrong_one_is_refused_and_nothing_is_hashed_unasked(
    make_server, tmp_path
):
    server = make_server("--digest", "sha-256")
    client = Tus(server.url)
    right = hashlib.sha256(b"hello").hexdigest()

    def claim(*digests):
        pairs = (f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in digests)
        return {"Upload-Metadata": ",".join(pairs)}

    assert client.post({**WHOLE, **claim(("sha256", right))}, b"hello").status == 201
    kept = files_of(server)
    assert client.post({**WHOLE, **claim(("sha256", "0" * 64))}, b"hello").status in {400, 460, 422}
    assert files_of(server) == kept
    assert client.post({**WHOLE, **claim(("sha256", "x" * 7000))}, b"hello").status == 400
    plain = make_server()
    told = Tus(plain.url).post({**WHOLE, **claim(("sha256", "0" * 64))}, b"hello")
    assert told.status == 201, "without the setting a digest is metadata like any other"


# --- settings ------------------------------------------------------------------------------


def test_settings__a_secret_in_a_file_is_on_no_command_line(make_server, tmp_path):
    secret = "f" * 64
    file = tmp_path / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    server = make_server("--url-secret-file", str(file))
    assert Tus(server.url).post({"Upload-Length": "1"}).status == 401
    assert secret.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert secret not in server.whole_log()
