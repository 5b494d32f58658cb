"""Wall clocks that jump by a day and back: no upload goes, and none stays for it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.faults.clients import Upload
from tests.hooks.receivers import receiving
from tests.support.raw import Tus
from tests.support.served import Served
from tests.support.waiting import eventually

DAY = 86_400
MIB = 1024 * 1024
SOURCE = Path(__file__).with_name("clock.c")
SHORT_LIVES = ("--expire-after=1h", "--sweep-interval=1s", "--sweep-grace=20s")


class WallClock:
    """The wall clock of the servers that are given its `variables`; the monotonic one is true."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler makes a clock that jumps; remedy: apt-get install gcc")
        library, self._ahead = folder / "clock.so", folder / "ahead"
        words = ["-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]
        subprocess.run([compiler, *words], check=True)
        self.set(0)
        self.variables = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._ahead)}

    def set(self, ahead: int) -> None:
        """Set it ahead of the true time by so many seconds."""
        with self._ahead.open("r+b" if self._ahead.exists() else "w+b") as file:
            file.write(struct.pack("l", ahead))


@pytest.fixture
def clock(tmp_path):
    return WallClock(tmp_path)


@pytest.mark.parametrize("ahead", [DAY, -DAY], ids=["forward", "back"])
def test_a_clock_that_jumps_by_a_day_ends_no_upload(make_server, clock, dice, ahead, state_url):
    server = make_server(*SHORT_LIVES, state=state_url, environment=clock.variables)
    tus = Served(server)
    idle, running = (Upload(tus, dice.randbytes(MIB)) for _ in range(2))
    assert idle.send(1000).status == 204
    with tus.wire() as wire:
        size = {"Content-Length": str(MIB)}
        wire.send(tus.append_message(running.target, 0, running.data[: MIB // 2], size))
        assert tus.holds(running.target, running.data[: MIB // 2])
        clock.set(ahead)
        assert server.said("clock"), server.log
        wire.send(running.data[MIB // 2 :])
        assert wire.response("PATCH").status == 204
    running.check()
    # What is made and finished meanwhile is not older or younger for it.
    Upload(tus, dice.randbytes(1000)).complete()
    assert server.data_file(idle.target).exists()
    if ahead > 0:
        assert tus.head(idle.target).status == 404  # It has expired as far as anybody can tell.
    else:
        assert idle.offset() == 1000
    clock.set(0)
    assert idle.offset() == 1000
    idle.complete()
    running.check()


def test_a_clock_that_went_back_does_not_keep_events(make_server, clock, dice):
    with receiving() as receiver:
        flags = (f"--webhook-url={receiver.url}", "--webhook-events=post-finish")
        server = make_server(*flags, environment=clock.variables)
        tus = Tus(server.url)
        for number, ahead in enumerate((0, -DAY, 0, DAY, 0), 1):
            clock.set(ahead)
            Upload(tus, dice.randbytes(1000)).complete()
            assert eventually(lambda n=number: len(receiver.of("post-finish")) >= n, within=20.0)
