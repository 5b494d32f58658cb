"""Who may do what, at a real server: the order of checks, and owners that never meet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.auth.credentials import SECRET, Bearer, token
from tests.support.faults import UNKNOWN
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Fields

FAULTS: dict[str, Fields] = {
    "nothing else": {},
    "a malformed offset": {"Upload-Offset": "x"},
    "another type": {"Content-Type": "text/plain"},
    "a malformed length": {"Upload-Length": "-1"},
    "an algorithm that there is not": {"Upload-Checksum": "foo AAAA"},
    "malformed metadata": {"Upload-Metadata": "a !"},
    "a compressed body": {"Content-Encoding": "gzip"},
    "a part that there is not": {"Upload-Concat": f"final;/files/{UNKNOWN}"},
}
STRANGERS = {
    "no credential": {},
    "another scheme": {"Authorization": "Basic YWxpY2U6YQ=="},
    "a bad token": {"Authorization": "Bearer x.y.z"},
    "an old token": {"Authorization": f"Bearer {token(exp=1)}"},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_stranger_is_told_nothing_but_401_and_nothing_is_stored(
    guarded, alice: Bearer, stored: Callable[[], set[str]], stranger, fault
):
    target = alice.create(10, body=b"abc")
    before = stored()
    tus = Tus(guarded.url)
    size = {"Upload-Length": "5", "Content-Type": OFFSET_STREAM}
    for answer in (
        tus.post(size | stranger | fault, b"hello"),
        tus.patch(target, 3, b"hello", stranger | fault),
        tus.patch(tus.path + UNKNOWN, 3, b"hello", stranger | fault),
        tus.patch(tus.path + "no-id", 3, b"hello", stranger | fault),
        tus.head(target, stranger | fault),
        tus.get(target, stranger),
        tus.delete(target, stranger),
        tus.delete(tus.path + UNKNOWN, stranger),
    ):
        assert answer.status == 401
        assert answer.get("WWW-Authenticate").startswith("Bearer")
    assert alice.offset(target) == 3
    assert stored() == before


def test_the_version_is_asked_for_first_and_options_need_no_credential(guarded):
    tus = Tus(guarded.url)
    assert tus.post({"Tus-Resumable": "0.1.0"}).status == 412
    assert tus.patch(tus.path + UNKNOWN, 0, b"", {"Tus-Resumable": None}).status == 412
    assert tus.options().status == 204
    assert tus.options(tus.path + UNKNOWN).status == 204


def test_a_body_is_not_read_before_its_sender_is_known(guarded):
    tus = Tus(guarded.url)
    fields = {"Upload-Length": "5", "Content-Type": OFFSET_STREAM, "Expect": "100-continue"}
    with tus.wire() as wire:
        wire.send(tus.message("POST", None, fields | {"Content-Length": "5"}))
        answer = wire.response("POST")
    assert answer.status == 401
    assert answer.interim == ()
    assert answer.closes


def test_no_credential_is_repeated_in_an_answer_or_in_the_log(guarded, alice: Bearer, sign):
    tus = Tus(guarded.url)
    for text in (token(exp=1), token(sub="secret\nowner"), "secret.se.cret"):
        answer = tus.post({"Authorization": f"Bearer {text}"})
        assert answer.status == 401
        assert text not in str(answer)
    signed = sign()
    signed.upload(b"hello")
    signed.post({"Upload-Length": "5"})
    assert "eyJ" not in guarded.log


BROKEN = {
    "a version that there is not": "POST /files/?grant={} HTTP/9.9\r\n\r\n",
    "a control character in the URL": "POST /files/?grant={}\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a URL that is none": "POST http://[::/?grant={} HTTP/1.1\r\nHost: a\r\n\r\n",
    "a URL that begins as a sentence": "POST Sentence://[/{} HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control character in a field": (
        "POST /files/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\x00\r\n\r\n"
    ),
    "a field that is none": "POST / HTTP/1.1\r\nHost: a\r\nAuthorization {}\r\n\r\n",
    "a chunk that is none": (
        "POST /files/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n"
    ),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_request_that_is_no_http_leaves_no_credential_in_the_log(guarded, text):
    before = len(guarded.log)
    with Tus(guarded.url).wire() as wire:
        wire.send(text.format(token()).encode())
        assert wire.response("POST").status in {400, 404, 412}
    assert eventually(lambda: "Malformed request from" in guarded.log[before:])
    assert "eyJ" not in guarded.log[before:]


# --- owners -------------------------------------------------------------------------------


def test_anothers_upload_is_not_there(alice: Bearer, bob: Bearer):
    target = alice.upload(b"hello")
    running = alice.create(10, body=b"abc")
    unknown = bob.path + UNKNOWN
    for verb in (
        bob.head,
        bob.get,
        lambda place: bob.patch(place, 3, b"x"),
        lambda place: bob.patch(place, 3, b"x", {"Content-Type": "text/plain"}),
        lambda place: bob.patch(place, 99, b"x", {"Upload-Offset": "x"}),
        bob.delete,
    ):
        there, hidden, running_ = verb(unknown), verb(target), verb(running)
        assert there.status == hidden.status == running_.status == 404
        assert there.body == hidden.body == running_.body
    assert alice.content(target) == b"hello"
    assert alice.patch(running, 3, b"defghij").status == 204


def test_anothers_part_is_not_there(alice: Bearer, bob: Bearer):
    part = alice.upload(b"abc", {"Upload-Concat": "partial"})
    answer = bob.post({"Upload-Concat": f"final;{part}"})
    assert (answer.status, answer.code) == (404, "part_not_found")
    answer = alice.post({"Upload-Concat": f"final;{part}"})
    assert answer.status == 201
    assert alice.content(alice.target(answer.get("Location"))) == b"abc"


def test_the_owner_outlives_a_token_but_not_its_rights(guarded, alice: Bearer):
    target = alice.create(10, body=b"abc")
    narrowed = Bearer(guarded.url, token(tus_verbs=["describe"]))
    assert narrowed.offset(target) == 3
    answer = narrowed.patch(target, 3, b"x")
    assert (answer.status, answer.code) == (403, "forbidden")
    assert narrowed.delete(target).status == 403
    assert narrowed.post({"Upload-Length": "1"}).status == 403


def test_the_size_in_a_token_is_the_largest_that_is_accepted(guarded, stored):
    tus = Bearer(guarded.url, token(tus_max_size=5))
    before = stored()
    assert tus.post({"Upload-Length": "6"}).status == 413
    assert stored() == before
    assert tus.content(tus.upload(b"hello")) == b"hello"
    deferred = tus.create(None)
    assert tus.patch(deferred, 0, b"hello").status == 204
    assert tus.patch(deferred, 5, b"!").status == 413
    assert tus.patch(deferred, 5, b"", {"Upload-Length": "6"}).status == 413
    wide = Bearer(guarded.url, token(tus_max_size=10**12))
    assert wide.post({"Upload-Length": "1000001"}).status == 413
    parts = [tus.upload(b"abc", {"Upload-Concat": "partial"}) for _ in range(2)]
    assert tus.post({"Upload-Concat": f"final;{' '.join(parts)}"}).status == 413


def test_a_token_that_expires_while_a_body_runs_ends_nothing(guarded):
    soon = Bearer(guarded.url, token(exp=int(time.time()) - 5))  # the leeway is 10 s
    target, other = soon.create(6), soon.create(6)
    with soon.wire() as wire:
        fields = {"Transfer-Encoding": "chunked", "Content-Length": None}
        wire.send(soon.append_message(target, 0, b"", fields))
        wire.send(chunked(b"abc", end=False))
        while soon.head(other).status == 200:  # HEAD of the silent one would end it.
            time.sleep(0.1)
        assert soon.patch(target, 3, b"def").status == 401
        wire.send(chunked(b"def"))
        assert wire.response("PATCH").status == 204
    fresh = Bearer(guarded.url, token())
    assert fresh.content(target) == b"abcdef"


def test_without_authorisation_owned_uploads_stay_hidden(make_server, upload_dir):
    guarded = make_server(upload_dir=upload_dir, environment={"TUSSERVER_JWT_SECRET": SECRET})
    target = Bearer(guarded.url, token()).upload(b"hello")
    guarded.terminate()
    anyone = make_server(upload_dir=upload_dir)
    tus = Tus(anyone.url)
    assert tus.head(target).status == 404
    assert tus.get(target).status == 404
    assert tus.delete(target).status == 404
    assert tus.content(tus.upload(b"mine")) == b"mine"
