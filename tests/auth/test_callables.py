"""The application's own login: asked about every request, and never passed by accident."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.auth.credentials import SECRET, access
from tests.test_docs import blocks
from tests.test_examples import ROOT, TUS, load
from tusserver import (
    AccessRequest,
    Action,
    Caller,
    Forbidden,
    HookFailed,
    Rejected,
    Settings,
    Unauthenticated,
    build_engine,
    sign_upload_url,
    tus_app,
)
from tusserver.auth.callables import CallableAuthorizer
from tusserver.upload import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.test_utils import TestClient

STREAM = {"Content-Type": "application/offset+octet-stream"}
EXAMPLE = ROOT / "docs" / "examples" / "guarded_app.py"


async def ask(answer: Any, **options: Any) -> Caller:
    async def authorize(_access):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return await CallableAuthorizer(authorize, **options).authorize(access())


async def test_whom_the_application_names_is_the_caller():
    caller = Caller(owner="alice", max_size=5, credential="session=a%2Cb&x=1")
    assert await ask(caller) is caller
    assert (await ask(Caller(owner=None))).owner is None


async def test_nobody_is_401():
    with pytest.raises(Unauthenticated):
        await ask(None)


@pytest.mark.parametrize("error", [Forbidden("no"), Unauthenticated(), Rejected(402, "Pay first.")])
async def test_an_error_of_ours_is_the_answer(error):
    with pytest.raises(type(error)) as caught:
        await ask(error)
    assert caught.value is error


WRONG = {
    "an exception": ZeroDivisionError("secret detail"),
    "true": True,
    "a name": "alice",
    "a caller of too long a name": Caller(owner="x" * 257),
    "a caller with a line break": Caller(owner="a\nb"),
    "a credential that breaks a header": Caller(credential="a\r\nb"),
    "a credential that breaks a list of parts": Caller(credential="a b"),
    "a grant, which only signed URLs give": Caller(grant="../x"),
    "a type that is none": Caller(types=("image",)),
    "a size below nothing": Caller(max_size=-1),
    "a credential that ends a query": Caller(credential="a#b"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
async def test_anything_else_is_a_failure_that_is_logged(answer, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(HookFailed) as caught:
        await ask(answer)
    assert "authorize failed for a create" in caplog.text
    assert "secret" not in caught.value.message


async def test_an_application_that_takes_too_long_has_failed(caplog):
    async def authorize(_access):
        await asyncio.sleep(5)

    with pytest.raises(HookFailed):
        await CallableAuthorizer(authorize, timeout=0.05).authorize(access())
    assert "took longer than 0.05 s" in caplog.text


async def test_the_login_of_the_page_about_embedding_does_what_the_page_says():
    [code] = [b for b in blocks(ROOT / "docs" / "embedding.md", "python") if "authorize" in b]
    told: dict[str, Any] = {"__name__": "embedding"}
    exec(compile(code, "embedding.md", "exec", dont_inherit=True), told)  # noqa: S102
    proving = CallableAuthorizer(told["authorize"])
    request = replace(access().request, context={told["USER"]: "alice"})
    caller = await proving.authorize(AccessRequest(action=Action.CREATE, request=request))
    assert caller == Caller(owner="alice", max_size=100 * 2**20)
    with pytest.raises(Forbidden):
        await proving.authorize(AccessRequest(action=Action.TERMINATE, request=request))
    with pytest.raises(Unauthenticated):
        await proving.authorize(access())


# --- in an application --------------------------------------------------------------------


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
async def client(aiohttp_client: Any, upload_dir: Path, seen: list[Any]) -> TestClient:
    """An application whose header X-User is all the login there is; "down" is a failure."""

    async def authorize(asked):
        seen.append(asked)
        user = dict(asked.request.headers).get("X-User")
        if user == "down":
            raise ConnectionError("the directory of users does not answer")
        return None if user is None else Caller(owner=user)

    app = web.Application()
    settings = Settings(upload_dir=upload_dir, url_secret=SECRET, reserve=0)
    app.add_subapp("/files/", tus_app(build_engine(settings, authorize=authorize)))
    return await aiohttp_client(app)


async def test_it_sees_every_request_with_verb_upload_owner_and_headers(client, seen):
    alice = TUS | {"X-User": "alice"}
    fields = {"Upload-Length": "5", "Upload-Metadata": "filename YQ=="}
    made = await client.post("/files/", headers=alice | fields)
    place = made.headers["Location"]
    await client.head(place, headers=alice)
    await client.patch(place, headers=alice | STREAM | {"Upload-Offset": "0"}, data=b"hello")
    await client.get(place, headers=alice)
    await client.delete(place, headers=alice)
    await client.options("/files/", headers=alice)
    assert [asked.action for asked in seen] == [
        Action.CREATE,
        Action.DESCRIBE,
        Action.APPEND,
        Action.DOWNLOAD,
        Action.TERMINATE,
    ]
    create, *others = seen
    assert (create.length, create.kind, create.metadata) == (5, Kind.SINGLE, "filename YQ==")
    assert create.upload is None
    for asked in others:
        assert asked.upload_id == place.rpartition("/")[2]
        assert asked.upload.owner == "alice"
    assert [asked.upload.offset for asked in others] == [0, 0, 5, 5]


async def test_who_is_nobody_is_told_so_and_others_do_not_see_the_upload(client):
    assert (await client.post("/files/", headers=TUS | {"Upload-Length": "5"})).status == 401
    made = await client.post("/files/", headers=TUS | {"Upload-Length": "5", "X-User": "alice"})
    place = made.headers["Location"]
    for user, status in (("alice", 200), ("bob", 404), ("down", 423)):
        assert (await client.head(place, headers=TUS | {"X-User": user})).status == status
    answer = await client.delete(place, headers=TUS | {"X-User": "down"})
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert (await client.head(place, headers=TUS | {"X-User": "alice"})).status == 200


async def test_it_is_asked_about_each_part_whose_url_has_a_query(aiohttp_client, upload_dir):
    kept = []

    async def authorize(asked):
        if asked.action is Action.JOIN and asked.upload_id in kept:
            raise Forbidden
        return Caller(owner=None if asked.action is Action.JOIN else "alice")

    app = web.Application()
    engine = build_engine(Settings(upload_dir=upload_dir, reserve=0), authorize=authorize)
    app.add_subapp("/files/", tus_app(engine))
    client = await aiohttp_client(app)
    parts = []
    for _ in range(2):
        fields = {"Upload-Length": "0", "Upload-Concat": "partial"}
        parts.append((await client.post("/files/", headers=TUS | fields)).headers["Location"])
    kept.append(parts[1].rpartition("/")[2])
    joined = {"Upload-Concat": f"final;{parts[0]}?key=1 {parts[1]}?key=1"}
    assert (await client.post("/files/", headers=TUS | joined)).status == 403


async def test_signed_urls_work_beside_it_without_asking_it(client, seen):
    url = sign_upload_url(SECRET, "/files/", owner="alice")
    made = await client.post(url, headers=TUS | {"Upload-Length": "5"})
    assert made.status == 201
    assert seen == []
    plain = made.headers["Location"].partition("?")[0]
    assert (await client.head(plain, headers=TUS | {"X-User": "alice"})).status == 200
    assert (await client.head(plain, headers=TUS | {"X-User": "bob"})).status == 404


# --- the example --------------------------------------------------------------------------


@pytest.fixture
async def guarded(aiohttp_client: Any, upload_dir: Path) -> TestClient:
    return await aiohttp_client(load(EXAMPLE).make_app(upload_dir, SECRET))


async def log_in(client: TestClient, name: str) -> None:
    client.session.cookie_jar.clear()
    assert (await client.post("/login", data={"name": name})).status == 200


async def test_the_example_guards_uploads_by_its_own_login(guarded):
    fields = TUS | STREAM | {"Upload-Length": "5"}
    assert (await guarded.post("/files/", headers=fields, data=b"hello")).status == 401
    await log_in(guarded, "alice")
    made = await guarded.post("/files/", headers=fields, data=b"hello")
    assert made.status == 201
    place = made.headers["Location"]
    assert await (await guarded.get(place)).read() == b"hello"
    assert (await guarded.delete(place, headers=TUS)).status == 403
    large = await guarded.post("/files/", headers=TUS | {"Upload-Length": str(101 * 2**20)})
    assert large.status == 413
    await log_in(guarded, "bob")
    assert (await guarded.get(place)).status == 404


async def test_the_example_gives_a_url_for_one_upload(guarded):
    assert (await guarded.post("/upload-url")).status == 401
    await log_in(guarded, "alice")
    url = (await (await guarded.post("/upload-url")).json())["url"]
    guarded.session.cookie_jar.clear()
    fields = TUS | STREAM | {"Upload-Length": "5"}
    assert url.startswith(str(guarded.make_url("/files/?grant=")))
    target = url.removeprefix(str(guarded.make_url("/")))
    made = await guarded.post(f"/{target}", headers=fields, data=b"hello")
    assert made.status == 201
    assert await (await guarded.get(made.headers["Location"])).read() == b"hello"
    again = await guarded.post(f"/{target}", headers=fields, data=b"hello")
    assert again.status == 403
    await log_in(guarded, "alice")
    plain = made.headers["Location"].partition("?")[0]
    assert await (await guarded.get(plain)).read() == b"hello"
