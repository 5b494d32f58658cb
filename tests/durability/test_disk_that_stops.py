"""A disk that does not answer: others are served meanwhile, and nothing is lost.

Answers are awaited while it still stands; no test asks how long one takes.
"""

from __future__ import annotations

import hashlib
import random
import threading
import urllib.error
import urllib.request

import pytest

from tests.support.raw import Tus
from tests.support.server import TusServer
from tests.support.stopping import MIB, make_stopping_disk
from tests.support.waiting import eventually

SEED = 20261121
PIECE = 64 * 1024

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk():
    with make_stopping_disk() as made:
        yield made


@pytest.fixture
def start(disk):
    servers = []

    def make(*flags):
        made = TusServer(*flags, upload_dir=disk.mount_point / "uploads")
        servers.append(made)
        return made

    yield make
    disk.go_on()
    for one in servers:
        one.check_log()
        one.close()


class Upload:
    """A large body on its way, at whatever pace it is taken."""

    def __init__(self, tus: Tus, data: bytes) -> None:
        self._tus = tus
        self._data = data
        self.target = tus.create(len(data))
        self.sent = 0
        self.wire = tus.wire(timeout=100)
        whole = tus.append_message(self.target, 0, data)
        self._head = whole[: len(whole) - len(data)]
        self._thread = threading.Thread(target=self._send)
        self.answer = None

    def begin(self) -> None:
        self._thread.start()

    def _send(self) -> None:
        self.wire.send(self._head)
        for start in range(0, len(self._data), PIECE):
            self.wire.send(self._data[start : start + PIECE])
            self.sent += PIECE
        self.answer = self.wire.response("PATCH")

    def stands_still(self) -> bool:
        before = self.sent
        threading.Event().wait(0.3)
        return self.sent == before

    def finish(self):
        self._thread.join()
        self.wire.close()
        return self.answer


def content(server: TusServer, target: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{target}") as answer:
        return answer.read()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def path_of(server: TusServer, path: str) -> int:
    url = f"http://127.0.0.1:{server.port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def check_others(server: TusServer, tus: Tus, other: str, offset: int) -> None:
    """Ask for all that needs no disk, or only to read from memory."""
    for _ in range(5):
        assert path_of(server, "/healthz") == 200
        assert tus.options().status == 204
        head = tus.head(other)
        assert (head.status, head.offset) == (200, offset)


@pytest.mark.parametrize("level", ["process", "normal"])
def test_others_are_answered_while_a_frozen_file_system_takes_no_byte(disk, start, level):
    server = start("--no-loop-writes", "--durability", level)
    tus = Tus(server.url)
    source = random.Random(SEED)
    other = tus.create(1000)
    assert tus.patch(other, 0, b"x" * 300).offset == 300
    pieces = [source.randbytes(40 * MIB) for _ in range(4)]
    uploads = [Upload(tus, data) for data in pieces]
    for one in uploads:
        one.begin()
    assert eventually(lambda: all(one.sent for one in uploads), within=30)
    disk.freeze()
    try:
        assert eventually(lambda: all(one.stands_still() for one in uploads), within=30)
        before = server.rss()
        check_others(server, tus, other, 300)
        assert path_of(server, "/readyz") == 503
        # One that is written to is not told apart from one whose writer is about to write.
        assert tus.head(uploads[0].target).status in {200, 423}
        assert server.rss() - before < 16 * MIB
    finally:
        disk.go_on()
    for one, data in zip(uploads, pieces, strict=True):
        assert one.finish().status == 204
        assert digest(content(server, one.target)) == digest(data)
    assert eventually(lambda: path_of(server, "/readyz") == 200, within=30)


def test_after_a_pause_a_frozen_file_system_does_not_hold_the_loop(disk, start):
    """The same with the settings as they are: then a thread goes first."""
    server = start()
    tus = Tus(server.url)
    other = tus.create(1000)
    assert tus.patch(other, 0, b"x" * 300).offset == 300
    # Until the last write is long ago.
    threading.Event().wait(1)
    disk.freeze()
    # More than there are threads.
    wires = [tus.wire(timeout=100) for _ in range(12)]
    try:
        for wire in wires:
            wire.send(tus.message("POST", None, {"Upload-Length": "10"}))
        check_others(server, tus, other, 300)
        assert all(wire.is_silent() for wire in wires)
        check_others(server, tus, other, 300)
    finally:
        disk.go_on()
    for wire in wires:
        answer = wire.response("POST")
        assert answer.status == 201
        assert tus.offset(tus.target(answer.get("Location"))) == 0
        wire.close()


def test_what_comes_late_to_a_frozen_file_system_is_told_to_come_again(disk, start):
    server = start("--no-loop-writes")
    tus = Tus(server.url)
    other = tus.create(1000)
    post = tus.message("POST", None, {"Upload-Length": "10"})
    disk.freeze()
    waiting = tus.wire(timeout=100)
    try:
        waiting.send(post)

        def is_told() -> bool:
            with tus.wire() as wire:
                wire.send(post)
                if wire.is_silent():
                    return False
                answer = wire.response("POST")
            told = answer.status, answer.code, answer.get("Retry-After")
            return told == (503, "storage_stalled", "5")

        assert eventually(is_told, within=40)
        refused = tus.patch(other, 0, b"x")
        assert (refused.status, refused.code) == (503, "storage_stalled")
        assert tus.head(other).status == 200
        assert server.said("fsfreeze --unfreeze")
    finally:
        disk.go_on()
    answer = waiting.response("POST")
    waiting.close()
    assert answer.status == 201
    assert tus.offset(tus.target(answer.get("Location"))) == 0
    assert eventually(lambda: tus.patch(other, 0, b"x").status == 204, within=30)
    assert tus.offset(other) == 1


def test_others_are_answered_while_the_disk_below_stands_still(disk, start):
    server = start("--durability", "normal")
    tus = Tus(server.url)
    data = random.Random(SEED).randbytes(60 * MIB)
    other = tus.create(1000)
    assert tus.patch(other, 0, b"x" * 300).offset == 300
    upload = Upload(tus, data)
    # Until the last write is long ago.
    threading.Event().wait(1)
    disk.stop()
    upload.begin()
    try:
        # Until the disk is asked for, at the latest by the sync at the end.
        assert eventually(lambda: upload.stands_still() or upload.sent == len(data), within=60)
        check_others(server, tus, other, 300)
        assert upload.answer is None
    finally:
        disk.go_on()
    assert upload.finish().status == 204
    assert digest(content(server, upload.target)) == digest(data)
