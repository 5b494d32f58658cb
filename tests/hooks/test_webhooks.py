"""Webhooks as receivers and clients see them: the real program, a real receiver."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.hooks.receivers import HookReceiver, Reply, receiving
from tests.support.raw import Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = "pre-create,post-create,post-receive,pre-finish,post-finish,pre-terminate,post-terminate"
NAME = {"Upload-Metadata": f"filename {base64.b64encode(b'cat.png').decode()},empty"}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[HookReceiver, TusServer]]:
    with receiving() as receiver:
        flags = ("--webhook-url", receiver.url, "--webhook-events", ALL, "--webhook-timeout", "2s")
        with TusServer(*flags, "--webhook-retry", "1") as server:
            yield receiver, server
            server.check_log()


@pytest.fixture
def receiver(shared: tuple[HookReceiver, TusServer]) -> Iterator[HookReceiver]:
    yield shared[0]
    shared[0].answer = lambda _got: None


@pytest.fixture
def server(shared: tuple[HookReceiver, TusServer]) -> TusServer:
    return shared[1]


@pytest.fixture
def tus(server: TusServer) -> Tus:
    return Tus(server.url)


def id_of(target: str) -> str:
    return target.rstrip("/").rpartition("/")[2]


def on(kind: str, answer: Reply | float):
    return lambda got: answer if got.kind == kind else None


def test_the_life_of_an_upload_is_told_in_order(receiver, tus):
    target = tus.create(5, NAME)
    upload_id = id_of(target)
    assert tus.patch(target, 0, b"hel").status == 204
    assert tus.patch(target, 3, b"lo").status == 204
    assert tus.delete(target).status == 204
    assert eventually(lambda: "post-terminate" in receiver.kinds(upload_id))
    told = [kind for kind in receiver.kinds(upload_id) if kind.startswith("post")]
    assert [kind for kind in told if kind != "post-receive"] == [
        "post-create", "post-finish", "post-terminate",
    ]  # fmt: skip
    asked = [kind for kind in receiver.kinds(upload_id) if kind.startswith("pre")]
    assert asked == ["pre-create", "pre-finish", "pre-terminate"]
    assert len({got.event_id for got in receiver.of(upload_id=upload_id)}) == len(
        receiver.of(upload_id=upload_id)
    )


def test_progress_is_told_between_creation_and_finish(receiver, tus):
    target = tus.create(100)
    upload_id = id_of(target)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", {"Content-Length": "100"}))
        for _ in range(5):
            wire.send(b"x" * 10)
            if eventually(lambda: bool(receiver.of("post-receive", upload_id=upload_id)), within=1):
                break
    told = receiver.of("post-receive", upload_id=upload_id)
    assert told
    assert 0 < told[0].message["Event"]["Upload"]["Offset"] <= 50
    assert receiver.kinds(upload_id)[:2] == ["pre-create", "post-create"]


def test_a_refused_creation_comes_to_the_client_as_the_receiver_said(receiver, tus):
    answer = Reply(
        {
            "RejectUpload": True,
            "HTTPResponse": {
                "StatusCode": 403,
                "Body": '{"message":"not yours"}',
                "Header": {"Content-Type": "application/json", "X-Why": "because"},
            },
        }
    )
    receiver.answer = on("pre-create", answer)
    before = len(receiver.of("post-create"))
    got = tus.post({"Upload-Length": "5"})
    assert (got.status, got.body) == (403, b'{"message":"not yours"}')
    assert (got.get("Content-Type"), got.get("X-Why")) == ("application/json", "because")
    assert len(receiver.of("post-create")) == before


@pytest.mark.parametrize(
    "answer",
    [{"RejectUpload": True}, {"rejectupload": True}, {"HTTPResponse": {"StatusCode": 400}}],
    ids=["plain", "other capitals, as Go reads them", "an error for the client"],
)
def test_a_refusal_without_a_status_is_400(receiver, tus, answer):
    receiver.answer = on("pre-create", Reply(answer))
    assert tus.post({"Upload-Length": "5"}).status == 400


def test_metadata_and_headers_are_changed_by_a_receiver(receiver, tus):
    answer = {
        "ChangeFileInfo": {"MetaData": {"filename": "dog.png"}},
        "HTTPResponse": {"Header": {"X-Hint": "1", "Tus-Resumable": "9"}},
    }
    receiver.answer = on("pre-create", Reply(answer))
    got = tus.post({"Upload-Length": "5", **NAME})
    assert (got.status, got.get("X-Hint"), got.get("Tus-Resumable")) == (201, "1", "1.0.0")
    target = tus.target(got.get("Location"))
    assert tus.head(target).get("Upload-Metadata") == "filename ZG9nLnBuZw=="


def test_an_id_of_our_form_is_taken_and_never_twice(receiver, tus):
    wanted = "0123456789abcdef" * 2
    receiver.answer = on("pre-create", Reply({"ChangeFileInfo": {"ID": wanted}}))
    got = tus.post({"Upload-Length": "5"})
    assert got.status == 201
    assert id_of(tus.target(got.get("Location"))) == wanted
    assert tus.post({"Upload-Length": "5"}).status == 409


def test_an_id_of_another_form_is_not_followed_and_logged(receiver, tus, server):
    answer = Reply({"ChangeFileInfo": {"ID": "prefix-1", "Storage": {"Path": "../../x"}}})
    receiver.answer = on("pre-create", answer)
    assert tus.post({"Upload-Length": "5"}).status == 201
    assert server.said("ChangeFileInfo.ID of"), server.log
    assert server.said("ChangeFileInfo.Storage of"), server.log


@pytest.mark.parametrize(
    "answer",
    [
        Reply({}, status=500),
        Reply({}, status=404),
        Reply({}, status=302, headers={"Location": "/hook"}),
        Reply(b"{}", content_type="text/html"),
        Reply(b""),
        Reply(b"{"),
        Reply(b"[]"),
        Reply({"RejectUpload": "yes"}),
        Reply({"ChangeFileInfo": {"MetaData": {"a b": "c"}}}),
        Reply({"HTTPResponse": {"Header": {"X-Y": "a\r\nb"}}}),
        Reply({"HTTPResponse": {"Body": "x" * 100_000}}),
        5.0,
    ],
    ids=["500", "404", "redirect", "HTML", "empty", "broken JSON", "a list", "wrong type",
         "wrong metadata", "wrong header", "huge", "hangs"],
)  # fmt: skip
def test_a_receiver_that_fails_lets_nothing_through(receiver, tus, server, answer):
    receiver.answer = on("pre-create", answer)
    got = tus.post({"Upload-Length": "5"})
    assert (got.status, got.code) == (503, "hook_failed")
    assert server.said("pre-create failed: "), server.log


def test_a_final_upload_is_shown_as_long_as_its_parts(receiver, tus):
    partial = {"Upload-Concat": "partial"}
    parts = [tus.create(3, partial, b"abc"), tus.create(2, partial, b"de")]
    got = tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})
    assert got.status == 201
    upload = receiver.of("pre-create")[-1].message["Event"]["Upload"]
    assert (upload["Size"], upload["SizeIsDeferred"], upload["IsFinal"]) == (5, False, True)
    assert upload["PartialUploads"] == [id_of(part) for part in parts]
    final_id = id_of(tus.target(got.get("Location")))
    assert eventually(lambda: "post-finish" in receiver.kinds(final_id))
    (told,) = receiver.of("post-finish", upload_id=final_id)
    assert told.message["Event"]["Upload"]["Offset"] == 5


def test_a_question_is_put_again_after_a_server_error(receiver, tus):
    answers = [Reply({}, status=502)]
    receiver.answer = lambda got: answers.pop() if got.kind == "pre-create" and answers else None
    assert tus.post({"Upload-Length": "5"}).status == 201
    first, second = receiver.of("pre-create")[-2:]
    assert (first.event_id, first.body) == (second.event_id, second.body)


def test_a_refused_finish_leaves_the_upload_open(receiver, tus):
    target = tus.create(5)
    answer = Reply({"HTTPResponse": {"StatusCode": 422, "Body": "virus"}})
    receiver.answer = on("pre-finish", answer)
    got = tus.patch(target, 0, b"hello")
    assert (got.status, got.body) == (422, b"virus")
    assert tus.offset(target) == 4
    receiver.answer = on("pre-finish", Reply({"HTTPResponse": {"Body": "thanks"}}))
    got = tus.patch(target, 4, b"o")
    assert (got.status, got.body) == (200, b"thanks")
    assert eventually(lambda: "post-finish" in receiver.kinds(id_of(target)))


def test_a_refused_termination_leaves_the_upload(receiver, tus):
    target = tus.create(5)
    receiver.answer = on("pre-terminate", Reply({"RejectTermination": True}))
    assert tus.delete(target).status == 400
    assert tus.offset(target) == 0
    assert "post-terminate" not in receiver.kinds(id_of(target))


def test_a_password_in_the_address_is_used_and_not_told(receiver):
    url = receiver.url.replace("http://", "http://ann:s%20same@")
    flags = ("--webhook-url", url, "--webhook-forward-headers", "Authorization,Host")
    with TusServer(*flags) as server:
        receiver.answer = lambda _got: Reply(status=500)
        before = len(receiver.got)
        fields = {"Upload-Length": "5", "Authorization": "Bearer x"}
        assert Tus(server.url).post(fields).status == 503
        login = base64.b64encode(b"ann:s same").decode()
        for got in receiver.got[before:]:
            assert got.headers["authorization"] == f"Basic {login}"
            assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert "same" not in server.log
        assert server.said(receiver.url)


def test_a_receiver_stops_an_upload_while_it_runs(receiver, tus):
    answer = {"StopUpload": True, "HTTPResponse": {"StatusCode": 402, "Body": "pay first"}}
    target = tus.create(1000)
    receiver.answer = on("post-receive", Reply(answer))
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", {"Content-Length": "1000"}))
        for _ in range(50):
            wire.send(b"x")
            if not wire.is_silent(for_=0.1):
                break
        got = wire.response("PATCH")
    assert (got.status, got.body, got.closes) == (402, b"pay first", True)
    assert tus.head(target).status == 404
    assert eventually(lambda: receiver.kinds(id_of(target))[-1] == "post-terminate")


def test_a_receiver_stops_an_upload_whose_client_is_away(receiver, tus):
    target = tus.create(1000)
    receiver.answer = on("post-receive", Reply({"StopUpload": True}))
    assert tus.patch(target, 0, b"x").status == 204
    assert eventually(lambda: tus.head(target).status == 404, within=5)
