"""Whether the loop may write: a disk that answers, hangs, and answers again."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.waiting import eventually
from tusserver.errors import StorageStalled
from tusserver.storage.pulse import STALLED_SECONDS, Pulse


class Disk:
    """Holds back the writes of threads when told to; the clock is moved by hand."""

    def __init__(self, monkeypatch):
        self.goes = threading.Event()
        self.goes.set()
        self.now = 100.0
        real = os.pwrite

        def write(descriptor, data, offset):
            assert self.goes.wait(20)
            return real(descriptor, data, offset)

        monkeypatch.setattr(os, "pwrite", write)

    def clock(self):
        return self.now


@pytest.fixture
def disk(monkeypatch):
    made = Disk(monkeypatch)
    yield made
    made.goes.set()


@pytest.fixture
def pulse(disk, tmp_path):
    made = Pulse(clock=disk.clock)
    made.open(tmp_path)
    yield made
    disk.goes.set()
    made.close()


def test_after_a_pause_a_thread_writes_first(pulse, disk):
    assert pulse.is_steady(disk.now)
    disk.now += 60
    assert not pulse.is_steady(disk.now)
    assert eventually(lambda: pulse.is_steady(disk.now), within=10)
    disk.now += 60
    disk.goes.clear()
    assert not pulse.is_steady(disk.now)
    disk.goes.set()
    assert eventually(lambda: pulse.is_steady(disk.now), within=10)


def test_the_loop_stays_away_once_a_write_hangs(pulse, disk):
    assert pulse.is_steady(disk.now)
    disk.goes.clear()
    for _ in range(40):
        disk.now += 0.05
        steady = pulse.is_steady(disk.now)
    assert not steady
    disk.goes.set()
    assert eventually(lambda: pulse.is_steady(disk.now), within=10)


def test_nothing_new_is_begun_while_a_write_hangs_for_long(pulse, disk, caplog):
    disk.goes.clear()
    disk.now += 1
    pulse.check()
    disk.now += STALLED_SECONDS - 0.1
    pulse.check()
    disk.now += 0.2
    for _ in range(3):
        with pytest.raises(StorageStalled):
            pulse.check()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "fsfreeze --unfreeze" in caplog.text
    disk.goes.set()
    assert eventually(lambda: "answers again" in caplog.text, within=10)
    # The other beat may have said so, and either says it before it is through.
    assert eventually(lambda: pulse._beats[0].hangs(disk.now) == 0, within=10)
    pulse.check()


def test_what_is_not_trusted_is_never_steady_and_watched_all_the_same(disk, tmp_path):
    pulse = Pulse(is_trusted=False, clock=disk.clock)
    assert not pulse.is_steady(disk.now)
    pulse.open(tmp_path)
    disk.goes.clear()
    disk.now += 1
    pulse.check()
    disk.now += STALLED_SECONDS
    with pytest.raises(StorageStalled):
        pulse.check()
    disk.goes.set()
    pulse.close()


def test_nothing_is_left_in_the_directory(pulse, disk, tmp_path):
    assert eventually(lambda: pulse.is_steady(disk.now), within=10)
    assert list(tmp_path.iterdir()) == []


def test_an_end_does_not_wait_for_a_disk_that_hangs(disk, tmp_path):
    pulse = Pulse(clock=disk.clock)
    pulse.open(tmp_path)
    disk.goes.clear()
    disk.now += 60
    assert not pulse.is_steady(disk.now)
    pulse.close()
    assert not disk.goes.is_set()
