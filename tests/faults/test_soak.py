"""Hours in small: mixed load with faults, and nothing that grows."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.crowd import EXPIRY, Client, Lost
from tests.process.program import Program
from tests.support.files import files_under, pins_of
from tests.support.raw import WireError
from tests.support.waiting import eventually

CLIENTS = 5
PACE = 0.12
"""Seconds between two requests of a client: this is to last, not to press."""
MEMORY = 10 * 2**20
"""Bytes by which a worker may be larger in the last third than in the second: what stirs."""
DESCRIPTORS = 40
THREADS = 16
SHORTEST = 30
LOOK_SECONDS = 0.5
DAY = 86_400
_MEMORY = re.compile(r"^VmRSS:\s+([0-9]+) kB$", re.MULTILINE)
_THREADS = re.compile(r"^Threads:\s+([0-9]+)$", re.MULTILINE)


class Regular(Client):
    """A client that takes its time, and clears away what it has looked at."""

    def __init__(self, url, dice, name):
        super().__init__(url, dice, name)
        self.removed = 0

    def run(self):
        while self.open:
            if self.dice.random() < 0.15:
                self._concatenate()
            elif (upload := self._create()) is not None:
                self._fill(upload, may_end=True)
            self._clear()
        for wire in self._silent:
            wire.close()

    def _ask(self, method, data):
        time.sleep(self.dice.uniform(0, 2 * PACE))
        return super()._ask(method, data)

    def _clear(self):
        """Compare what was completed, and delete it."""
        while self.done:
            upload = self.done.pop()
            answer = self._patiently("GET", self.tus.message("GET", upload.target))
            assert answer.status == 200, answer
            upload.check(answer.body)
            self._delete(upload.target)
        while self.finals:
            target, whole = self.finals.pop()
            answer = self._patiently("GET", self.tus.message("GET", target))
            assert answer.body == whole, answer
            self._delete(target)

    def _delete(self, target):
        answer = self._patiently("DELETE", self.tus.message("DELETE", target))
        assert answer.status in {204, 404}, answer
        self.removed += 1


class Slow(threading.Thread):
    """A client of a few bytes a second, and one that reads nothing of what it asks for."""

    def __init__(self, tus, over):
        super().__init__(name="slow")
        self._tus, self._over = tus, over

    def run(self):
        while not self._over.is_set():
            with suppress(OSError, WireError, AssertionError, Lost):
                self._once()

    def _once(self):
        whole = self._tus.upload(bytes(4_000_000))
        target = self._tus.create(1000)
        with self._tus.wire() as sender, self._tus.wire() as deaf:
            deaf.send(self._tus.message("GET", whole) * 3)
            message = self._tus.append_message(target, 0, bytes(1000))
            sender.send(message[:-1000])
            for _ in range(60):
                sender.send(b"0")
                if self._over.wait(0.1):
                    break
        for upload in (whole, target):
            self._tus.delete(upload)


@dataclass(frozen=True, slots=True)
class Look:
    """What a worker holds at one moment."""

    at: float
    memory: int
    descriptors: int
    threads: int


def look(pid, begun):
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return Look(
        at=time.monotonic() - begun,
        memory=int(_MEMORY.search(status)[1]) * 1024,
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(_THREADS.search(status)[1]),
    )


def kill_now_and_then(program, survivor, dice, over):
    """Kill workers, all but the one that is looked at."""
    kills = 0
    while not over.wait(dice.uniform(4, 8)):
        for pid in program.workers():
            if pid != survivor:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
    return kills


@pytest.mark.timeout(300)
def test_nothing_grows_while_clients_come_and_go(upload_dir, seed, amount, figures):
    seconds = amount(100, 1800)
    words = ["--workers=2", f"--expire-after={EXPIRY:.0f}s", "--sweep-interval=1s"]
    words += ["--sweep-grace=1s", "--send-timeout=5s", "--max-open=100000"]
    with Program(*words, directory=upload_dir).ready() as program:
        survivor = program.settled(2)[0]
        begun = time.monotonic()
        clients = [
            Regular(program.tus.url, random.Random(f"{seed} {number}"), f"{seed}-{number}")
            for number in range(CLIENTS)
        ]
        looks, kills, failures = load(program, clients, survivor, begun=begun, seconds=seconds)
        assert not failures, (failures[0], program.log[-4000:])
        growth = judge(looks, seconds)
        last = look(survivor, begun)
        if not eventually(lambda: nothing_stays(program), within=30):
            answered = set().union(*(client.answered for client in clients))
            age_what_was_torn(program, answered, most=kills)
            assert eventually(lambda: nothing_stays(program), within=30), left_of(program)
        assert program.end(signal.SIGTERM) == 0
        assert "Traceback" not in program.log, program.log[-8000:]
    counts = sum((Counter(client.counts) for client in clients), Counter())
    figures.update(seconds=seconds, kills=kills, looks=len(looks))
    figures.update(removed=sum(client.removed for client in clients), requests=counts.total())
    figures.update(growth)
    figures["descriptors at the end"] = last.descriptors
    assert kills
    assert counts["completed"]


def load(program, clients, survivor, *, begun, seconds):
    """Have clients at work for so long; give what was seen of the survivor meanwhile."""
    failures, looks, over = [], [], threading.Event()
    kills = []

    def run(work, *given):
        try:
            return work(*given)
        except BaseException as error:  # noqa: BLE001 - it is the verdict
            failures.append(error)

    def kill():
        dice = random.Random("kills")
        kills.append(run(kill_now_and_then, program, survivor, dice, over))

    threads = [threading.Thread(target=run, args=[client.run]) for client in clients]
    threads += [threading.Thread(target=kill), Slow(program.tus, over)]
    for thread in threads:
        thread.start()
    while time.monotonic() - begun < seconds and not failures:
        looks.append(look(survivor, begun))
        time.sleep(LOOK_SECONDS)
    over.set()
    for client in clients:
        client.open = False
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive(), f"{thread.name} hangs"
    return looks, sum(filter(None, kills)), failures


def judge(looks, seconds):
    """Compare the last third with the second: the first is for what is filled only once."""
    assert seconds >= SHORTEST
    middle = [one for one in looks if seconds / 3 <= one.at < seconds * 2 / 3]
    last = [one for one in looks if one.at >= seconds * 2 / 3]
    grown = {}
    for what, allowed in (("memory", MEMORY), ("descriptors", DESCRIPTORS), ("threads", THREADS)):
        before, after = (
            statistics.median(getattr(one, what) for one in part) for part in (middle, last)
        )
        assert after - before <= allowed, f"{what}: {before} became {after}"
        unit = 1024 if what == "memory" else 1
        grown[f"{what} from"], grown[f"{what} to"] = round(before / unit), round(after / unit)
    return grown


def left_of(program):
    """Name what is left of uploads, and what is temporary."""
    uploads = [path.name for path in program.uploads.glob("??/*")]
    temporary = [path.name for path in files_under(program.uploads) if path.suffix == ".tmp"]
    return uploads + pins_of(program.uploads) + temporary


def age_what_was_torn(program, answered, *, most):
    """Have what killed creations left, which has no record, be a day old: then it goes.

    What was answered has its record from then until it is removed.
    """
    torn = {name.partition(".")[0] for name in left_of(program)}
    recorded = {path.stem for path in program.uploads.glob("??/*.meta")}
    assert len(torn) <= most, left_of(program)
    assert not torn & (recorded | answered), left_of(program)
    long_ago = time.time() - 2 * DAY
    for path in files_under(program.uploads):
        if path.name.partition(".")[0] in torn:
            os.utime(path, (long_ago, long_ago))
    # The one that sweeps looks for such things when it begins.
    for pid in program.workers():
        os.kill(pid, signal.SIGKILL)


def nothing_stays(program):
    """Tell whether all has gone: deleted, expired, or made for a client that never knew.

    What was completed for nobody stays; so it is deleted here.
    """
    for path in program.uploads.glob("??/*.meta"):
        program.tus.delete(f"{program.tus.path}{path.stem}")
    return not left_of(program)
