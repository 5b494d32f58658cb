"""Lines of the threat model: who asks, and what he may do."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.auth.conftest import GUARDED
from tests.auth.credentials import RSA, SECRET, Bearer, Signed, pem, token, write_keys
from tests.auth.files import EXE, PNG, SVG
from tests.security.conftest import application
from tests.support.hosted import hosted
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tusserver import sign_upload_url
from tusserver.caller import Caller

STREAM = {"Content-Type": OFFSET_STREAM}
WHOLE = {**STREAM, "Upload-Length": "5"}


def files_of(server):
    return sorted(path.name for path in server.upload_dir.glob("??/*"))


def unsigned(**claims):
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "alice", "exp": 2**33, **claims})
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    )
    return f"{head}.{body}."


FORGED = {
    "none": unsigned(),
    "another secret": token(key=SECRET + "x"),
    "expired": token(exp=int(time.time()) - 60),
    "without an end": token(exp=None),
    "over 8 KiB": token(sub="a" * 9000),
    "cut": token()[:-2],
    "empty": "",
    "not one": "a.b.c",
    "a grant": jwt.encode({"aud": "tusserver-upload", "jti": "1", "exp": 2**33}, SECRET),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_bearer_tokens__forged_ones_are_401_before_a_byte_is_stored(guarded, forged):
    before = files_of(guarded)
    stranger = Bearer(guarded.url, forged)
    answer = stranger.post({**WHOLE, "Expect": "100-continue"}, b"hello")
    assert (answer.status, answer.interim) == (401, ())
    assert files_of(guarded) == before
    assert not forged or forged not in answer.body.decode()
    assert len(forged) < 40 or forged not in guarded.whole_log()


def test_bearer_tokens__a_public_key_is_no_secret(make_server, tmp_path):
    """Confusion: what verifies RS256 must not verify an HMAC with the same bytes."""
    (tmp_path / "key.pem").write_bytes(pem(RSA))
    server = make_server("--jwt-public-key", str(tmp_path / "key.pem"))
    public = pem(RSA)
    body = base64.urlsafe_b64encode(json.dumps({"sub": "alice", "exp": 2**33}).encode()).rstrip(
        b"="
    )
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    made = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = made.sign(head + b"." + body, public)
    forged = b".".join([head, body, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()
    assert Bearer(server.url, forged).post(WHOLE, b"hello").status == 401
    assert files_of(server) == []
    private = RSA.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    right = jwt.encode({"sub": "alice", "exp": 2**33}, private, algorithm="RS256")
    assert Bearer(server.url, right).post(WHOLE, b"hello").status == 201


def test_keys_of_tokens__a_spoilt_file_lets_nobody_else_in(make_server, tmp_path):
    file = tmp_path / "keys.json"
    write_keys(file, ("one", SECRET, "HS256"))
    server = make_server("--jwt-jwks", str(file))
    alice = Bearer(server.url, token(headers={"kid": "one"}))
    assert alice.post(WHOLE, b"hello").status == 201
    file.write_text("{")
    stranger = Bearer(server.url, token(key=SECRET + "x", headers={"kid": "one"}))
    for _ in range(3):
        assert stranger.post(WHOLE, b"hello").status == 401
    assert alice.post(WHOLE, b"hello").status == 201


def test_signed_upload_urls__one_is_for_one_upload_and_sees_no_other(guarded, alice, sign):
    hers = alice.upload(b"alice's")
    grant = sign(owner="alice", max_size=5)
    query = grant.path.partition("?")[2]
    for method in (grant.head, grant.get, grant.delete):
        assert method(f"{hers}?{query}").status == 404
    mine = grant.upload(b"mine!")
    second = grant.post({"Upload-Length": "5"})
    assert second.status == 403, second
    assert grant.content(mine) == b"mine!"
    longer = grant.path.partition("?")[0] + "?" + query[:-3] + "AAA"
    assert Tus(guarded.url).request("POST", longer, {"Upload-Length": "5"}).status == 401
    assert alice.content(hers) == b"alice's"


def test_credentials_in_urls__the_log_holds_no_query(guarded, sign):
    grant = sign(owner="alice")
    query = grant.path.partition("?")[2]
    grant.upload(b"hello")
    part = Bearer(guarded.url, token()).post({"Upload-Concat": f"final;/files/{'0' * 32}?{query}"})
    assert part.status == 404
    assert eventually(lambda: "POST /files/" in guarded.log)
    assert query not in guarded.whole_log()


ANSWERS = {
    "an exception": ZeroDivisionError("secret detail"),
    "yes": True,
    "a name": "alice",
    "a number": 1,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_applications_authorize__whatever_fails_lets_nothing_pass(tmp_path, answer):
    """Over a socket: 503, 423 to HEAD, before a byte is read or stored."""

    async def authorize(_access):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with hosted(lambda: application(tmp_path, authorize=authorize)) as port:
        tus = Tus(f"http://127.0.0.1:{port}/files/")
        told = tus.post({**WHOLE, "Expect": "100-continue"}, b"hello")
        assert (told.status, told.interim) == (503, ())
        assert b"secret detail" not in told.body
        assert tus.head(tus.path + "0" * 32).status == 423
    assert not list(tmp_path.glob("??/*"))


NAMES = {
    "a path": ("../../etc", 201),
    "control characters": ("a\r\nb", 401),
    "huge": ("a" * 300, 401),
    "a null byte": ("a\0b", 401),
    "a dot": ("..", 201),
}


@pytest.mark.parametrize(("owner", "status"), NAMES.values(), ids=NAMES)
def test_owners_names__they_are_bounded_and_no_path(guarded, bob, owner, status):
    before = set(guarded.upload_dir.parent.rglob("*"))
    made = Bearer(guarded.url, token(sub=owner)).post(WHOLE, b"hello")
    assert made.status == status, made
    new = {
        path.relative_to(guarded.upload_dir)
        for path in set(guarded.upload_dir.parent.rglob("*")) - before
        if path.is_relative_to(guarded.upload_dir) and path.suffix not in {".db", ".sqlite"}
    }
    shards = {part for path in new for part in path.parts[:1]} - {".tusserver"}
    assert all(len(part) == 2 for part in shards), shards
    if status == 201:
        target = bob.target(made.get("Location"))
        assert bob.get(target).status == 404


def test_contents_of_files__programs_that_call_themselves_pictures_are_not_stored(make_server):
    server = make_server("--allowed-types", "image/png", "--check-content")
    tus = Tus(server.url)
    named = f"filetype {base64.b64encode(b'image/png').decode()}"
    for data in (EXE, SVG, b"<html><script>alert(1)</script></html>", b"#!/bin/sh\n"):
        size = {"Upload-Length": str(len(data)), "Upload-Metadata": named}
        assert tus.post({**STREAM, **size}, data).status == 415
        answer = tus.post(size)
        if answer.status == 201:
            assert tus.patch(tus.target(answer.get("Location")), 0, data).status == 415
        assert files_of(server) == []
    size = {"Upload-Length": str(len(PNG)), "Upload-Metadata": named}
    assert tus.post({**STREAM, **size}, PNG).status == 201


def test_patch_head_delete_of_a_known_url__owners_are_kept_apart(guarded, alice, bob):
    target = alice.create(10, body=b"abc")
    stranger = Tus(guarded.url)
    for tus, status in ((bob, 404), (stranger, 401)):
        assert tus.head(target).status == status
        assert tus.get(target).status == status
        assert tus.patch(target, 3, b"d").status == status
        assert tus.delete(target).status == status
        assert tus.post({"Upload-Concat": f"final;{target}"}).status == status
    assert alice.offset(target) == 3


def test_creation__hooks_are_asked_before_a_byte_is_read_or_stored(tmp_path):
    asked = []

    async def authorize(access):
        asked.append(access.action.value)
        return Caller(owner="alice") if "letin" in access.request.uri else None

    with hosted(lambda: application(tmp_path, authorize=authorize)) as port:
        tus = Tus(f"http://127.0.0.1:{port}/files/")
        with tus.wire() as wire:
            # Nothing of the body has been sent when the answer comes.
            wire.send(tus.message("POST", None, {**WHOLE, "Content-Length": "5"}))
            assert wire.response("POST").status == 401
        assert asked == ["create"]
        assert not list(tmp_path.glob("??/*"))
        made = Signed(f"http://127.0.0.1:{port}/files/?letin=1").post(WHOLE, b"hello")
        assert made.status == 201


def test_settings__secrets_that_all_can_read_are_told_of_and_never_shown(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    with TusServer("--url-secret-file", str(file), environment={}) as server:
        assert server.said(str(file))
        url = sign_upload_url(SECRET, server.url)
        assert Signed(url).post(WHOLE, b"hello").status == 201
        assert SECRET not in server.whole_log()
    with TusServer(environment=GUARDED) as server:
        assert SECRET not in server.whole_log()
        assert SECRET.encode() not in (tmp_path / f"/proc/{server.pid}/cmdline").read_bytes()
