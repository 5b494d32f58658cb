"""A process that may open no file any more: uploads wait, and go on when it may again."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from pathlib import Path

from tests.faults.clients import WAITS, Upload
from tests.support.served import Served
from tests.support.waiting import eventually

MIB = 1024 * 1024


@contextmanager
def exhausted(server):
    """Let the server open nothing more; what it has open stays open."""
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    numbers = [int(entry.name) for entry in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert eventually(lambda: bool(numbers))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (_lowest_free(numbers), hard))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))


def _lowest_free(numbers):
    return next(number for number in range(len(numbers) + 1) if number not in numbers)


def test_without_descriptors_uploads_wait_and_go_on(make_server, state_url, dice):
    server = make_server(state=state_url)
    tus = Served(server)
    running, idle = (Upload(tus, dice.randbytes(MIB)) for _ in range(2))
    idle.send(1000)
    with tus.wire() as first, tus.wire() as second:
        for wire in (first, second):
            assert tus.request("OPTIONS", wire=wire).status in {200, 204}
        size = {"Content-Length": str(MIB)}
        first.send(tus.append_message(running.target, 0, running.data[: MIB // 2], size))
        assert tus.holds(running.target, running.data[: MIB // 2])
        # What is open is closed after a moment; this test is about what has to be opened.
        data = server.data_file(idle.target)
        paths = {str(data), str(data.with_suffix(".meta"))}
        assert eventually(lambda: not paths & _open_files(server), within=15.0)
        with exhausted(server):
            post = tus.post({"Upload-Length": "5"}, wire=second)
            assert post.status == 503
            assert post.get("Retry-After")
            assert server.said("raise its limit (ulimit -n)"), server.log
            head = tus.head(idle.target, wire=second)
            assert (head.status, head.get("Retry-After") is not None) == (423, True)
            patch = tus.patch(idle.target, 1000, idle.data[1000:2000], wire=second)
            assert patch.status in WAITS
            first.send(running.data[MIB // 2 : MIB // 2 + 1000])
            assert first.is_silent()
        first.send(running.data[MIB // 2 + 1000 :])
        answer = first.response("PATCH")
        assert answer.status in {204, 503}
    for upload in (running, idle):
        upload.complete()


def _open_files(server):
    found = set()
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except OSError:
            continue
    return found
