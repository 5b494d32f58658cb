"""Alive, and ready for uploads: what a supervisor and a load balancer ask."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.raw import OFFSET_STREAM
from tests.support.waiting import eventually
from tusserver.web.health import Check, Readiness, Unready

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.program import Program
    from tests.support.redis_server import RedisServer

    Start = Callable[..., Program]


def ask(program: Program, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{program.port}{path}", timeout=5) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("base", ["/files/", "/"])
def test_a_server_that_can_take_uploads_is_alive_and_ready(start: Start, base: str):
    program = start(f"--base-path={base}").ready()
    assert ask(program, "/healthz") == (200, "ok\n")
    assert ask(program, "/readyz") == (200, "ready\n")
    assert program.tus.request("HEAD", "/healthz", {"Tus-Resumable": None}).status == 200
    assert ask(program, "/other")[0] in {404, 405}
    fields = {"Upload-Length": "5", "Content-Type": OFFSET_STREAM}
    created = program.tus.request("POST", base, fields, b"hello")
    assert created.status == 201


def test_a_full_disk_is_not_ready_and_says_what_to_do(start: Start):
    program = start("--reserve=8000000TB").ready()
    status, text = ask(program, "/readyz")
    assert status == 503
    assert text.startswith("space: ")
    assert "free some space, or lower --reserve" in text
    assert text.count("\n") == 1
    assert ask(program, "/healthz")[0] == 200


def test_a_directory_that_cannot_be_written_is_not_ready(start: Start):
    program = start().ready()
    moved = program.uploads.with_name("moved")
    program.uploads.rename(moved)
    status, text = ask(program, "/readyz")
    assert status == 503
    assert f"directory: {program.uploads} cannot be written (No such file or directory)" in text
    assert "make it writable for the server's user" in text
    moved.rename(program.uploads)
    assert eventually(lambda: ask(program, "/readyz")[0] == 200)
    assert not list(program.uploads.glob("**/ready-*"))
    assert program.said("readiness: everything is right again")
    shutil.rmtree(moved, ignore_errors=True)


@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_a_redis_that_does_not_answer_is_not_ready(
    start: Start, redis_server: RedisServer, how: str
):
    program = start(f"--state={redis_server.url}").ready()
    assert ask(program, "/readyz") == (200, "ready\n")
    if how == "stopped":
        redis_server.kill()
    else:
        redis_server.pause()
    time.sleep(1.1)
    began = time.monotonic()
    status, text = ask(program, "/readyz")
    assert status == 503
    assert text.startswith("state store: ")
    assert f"start {redis_server.url}, or correct --state" in text
    assert time.monotonic() - began < 4.0
    assert ask(program, "/healthz")[0] == 200


async def test_checks_run_once_a_second_however_many_ask():
    runs = []

    async def look() -> None:
        runs.append(1)
        raise Unready("it is gone: bring it back")

    stopping = []
    readiness = Readiness([Check("thing", look, "")], is_stopping=lambda: bool(stopping))
    for _ in range(50):
        assert await readiness.troubles() == ["thing: it is gone: bring it back"]
    assert len(runs) == 1
    stopping.append(1)
    assert await readiness.troubles() == ["server: it is stopping, or starting anew"]
    assert len(runs) == 1
