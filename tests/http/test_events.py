"""What the application around the server learns and decides, as clients see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.hosted import hosted
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.waiting import eventually
from tusserver.compose import build_app
from tusserver.config import Settings
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tusserver.ports import Event

PARTIAL = {"Upload-Concat": "partial"}
STREAM = {"Content-Type": OFFSET_STREAM}
FORBIDDEN = "forbidden YQ=="


class Application:
    """An application that notes what is finished, and refuses some things."""

    def __init__(self, directory: Path) -> None:
        self.finished: list[str] = []
        self.secret_parts: set[str] = set()
        hooks = CallableHooks(pre_create=self._pre_create, post_finish=self._post_finish)
        settings = Settings(upload_dir=directory, reserve=0)
        self.make = lambda: build_app(settings, hooks)
        self.tus: Tus

    async def _pre_create(self, event: Event) -> Decision | None:
        upload = event.upload
        if upload.metadata == FORBIDDEN:
            return Decision(reject=(401, "Log in first."), headers={"WWW-Authenticate": "Basic"})
        if self.secret_parts & set(upload.parts):
            return Decision(reject=(403, "These parts are not yours."))
        return None

    async def _post_finish(self, event: Event) -> None:
        self.finished.append(event.upload.upload_id)

    def times(self, target: str) -> int:
        """Count how often an upload was said to be finished, once nothing more happens."""
        time.sleep(0.3)
        return self.finished.count(self.tus.target(target).removeprefix(self.tus.path))


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    application = Application(tmp_path_factory.mktemp("events"))
    with hosted(application.make) as port:
        application.tus = Tus(f"http://127.0.0.1:{port}/files/")
        yield application


@pytest.mark.clause("CRE-09")
def test_an_upload_of_length_0_is_finished_once(application: Application) -> None:
    tus = application.tus
    target = tus.create(0)
    assert eventually(lambda: application.times(target) == 1)
    assert tus.patch(target, 0).status == 204
    assert application.times(target) == 1


@pytest.mark.clause("CWU-03", "CORE-PATCH-12")
@pytest.mark.parametrize("with_creation", [True, False], ids=["creation", "patch"])
def test_an_upload_is_finished_once(application: Application, *, with_creation: bool) -> None:
    tus = application.tus
    target = tus.create(5, body=b"hello") if with_creation else tus.upload(b"hello")
    assert eventually(lambda: application.times(target) == 1)
    assert tus.patch(target, 5).status == 204
    assert application.times(target) == 1


@pytest.mark.clause("DEF-12")
def test_an_upload_of_open_length_is_not_finished(application: Application) -> None:
    tus = application.tus
    target = tus.create(None, body=b"hello")
    assert application.times(target) == 0
    assert tus.patch(target, 5, b"", {"Upload-Length": "5"}).status == 204
    assert eventually(lambda: application.times(target) == 1)


@pytest.mark.clause("CAT-19", "CAT-UNF-01")
@pytest.mark.parametrize("early", [True, False], ids=["waiting", "at once"])
def test_only_the_final_upload_is_finished_and_once(
    application: Application, *, early: bool
) -> None:
    tus = application.tus
    parts = [tus.create(5, PARTIAL), tus.create(6, PARTIAL)]

    def join() -> str:
        answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})
        assert answer.status == 201
        return tus.target(answer.get("Location") or "")

    final = join() if early else ""
    tus.patch(parts[0], 0, b"hello")
    assert not final or application.times(final) == 0
    tus.patch(parts[1], 0, b" world")
    final = final or join()
    assert eventually(lambda: application.times(final) == 1)
    assert [application.times(part) for part in parts] == [0, 0]
    assert application.times(final) == 1


@pytest.mark.clause("CWU-05")
def test_an_upload_that_was_refused_as_too_long_was_never_finished(
    application: Application,
) -> None:
    tus, before = application.tus, len(application.finished)
    fields = {**STREAM, "Content-Length": None, "Transfer-Encoding": "chunked"}
    answer = tus.post({**fields, "Upload-Length": "4"}, chunked(b"hello"))
    assert answer.status == 413
    time.sleep(0.5)
    assert len(application.finished) == before


@pytest.mark.clause("CAT-20")
def test_the_application_decides_about_parts_of_others(application: Application) -> None:
    tus = application.tus
    own, secret = tus.upload(b"a", PARTIAL), tus.upload(b"b", PARTIAL)
    application.secret_parts.add(secret.removeprefix(tus.path))
    answer = tus.post({"Upload-Concat": f"final;{own} {secret}"})
    assert (answer.status, answer.get("Location")) == (403, None)
    assert tus.post({"Upload-Concat": f"final;{own}"}).status == 201


@pytest.mark.clause("HTTP-23", "CORE-VER-01", "CORS-04", "CORE-OPT-06")
def test_refused_credentials_are_told_before_the_body_is_read(application: Application) -> None:
    tus = application.tus
    fields = {
        **STREAM,
        "Upload-Length": "1000000",
        "Content-Length": "1000000",
        "Upload-Metadata": FORBIDDEN,
        "Origin": "https://page.example",
        "Expect": "100-continue",
    }
    answer = tus.post(fields)
    assert (answer.status, answer.interim) == (401, ())
    assert answer.get("Tus-Resumable") == "1.0.0"
    assert answer.get("WWW-Authenticate") == "Basic"
    assert answer.get("Access-Control-Allow-Origin") in {"*", "https://page.example"}
    assert tus.options().status == 204
