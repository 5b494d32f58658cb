"""A signed URL is the right to one upload: whatever is lost, retried or tried on."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import b64encode
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.auth.conftest import GUARDED
from tests.auth.credentials import SECRET, Signed, token
from tests.auth.credentials import Bearer as Tokens
from tests.support.clients import tus_js, tuspy
from tests.support.content import MIB, assert_arrived, make_file
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tusserver import sign_upload_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PARTIAL = {"Upload-Concat": "partial"}
TYPED = {"Content-Type": OFFSET_STREAM}

Sign = "Callable[..., Signed]"


def final_of(tus: Tus, parts: list[str]):
    return tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})


def test_the_url_creates_resumes_and_reads_one_upload(sign: Sign):
    tus = sign(owner="alice", max_size=5)
    target = tus.create(5)
    assert "grant=" in target
    assert tus.patch(target, 0, b"he").offset == 2
    assert tus.offset(target) == 2
    assert tus.patch(target, 2, b"llo").status == 204
    assert tus.content(target) == b"hello"


def test_without_its_query_the_upload_is_not_there(guarded: TusServer, sign: Sign, alice, bob):
    target = sign(owner="alice").create(5)
    plain = target.partition("?")[0]
    assert Tus(guarded.url).head(plain).status == 401
    # Its owner sees it with a token too; others and other grants of the owner do not.
    assert alice.head(plain).status == 200
    assert bob.head(plain).status == 404
    other = sign(owner="alice")
    assert other.head(f"{plain}?{other.path.partition('?')[2]}").status == 404


def test_a_grant_does_not_see_what_else_its_owner_has(guarded: TusServer, sign: Sign, alice):
    target = alice.upload(b"hello")
    part = alice.upload(b"abc", PARTIAL)
    tus = sign(owner="alice")
    query = tus.path.partition("?")[2]
    assert tus.head(f"{target}?{query}").status == 404
    assert tus.delete(f"{target}?{query}").status == 404
    assert final_of(tus, [f"{part}?{query}"]).code == "part_not_found"
    assert final_of(tus, [part]).code == "part_not_found"
    assert alice.content(target) == b"hello"


def test_more_than_was_granted_is_refused_and_nothing_stored(sign: Sign, stored):
    tus, before = sign(max_size=5), stored()
    assert tus.post({"Upload-Length": "6"}).status == 413
    assert tus.post({"Upload-Length": "5", **TYPED}, b"hello!").status == 413
    assert tus.post({"Upload-Defer-Length": "1", **TYPED}, b"hello!").status == 413
    assert stored() == before
    # What was refused does not count.
    assert tus.content(tus.upload(b"hello")) == b"hello"


@pytest.mark.parametrize("body", [b"", b"hel"], ids=["empty", "with bytes"])
def test_a_creation_whose_answer_was_lost_is_made_again_in_its_place(sign: Sign, stored, body):
    tus, before = sign(max_size=5), stored()
    kind = TYPED if body else {}
    lost = tus.create(5, kind, body)
    again = tus.create(5, kind, body)
    assert tus.head(lost).status == 404
    assert len(stored() - before) == 1
    assert tus.patch(again, len(body), b"hello"[len(body) :]).status == 204
    assert tus.content(again) == b"hello"


def test_a_running_upload_makes_way_for_a_newer_one(sign: Sign):
    tus = sign(max_size=10)
    old = tus.create(10)
    with tus.wire() as wire:
        fields = {"Transfer-Encoding": "chunked", "Content-Length": None}
        wire.send(tus.append_message(old, 0, b"", fields) + chunked(b"abc", end=False))
        new = tus.create(10)
        assert wire.response("PATCH").status == 423
    assert tus.head(old).status == 404
    assert tus.patch(new, 0, b"0123456789").status == 204


def test_once_it_is_complete_nothing_more_can_be_made_not_even_after_its_removal(sign: Sign):
    for made in ("kept", "deleted"):
        tus = sign(max_size=5)
        target = tus.upload(b"hello")
        if made == "deleted":
            assert tus.delete(target).status == 204
        for fields in ({"Upload-Length": "5"}, {"Upload-Length": "5", **PARTIAL}):
            answer = tus.post(fields)
            assert (answer.status, answer.code) == (403, "forbidden")
            assert "complete" in answer.body.decode()


def test_an_upload_that_was_deleted_unfinished_can_be_made_again(sign: Sign):
    tus = sign(max_size=5)
    assert tus.delete(tus.create(5, TYPED, b"hel")).status == 204
    assert tus.content(tus.upload(b"hello")) == b"hello"


def test_a_grant_that_is_signed_again_for_less_time_is_remembered_for_all_of_it(guarded):
    base = guarded.url + "?grant="
    ends = [int(time.time()) + seconds for seconds in (7200, 60)]
    claims = {"sub": None, "aud": "tusserver-upload", "jti": f"twice {time.time()}"}
    long, short = (Signed(base + token(exp=end, **claims)) for end in ends)
    assert long.create(5)
    assert short.create(5)
    book = guarded.upload_dir / ".tusserver" / "grants"
    page = max(book.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert json.loads(page.read_text())["ends"] == ends[0]


def test_an_empty_upload_is_one_too(sign: Sign):
    tus = sign()
    tus.create(0)
    assert tus.post({"Upload-Length": "0"}).status == 403


# --- parts --------------------------------------------------------------------------------


def test_parts_are_joined_to_the_one_upload(sign: Sign):
    tus = sign(owner="alice", max_size=6)
    parts = [tus.upload(data, PARTIAL) for data in (b"abc", b"def")]
    answer = final_of(tus, parts)
    assert answer.status == 201
    target = tus.target(answer.get("Location"))
    assert tus.content(target) == b"abcdef"
    assert "grant" not in (tus.head(target).get("Upload-Concat") or "")
    # The answer may have been lost: the same again is the same upload.
    again = final_of(tus, parts)
    assert (again.status, again.get("Location")) == (201, answer.get("Location"))
    assert final_of(tus, parts[::-1]).status == 403
    assert tus.post({"Upload-Length": "1", **PARTIAL}).status == 403


def test_lost_parts_do_no_harm_and_all_of_them_stay_bounded(sign: Sign, stored):
    tus, before = sign(max_size=6), stored()
    kept = tus.create(3, PARTIAL | TYPED, b"ab")
    for _ in range(20):
        last = tus.create(3, PARTIAL)
    # Twice the size in all, and those with bytes are the last to go.
    assert len(stored() - before) == 4
    assert tus.patch(kept, 2, b"c").status == 204
    assert tus.patch(last, 0, b"def").status == 204
    answer = final_of(tus, [kept, last])
    assert answer.status == 201
    assert tus.content(tus.target(answer.get("Location"))) == b"abcdef"


def test_parts_of_no_length_stay_bounded_too(sign: Sign, stored):
    tus, before = sign(max_size=10), stored()
    for _ in range(5):
        tus.create(None, PARTIAL)
    assert len(stored() - before) == 2
    unlimited = sign()
    for _ in range(80):
        assert unlimited.post({"Upload-Length": "0", **PARTIAL}).status == 201
    assert len(stored() - before) <= 66


def test_what_is_set_aside_for_an_unknown_length_is_no_more_than_was_granted(sign: Sign, guarded):
    tus = sign(max_size=100_000)
    for fields in ({}, PARTIAL, PARTIAL):
        data = guarded.data_file(tus.create(None, fields).partition("?")[0])
        assert 0 < data.stat().st_size <= 100_000
        assert data.stat().st_blocks * 512 <= 200_000


@pytest.mark.parametrize("times", [1, 50], ids=["once", "again and again"])
def test_parts_of_no_length_cannot_become_more_than_was_granted(sign: Sign, alice, times):
    tus = sign(owner="alice", max_size=6)
    parts = [tus.create(None, PARTIAL) for _ in range(2)]
    answer = final_of(tus, parts * times)
    assert (answer.status, answer.code) == (400, "part_invalid")
    assert "length" in answer.body.decode()
    for part in parts:
        assert tus.patch(part, 0, b"abc", {"Upload-Length": "3"}).status == 204
    assert final_of(tus, parts).status == 201


def test_parts_that_a_waiting_final_needs_are_not_taken_from_it(sign: Sign):
    tus = sign(max_size=6)
    part = tus.create(6, PARTIAL)
    waiting = tus.target(final_of(tus, [part]).get("Location"))
    assert tus.create(6, PARTIAL)
    answer = tus.post({"Upload-Length": "1", **PARTIAL})
    assert (answer.status, answer.code) == (413, "quota_exceeded")
    assert tus.patch(part, 0, b"abcdef").status == 204
    assert eventually(lambda: tus.get(waiting).status == 200)


def test_a_creation_that_a_crash_broke_off_holds_the_url_for_a_minute_only(guarded, sign: Sign):
    tus = sign(max_size=5)
    target = tus.create(5)
    book = guarded.upload_dir / ".tusserver" / "grants"
    page = max(book.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    read = json.loads(page.read_text())
    [[upload_id, *_]] = read["uploads"]
    assert upload_id in target
    for age, status in ((5.0, 423), (61.0, 201)):
        read["uploads"] = [["0" * 32, "single", 5, time.time() - age]]
        page.write_text(json.dumps(read))
        answer = tus.post({"Upload-Length": "5"})
        assert answer.status == status
    assert answer.get("Location")


def test_a_creation_that_fails_takes_nothing_of_the_url(sign: Sign, stored):
    tus, before = sign(max_size=5), stored()
    wrong = {"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    for _ in range(3):
        answer = tus.post({"Upload-Length": "5", **TYPED, **wrong}, b"hello")
        assert answer.status == 460
    assert stored() == before
    assert tus.content(tus.upload(b"hello")) == b"hello"


def test_an_empty_upload_that_was_broken_off_takes_nothing_of_the_url(sign: Sign, stored):
    tus, before = sign(), stored()
    with tus.wire() as wire:
        fields = {"Transfer-Encoding": "chunked", "Content-Length": None}
        wire.send(tus.message("POST", None, {"Upload-Length": "0", **TYPED, **fields}))
        assert eventually(lambda: stored() - before)
    assert eventually(lambda: stored() == before)
    assert tus.create(0)


def test_a_joined_upload_that_has_another_digest_takes_nothing_of_the_url(
    make_server: Callable[..., TusServer],
):
    server = make_server("--digest", "sha-256", environment=GUARDED)
    tus = Signed(sign_upload_url(SECRET, server.url, max_size=6))
    parts = [tus.upload(data, PARTIAL) for data in (b"abc", b"def")]

    def join(data: bytes):
        digest = b64encode(f"sha256 {hashlib.sha256(data).hexdigest()}".encode()).decode()
        fields = {"Upload-Metadata": f"checksum {digest}"}
        answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}", **fields})
        assert answer.status == 201
        return tus.target(answer.get("Location"))

    wrong = join(b"fed")
    assert eventually(lambda: tus.head(wrong).status == 404)
    assert tus.content(join(b"abcdef")) == b"abcdef"


def test_the_rule_outlives_the_death_of_the_server(make_server: Callable[..., TusServer]):
    server = make_server(environment=GUARDED)
    tus = Signed(sign_upload_url(SECRET, server.url, max_size=5))
    lost = tus.create(5, TYPED, b"hel")
    server.kill()
    server.start()
    target = tus.create(5)
    assert tus.head(lost).status == 404
    assert tus.patch(target, 0, b"hello").status == 204
    server.kill()
    server.start()
    assert tus.post({"Upload-Length": "5"}).status == 403
    assert tus.delete(target).status == 204
    server.kill()
    server.start()
    assert tus.post({"Upload-Length": "5"}).status == 403


# --- several processes --------------------------------------------------------------------


@pytest.fixture
def two(upload_dir: Path, state_url: str) -> Iterator[list[TusServer]]:
    """Two servers of one store."""
    with ExitStack() as stack:
        flags = {"upload_dir": upload_dir, "state": state_url, "environment": GUARDED}
        yield [stack.enter_context(TusServer(**flags)) for _ in range(2)]


def test_it_is_one_upload_for_all_processes_together(two: list[TusServer], upload_dir: Path):
    url = sign_upload_url(SECRET, two[0].url, max_size=5)
    clients = [Signed(f"{server.url}?{url.partition('?')[2]}") for server in two]
    statuses: list[int] = []

    def create(tus: Signed) -> None:
        for _ in range(10):
            answer = tus.post({"Upload-Length": "5", **TYPED}, b"hello")
            # A creation that a newer one overtakes tells how little of its body it took.
            is_cut = answer.status == 201 and answer.get("Upload-Offset") == "0"
            statuses.append(423 if is_cut else answer.status)

    threads = [threading.Thread(target=create, args=(tus,)) for tus in clients * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 403, 423}
    ledgers = [path.read_text("latin-1") for path in upload_dir.glob("??/*.meta")]
    assert len(ledgers) == 1
    [page] = (upload_dir / ".tusserver" / "grants").iterdir()
    assert json.loads(page.read_text())["used"]
    for server in two:
        server.check_log()


# --- real clients -------------------------------------------------------------------------

SIZE = 3 * MIB + 123
WAYS = {
    "with its defaults": {},
    "in chunks": {"chunkSize": MIB},
    "in three parts": {"parallelUploads": 3, "chunkSize": MIB // 2},
    "with data in the creation": {"uploadDataDuringCreation": True},
    "of deferred length": {"stream": True, "uploadLengthDeferred": True, "chunkSize": MIB},
}


@pytest.fixture
def roomy(make_server: Callable[..., TusServer]) -> TusServer:
    return make_server(environment=GUARDED)


def test_tus_js_client_uploads_with_a_signed_url_in_every_way(roomy: TusServer, tmp_path: Path):
    file = make_file(tmp_path / "file", SIZE)
    for options in WAYS.values():
        url = sign_upload_url(SECRET, roomy.url, owner="alice", max_size=SIZE)
        with tus_js(url, file, **options) as run:
            assert_arrived(run.finish().url, SIZE)
            assert not run.told("retry"), run.account()
        with tus_js(url, file, **options) as run:
            assert run.fail()["status"] == 403


def test_tus_js_client_resumes_with_a_signed_url(roomy: TusServer, tmp_path: Path):
    file = make_file(tmp_path / "file", SIZE)
    url = sign_upload_url(SECRET, roomy.url, max_size=SIZE)
    options = {"storage": tmp_path / "urls.json", "chunkSize": MIB // 2}
    with tus_js(url, file, abort_after=MIB, **options) as run:
        run.settle()
    with tus_js(url, file, resume=True, **options) as again:
        again.finish()
        assert again.urls == [run.url]
        assert again.statuses("POST") == []
        assert_arrived(again.url, SIZE)


def test_tuspy_uploads_with_a_signed_url(roomy: TusServer, tmp_path: Path):
    file = make_file(tmp_path / "file", SIZE)
    with tuspy(sign_upload_url(SECRET, roomy.url), file, chunk_size=MIB) as run:
        assert_arrived(run.finish().url, SIZE)


@pytest.mark.parametrize("options", [{}, {"parallelUploads": 3}], ids=["whole", "in parts"])
def test_tus_js_client_uploads_with_a_token(roomy: TusServer, tmp_path: Path, options):
    file = make_file(tmp_path / "file", SIZE)
    with tus_js(roomy.url, file, headers={"Authorization": f"Bearer {token()}"}, **options) as run:
        url = run.finish().url
    tus = Tokens(roomy.url, token())
    assert eventually(lambda: len(tus.content(tus.target(url))) == SIZE)
    with tus_js(roomy.url, file, retryDelays=None) as run:
        assert run.fail()["status"] == 401


def test_tuspy_uploads_with_a_token(roomy: TusServer, tmp_path: Path):
    file = make_file(tmp_path / "file", SIZE)
    fields = {"Authorization": f"Bearer {token()}"}
    with tuspy(roomy.url, file, chunk_size=MIB, headers=fields) as run:
        url = run.finish().url
    tus = Tokens(roomy.url, token())
    assert len(tus.content(tus.target(url))) == SIZE
