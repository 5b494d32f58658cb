"""Power cuts for real: an ext4 image whose journal is dropped by the shutdown ioctl.

What no fsync covered is gone after it, exactly as after a cut. Needs root and loop devices.
"""

from __future__ import annotations

import hashlib
import random
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.disk import made_disk
from tests.support.raw import Tus
from tests.support.server import TusServer

if TYPE_CHECKING:
    from tests.support.disk import Disk

SEED = 20261121

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk():
    with made_disk() as made:
        yield made


class Lives:
    """A server that is started in one life of the machine after the other."""

    def __init__(self, disk: Disk, *flags: str) -> None:
        self.disk = disk
        self.flags = flags
        self.life = 0
        self.boot_id = disk.image.with_name("boot-id")
        self.begin()

    def begin(self) -> None:
        self.life += 1
        self.boot_id.write_text(f"life-{self.life}")
        self.server = TusServer(
            *self.flags,
            upload_dir=self.disk.mount_point / "uploads",
            environment={"TUSSERVER_BOOT_ID_FILE": str(self.boot_id)},
        )
        self.tus = Tus(self.server.url)

    def cut_power(self) -> None:
        self.server.kill()
        self.disk.cut_power()
        self.server.close()
        self.begin()


@pytest.fixture
def lives(disk, request):
    flags = getattr(request, "param", ())
    made = Lives(disk, *flags)
    yield made
    made.server.close()


def fetch(server: TusServer, target: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{target}") as answer:
        return answer.read()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_was_answered_as_complete_is_there_after_a_power_cut(lives):
    source = random.Random(SEED)
    for _ in range(3):
        whole = {}
        for size in (0, 1, 4096, 300_000, 5_000_000):
            data = source.randbytes(size)
            target = lives.tus.create(size)
            if size:
                assert lives.tus.patch(target, 0, data[: size // 2]).status == 204
                assert lives.tus.patch(target, size // 2, data[size // 2 :]).status == 204
            whole[target] = data
        lives.cut_power()
        for target, data in whole.items():
            assert digest(fetch(lives.server, target)) == digest(data)


def test_a_large_upload_whose_bytes_the_disk_began_with_early_is_there(lives):
    data = random.Random(SEED).randbytes(41_000_000)
    target = lives.tus.upload(data)
    lives.cut_power()
    assert digest(fetch(lives.server, target)) == digest(data)


def test_what_was_completed_at_the_same_time_is_there_after_a_power_cut(lives):
    source = random.Random(SEED)
    pieces = [source.randbytes(size) for size in (1, 5_000, 9_000_000, 100_000) * 6]
    with ThreadPoolExecutor(len(pieces)) as senders:
        targets = list(senders.map(lambda data: Tus(lives.server.url).upload(data), pieces))
    lives.cut_power()
    for target, data in zip(targets, pieces, strict=True):
        assert digest(fetch(lives.server, target)) == digest(data)


def test_an_unfinished_upload_goes_on_after_a_power_cut_and_no_byte_is_wrong(lives):
    source = random.Random(SEED)
    for _ in range(3):
        data = source.randbytes(2_000_000)
        target = lives.tus.create(len(data))
        lives.tus.patch(target, 0, data[:1_200_000])
        lives.cut_power()
        answer = lives.tus.head(target)
        if answer.status == 404:
            continue  # made in the last seconds: made anew
        assert answer.offset in {0, 1_200_000}
        assert lives.tus.patch(target, answer.offset, data[answer.offset :]).status == 204
        assert digest(fetch(lives.server, target)) == digest(data)


@pytest.mark.parametrize("lives", [("--durability", "strict")], indirect=True, ids=["strict"])
def test_strict_loses_no_acknowledged_byte(lives):
    source = random.Random(SEED)
    for _ in range(3):
        data = source.randbytes(2_000_000)
        target = lives.tus.create(len(data))
        lives.cut_power()
        assert lives.tus.offset(target) == 0
        assert lives.tus.patch(target, 0, data[:1_200_000]).offset == 1_200_000
        lives.cut_power()
        assert lives.tus.offset(target) == 1_200_000
        for offset in range(1_200_000, 1_600_000, 100_000):
            # Right after the one before: the names of its files are not synced again.
            assert lives.tus.patch(target, offset, data[offset : offset + 100_000]).status == 204
        lives.cut_power()
        assert lives.tus.offset(target) == 1_600_000
        assert lives.tus.patch(target, 1_600_000, data[1_600_000:]).status == 204
        assert digest(fetch(lives.server, target)) == digest(data)


@pytest.mark.parametrize("lives", [("--durability", "strict")], indirect=True, ids=["strict"])
def test_strict_brings_back_nothing_whose_removal_was_answered(lives):
    source = random.Random(SEED)
    whole, half = lives.tus.upload(source.randbytes(300_000)), lives.tus.create(1000)
    assert lives.tus.patch(half, 0, bytes(500)).status == 204
    for target in (whole, half):
        assert lives.tus.delete(target).status == 204
    lives.cut_power()
    for target in (whole, half):
        assert lives.tus.head(target).status == 404


def test_a_graceful_stop_leaves_nothing_to_a_power_cut(lives):
    data = random.Random(SEED).randbytes(2_000_000)
    target = lives.tus.create(len(data))
    assert lives.tus.patch(target, 0, data[:1_200_000]).offset == 1_200_000
    assert lives.server.terminate() == 0
    lives.cut_power()
    assert lives.tus.offset(target) == 1_200_000


def test_a_joined_upload_is_there_after_a_power_cut(lives):
    source = random.Random(SEED)
    pieces = [source.randbytes(700_000) for _ in range(3)]
    partial = {"Upload-Concat": "partial"}
    parts = [lives.tus.upload(piece, partial) for piece in pieces]
    answer = lives.tus.post({"Upload-Concat": f"final;{' '.join(parts)}"})
    assert answer.status == 201
    final = lives.tus.target(answer.get("Location"))
    lives.cut_power()
    assert digest(fetch(lives.server, final)) == digest(b"".join(pieces))


@pytest.mark.parametrize("lives", [("--durability", "process")], indirect=True, ids=["process"])
def test_without_syncs_the_cut_takes_what_was_complete(lives):
    """The control: these tests can fail, and `process` promises nothing about power."""
    data = random.Random(SEED).randbytes(300_000)
    target = lives.tus.upload(data)
    lives.cut_power()
    answer = lives.tus.head(target)
    lost = answer.status == 404 or digest(fetch(lives.server, target)) != digest(data)
    assert lost
