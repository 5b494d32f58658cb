"""The JSON that receivers get, field by field as tusd v2 writes it, and what they may answer.

Expected is what tusd's own types give (pkg/hooks/hooks.go, pkg/handler: hooks.go, datastore.go,
http.go): Go's names and capitals, a nil slice or map as null, headers in canonical form.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.hooks.receivers import Reply, receiving
from tests.support.hosted import hosted
from tests.support.raw import Tus
from tests.support.server import ROOT, TusServer
from tests.support.waiting import eventually
from tusserver.caller import Caller
from tusserver.compose import build_app
from tusserver.config import Settings
from tusserver.errors import ConfigError
from tusserver.hooks.callables import CallableHooks
from tusserver.hooks.payload import (
    AnswerMalformed,
    Writer,
    decide,
    read_decision,
    read_response,
    stop_of,
    write_decision,
)
from tusserver.ports import Decision, Event, EventKind, RequestInfo
from tusserver.upload import Kind, Status, Upload, UploadId, new_upload_id

ALL = "pre-create,post-create,post-receive,pre-finish,post-finish,pre-terminate,post-terminate"
NAME = base64.b64encode("Grüße.txt".encode()).decode()
SECRET = "Bearer sesame"  # noqa: S105 - what must not be stored


def written(event: Event, *, kept: tuple[str, ...] = ()) -> dict:
    writer = Writer(lambda one: (Path("/up") / one, Path("/up") / f"{one}.meta"), kept)
    return json.loads(writer.write(event))


def event(what: EventKind, request: RequestInfo | None = None, **fields) -> Event:
    fields.setdefault("upload_id", new_upload_id())
    upload = Upload(created_at=datetime.now(UTC), **fields)
    return Event(what, upload, "event-1", request)


def test_a_whole_life_is_told_in_the_fields_of_tusd():
    with receiving() as receiver:
        flags = ("--webhook-url", receiver.url, "--webhook-events", ALL)
        with TusServer(*flags) as server:
            tus = Tus(server.url)
            meta = {"Upload-Metadata": f"filename {NAME},empty", "Authorization": SECRET}
            target = tus.create(5, meta)
            tus.patch(target, 0, b"hello", {"Cookie": "a=b"})
            tus.delete(target)
            assert eventually(lambda: "post-terminate" in receiver.kinds())
        upload_id = target.rpartition("/")[2]
        shard = server.upload_dir / upload_id[:2]
        base = {
            "ID": upload_id, "Size": 5, "SizeIsDeferred": False, "Offset": 5,
            "MetaData": {"filename": "Grüße.txt", "empty": ""},
            "IsPartial": False, "IsFinal": False, "PartialUploads": None,
            "Storage": {
                "Type": "filestore",
                "Path": str(shard / upload_id),
                "InfoPath": str(shard / f"{upload_id}.meta"),
            },
        }  # fmt: skip
        new = {**base, "ID": "", "Offset": 0, "Storage": None}
        wanted = {
            "pre-create": ("POST", new),
            "post-create": ("POST", {**base, "Offset": 0}),
            "pre-finish": ("PATCH", base),
            "post-finish": ("PATCH", base),
            "pre-terminate": ("DELETE", base),
            "post-terminate": ("DELETE", base),
        }
        for kind, (method, upload) in wanted.items():
            (got,) = receiver.of(kind)
            message = got.message
            assert set(message) == {"Type", "Event", "Tusserver"}
            assert message["Type"] == kind
            assert message["Event"]["Upload"] == upload, kind
            request = message["Event"]["HTTPRequest"]
            assert set(request) == {"Method", "URI", "RemoteAddr", "Header"}
            assert request["Method"] == method
            assert request["URI"].startswith(tus.path)
            assert request["Header"]["Host"] == [f"127.0.0.1:{server.port}"]
            assert request["Header"]["Tus-Resumable"] == ["1.0.0"]
            assert message["Tusserver"]["UploadID"] == upload_id
            assert message["Tusserver"]["EventID"] == got.event_id
            assert got.headers["content-type"] == "application/json"
        # Who asks is told to receivers that are asked, and kept nowhere.
        (asked,), (told,) = receiver.of("pre-create"), receiver.of("post-create")
        assert asked.message["Event"]["HTTPRequest"]["Header"]["Authorization"] == [SECRET]
        assert SECRET not in told.body.decode()


def test_named_headers_are_forwarded_and_told():
    with receiving() as receiver:
        flags = ("--webhook-url", receiver.url, "--webhook-forward-headers", "authorization,X-Own")
        with TusServer(*flags) as server:
            Tus(server.url).create(5, {"Authorization": SECRET, "X-Own": "1", "X-Other": "2"})
            assert eventually(lambda: bool(receiver.of("post-create")))
        for got in receiver.of("pre-create", "post-create"):
            assert (got.headers["authorization"], got.headers["x-own"]) == (SECRET, "1")
            assert "x-other" not in got.headers
            assert got.message["Event"]["HTTPRequest"]["Header"]["Authorization"] == [SECRET]


def test_kinds_of_uploads_are_told_as_tusd_does():
    upload = written(event(EventKind.POST_CREATE))["Event"]["Upload"]
    assert (upload["Size"], upload["SizeIsDeferred"], upload["MetaData"]) == (0, True, {})
    part = event(EventKind.POST_CREATE, kind=Kind.PARTIAL, length=5)
    assert written(part)["Event"]["Upload"]["IsPartial"] is True
    parts = (new_upload_id(), new_upload_id())
    final = event(EventKind.POST_FINISH, kind=Kind.FINAL, length=5, parts=parts)
    upload = written(final)["Event"]["Upload"]
    assert (upload["IsFinal"], upload["PartialUploads"]) == (True, list(parts))


def test_what_is_ours_is_told_beside():
    finished = event(
        EventKind.POST_FINISH, length=5, offset=5, owner="ann", digest="sha-256=:YQ==:",
        status=Status.COMPLETE, upload_id=UploadId("0" * 32),
    )  # fmt: skip
    told = written(Event(finished.kind, finished.upload, "e", None, "2026/a.txt"))
    assert told["Tusserver"] == {
        "EventID": "e", "UploadID": "0" * 32, "Owner": "ann",
        "Digest": "sha-256=:YQ==:", "Published": "2026/a.txt",
    }  # fmt: skip
    assert told["Event"]["HTTPRequest"] == {
        "Method": "", "URI": "", "RemoteAddr": "", "Header": {},
    }  # fmt: skip


def test_a_signed_url_is_told_whole_only_to_who_is_asked():
    request = RequestInfo("POST", "/files/?grant=1", "::1", caller=Caller(credential="grant=1"))
    for kind, uri in (
        (EventKind.PRE_CREATE, "/files/?grant=1"),
        (EventKind.POST_CREATE, "/files/"),
    ):
        assert written(event(kind, request))["Event"]["HTTPRequest"]["URI"] == uri


def test_the_credentials_of_parts_and_in_copies_of_the_url_are_told_only_to_who_is_asked():
    told = {
        "Upload-Concat": "final;/files/a?grant=1 /files/b?grant=2",
        "Referer": "https://example.org/page?grant=1",
        "X-Original-Uri": "/files/?grant=1",
    }
    bare = {
        "Upload-Concat": "final;/files/a /files/b",
        "Referer": "https://example.org/page",
        "X-Original-Uri": "/files/",
    }
    request = RequestInfo("POST", "/files/", "::1", headers=tuple(told.items()))
    for kind, fields in ((EventKind.PRE_CREATE, told), (EventKind.POST_FINISH, bare)):
        header = written(event(kind, request))["Event"]["HTTPRequest"]["Header"]
        assert header == {name: [value] for name, value in fields.items()}


def test_bytes_that_are_no_text_do_not_break_the_json():
    odd = base64.b64encode(b"\xff\xfe").decode()
    request = RequestInfo("POST", "/", "::1", headers=(("x-odd", "\udcff"),))
    told = written(event(EventKind.PRE_CREATE, request, metadata=f"name {odd}"))
    assert told["Event"]["Upload"]["MetaData"] == {"name": "\ufffd\ufffd"}
    assert told["Event"]["HTTPRequest"]["Header"] == {"X-Odd": ["\ufffd"]}


# --- answers ------------------------------------------------------------------------------


def decided(kind: EventKind, **answer) -> Decision:
    return decide(kind, read_response(json.dumps(answer).encode()))


def test_an_empty_answer_and_nulls_go_on():
    for answer in ({}, {"HTTPResponse": None, "RejectUpload": None, "ChangeFileInfo": None}):
        assert decided(EventKind.PRE_CREATE, **answer) == Decision()


def test_a_refusal_with_a_status_of_success_is_400_all_the_same():
    refused = decided(EventKind.PRE_CREATE, RejectUpload=True, HTTPResponse={"StatusCode": 200})
    assert refused.reject[0] == 400


def test_each_question_has_its_own_refusal():
    assert decided(EventKind.PRE_TERMINATE, RejectUpload=True).reject is None
    assert decided(EventKind.PRE_CREATE, RejectTermination=True).reject is None
    assert decided(EventKind.PRE_TERMINATE, RejectTermination=True).reject[0] == 400
    assert decided(EventKind.PRE_FINISH, RejectUpload=True).reject[0] == 400


def test_metadata_is_kept_emptied_or_replaced():
    kind = EventKind.PRE_CREATE
    assert decided(kind, ChangeFileInfo={"MetaData": None}).metadata is None
    assert decided(kind, ChangeFileInfo={"MetaData": {}}).metadata == {}
    assert decided(kind, ChangeFileInfo={"metadata": {"a": "b"}}).metadata == {"a": b"b"}


def test_a_stop_is_carried_to_another_process():
    stop = stop_of(read_response(b'{"StopUpload":true,"HTTPResponse":{"StatusCode":402}}'))
    assert stop is not None
    again = read_decision(write_decision(stop))
    assert (tuple(again.reject), again.headers, again.body) == (stop.reject, {}, None)
    assert stop_of(read_response(b"{}")) is None


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"[" * 100_000, b'{"HTTPResponse":1}', b'{"StopUpload":1}']
)
def test_what_is_no_answer_is_told_apart(body):
    with pytest.raises(AnswerMalformed):
        read_response(body)


# --- together with the application's own hooks --------------------------------------------


def test_the_application_and_receivers_are_both_asked_and_told(tmp_path):
    seen = []

    async def pre_create(event):
        seen.append(event.kind)
        return Decision(metadata={"from": b"application"}, headers={"X-One": "1"})

    async def post_finish(event):
        seen.append(event.kind)

    with receiving() as receiver:
        settings = Settings(upload_dir=tmp_path / "up", reserve=0, webhook_url=receiver.url)
        hooks = CallableHooks(pre_create=pre_create, post_finish=post_finish)
        with hosted(lambda: build_app(settings, hooks)) as port:
            tus = Tus(f"http://127.0.0.1:{port}/files/")
            receiver.answer = lambda _got: Reply({"HTTPResponse": {"Header": {"X-Two": "2"}}})
            got = tus.post({"Upload-Length": "1"})
            assert (got.get("X-One"), got.get("X-Two")) == ("1", "2")
            tus.patch(tus.target(got.get("Location")), 0, b"x")
            assert eventually(lambda: EventKind.POST_FINISH in seen)
            assert eventually(lambda: bool(receiver.of("post-finish")))
        (asked,) = receiver.of("pre-create")
        assert asked.message["Event"]["Upload"]["MetaData"] == {"from": "application"}


# --- settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("webhook_url", "ftp://example.org/", "not the address of a receiver"),
        ("webhook_url", "http://u:secret@example.org:x/", "not the address of a receiver"),
        ("webhook_url", "", "not the address of a receiver"),
        ("webhook_secret", "secret", "not a secret"),
        ("webhook_secret", "whsec_c2VjcmV0", "not a secret"),
        ("webhook_events", "pre-create,post-party", "none of pre-create"),
        ("webhook_retry", "-1", "not a number of retries"),
        ("webhook_timeout", "0", "longer than 0"),
    ],
)
def test_a_wrong_setting_is_refused_without_telling_secrets(name, value, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        Settings(**{name: value})
    assert "secret@" not in str(caught.value)


def test_the_examples_of_the_page_have_the_fields_that_are_sent_and_understood():
    page = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    sent, answer = map(json.loads, blocks)
    real = written(event(EventKind.POST_FINISH, RequestInfo("PATCH", "/", "::1")))
    for path in ((), ("Event",), ("Event", "Upload"), ("Event", "HTTPRequest"), ("Tusserver",)):
        told, shown = real, sent
        for name in path:
            told, shown = told[name], shown[name]
        assert list(told) == list(shown)
    assert decided(EventKind.PRE_CREATE, **answer).reject[0] == 403
