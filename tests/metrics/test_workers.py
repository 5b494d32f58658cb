"""Several workers count as one, whoever is asked, and whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.metrics.reading import page, read
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.waiting import eventually
from tusserver.metrics.sharing import PARENT, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import TusServer

READINGS = 12
"""So many, each on a connection of its own, are very likely answered by both workers."""


def workers_of(server: TusServer) -> set[int]:
    task = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return {int(pid) for pid in task.read_text(encoding="ascii").split()}


def directory_of(server: TusServer) -> Path:
    worker = min(workers_of(server))
    maps = Path(f"/proc/{worker}/maps").read_text(encoding="ascii")
    return Path(next(line.split()[-1] for line in maps.splitlines() if PREFIX in line)).parent


@pytest.fixture
def server(make_server: Callable[..., TusServer]) -> TusServer:
    server = make_server("--workers", "2")
    assert eventually(lambda: read(server)("workers") == 2)
    return server


def test_any_worker_tells_what_all_have_counted(server):
    tus = Tus(server.url)
    for _ in range(20):
        tus.upload(b"hello")
    readings = [read(server) for _ in range(READINGS)]
    assert {one("uploads_created_total", kind="single") for one in readings} == {20}
    assert {one("received_bytes_total") for one in readings} == {100}
    assert {one("requests_total", method="PATCH", status="204") for one in readings} == {20}
    assert {one("request_duration_seconds_count", method="POST") for one in readings} == {20}


def test_a_worker_that_is_killed_takes_no_counts_with_it(server):
    tus = Tus(server.url)
    created = 0
    for _ in range(3):
        for _ in range(8):
            tus.upload(b"hello")
            created += 1
        for pid in workers_of(server):
            before = workers_of(server)
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda before=before: len(workers_of(server) - before) == 1)
        assert eventually(lambda: read(server)("workers") == 2)
        assert read(server)("uploads_created_total", kind="single") == created
        assert read(server)("received_bytes_total") == 5 * created
    # Whoever follows a dead one writes on in its files.
    assert len(list(directory_of(server).glob("counter_*.db"))) <= 3


def test_an_append_that_died_with_its_worker_does_not_run_any_more(server):
    tus = Tus(server.url)
    target = tus.create(1000)
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "1000"}
    with tus.wire() as wire:
        wire.send(tus.message("PATCH", target, fields) + bytes(400))
        assert eventually(lambda: read(server)("received_bytes_total") == 400)
        assert read(server)("appends_running") == 1
        for pid in workers_of(server):
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: _is_up(server))
        assert eventually(lambda: read(server)("appends_running") == 0)
        assert read(server)("received_bytes_total") == 400


def _is_up(server: TusServer) -> bool:
    try:
        return page(server).status == 200
    except OSError:
        return False


def test_nothing_is_left_in_memory_when_the_server_has_stopped(server):
    directory = directory_of(server)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert server.terminate() == 0
    assert not directory.exists()


def test_what_a_killed_server_left_is_removed_by_the_next_one(make_server):
    first = make_server("--workers", "2")
    directory = directory_of(first)
    first.kill()
    assert directory.exists()
    assert eventually(lambda: not _has_processes(directory))
    make_server("--workers", "2")
    assert not directory.exists()


def _has_processes(directory: Path) -> bool:
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if str(directory) in maps.read_text(encoding="utf-8", errors="replace"):
                return True
        except OSError:
            continue
    return False


def test_a_server_that_runs_keeps_its_counts_when_another_one_starts(server, make_server):
    tus = Tus(server.url)
    tus.upload(b"hello")
    make_server("--workers", "2")
    assert read(server)("uploads_created_total", kind="single") == 1


# --- the parts ------------------------------------------------------------------------------


LIVES = """
import os, sys, time
from pathlib import Path
from tusserver.metrics.sharing import VARIABLE, share
with share():
    directory = Path(os.environ[VARIABLE])
    if sys.argv[1] == "first":
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            os.read(reader, 1)
            assert directory.is_dir(), "the child removed it"
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-1], str(directory)])
    else:
        assert str(directory) == sys.argv[1], "the second life has another one"
        print("went on")
if sys.argv[1] == "first":
    os.close(writer)
    time.sleep(1)  # A worker outlives the process that its parent was.
else:
    assert not directory.exists() and VARIABLE not in os.environ
"""


def test_the_directory_outlives_forked_children_and_a_process_that_replaces_itself():
    done = subprocess.run(
        [sys.executable, "-c", LIVES, "first"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


def test_a_server_that_starts_anew_keeps_its_counts(server):
    Tus(server.url).upload(b"hello")
    before = workers_of(server)
    server.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: not workers_of(server) & before, within=15)
    assert eventually(lambda: _is_up(server) and read(server)("workers") == 2)
    assert read(server)("uploads_created_total", kind="single") == 1


def test_two_processes_never_have_one_seat(tmp_path):
    (tmp_path / PARENT).touch()
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tusserver.metrics.sharing import take_seat\n"
        "print(take_seat(Path(sys.argv[1])), flush=True)\n"
        "time.sleep(30)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        seats = [int(process.stdout.readline()) for process in processes]
        assert sorted(seats) == [0, 1, 2]
        processes[1].kill()
        processes[1].wait()
        again = subprocess.run(
            [sys.executable, "-c", code.replace("30", "0"), str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(again.stdout) == seats[1]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
