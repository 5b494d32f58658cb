"""Many clients at one server of three workers that are stopped, killed and replaced meanwhile."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from tests.faults.crowd import EXPIRY, Client
from tests.process.program import Program
from tests.support.waiting import eventually

CLIENTS = 8
WORKERS = 3


class Trouble(threading.Thread):
    """Lets workers stand still for a while, kills them, and has the program begin anew."""

    def __init__(self, program, dice):
        super().__init__(name="trouble")
        self._program, self._dice = program, dice
        self.over = threading.Event()
        self.counts = Counter()

    def run(self):
        dice, choices = self._dice, ["stop"]
        while not self.over.wait(dice.uniform(0.3, 1.0)):
            workers = self._program.workers()
            if not workers:
                continue
            what = dice.choice(choices)
            choices = ["stop", "stop", "stop two", "kill", "begin anew"]
            self.counts[what] += 1
            with suppress(ProcessLookupError):
                if what.startswith("stop"):
                    self._suspend(dice.sample(workers, min(len(workers), 1 + ("two" in what))))
                elif what == "kill":
                    os.kill(dice.choice(workers), signal.SIGKILL)
                elif dice.random() < 0.3:
                    self._program.process.send_signal(signal.SIGHUP)

    def _suspend(self, workers):
        """Have processes stand still: some for longer than anybody waits for a holder."""
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.over.wait(self._dice.choice([0.2, 0.5, 1.0, 3.5]))
        finally:
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def start(upload_dir, state_url):
    flags = [f"--workers={WORKERS}", f"--state={state_url}", "--max-open=100000"]
    flags += [f"--expire-after={EXPIRY:.0f}s", "--sweep-interval=1s", "--sweep-grace=1s"]
    return Program(*flags, directory=upload_dir)


@pytest.mark.timeout(240)
@pytest.mark.clause("CORE-PATCH-20", "CORE-HEAD-10")
def test_many_clients_at_workers_that_stand_still_and_die_get_their_bytes(
    upload_dir, state_url, *, seed, amount, figures
):
    with start(upload_dir, state_url).ready() as program:
        program.settled(WORKERS)
        clients = [
            Client(program.tus.url, random.Random(f"{seed} {number}"), f"{seed}-{number}")
            for number in range(CLIENTS)
        ]
        trouble = Trouble(program, random.Random(f"{seed} trouble"))
        failures = run_at_once(clients, trouble, seconds=amount(6, 240))
        assert not failures, (failures[0], program.log[-4000:])
        check_all(program, clients)
        assert program.end(signal.SIGTERM) == 0
        assert "Traceback" not in program.log, program.log[-8000:]
    with start(upload_dir, state_url).ready() as program:
        check_all(program, clients)
        assert program.end(signal.SIGTERM) == 0
    counts = sum((Counter(client.counts) for client in clients), Counter())
    figures.update(sorted(counts.items()))
    figures.update({f"workers: {what}": times for what, times in trouble.counts.items()})
    assert counts["completed"] > CLIENTS
    assert trouble.counts["stop"] + trouble.counts["stop two"] > 0


def run_at_once(clients, trouble, *, seconds):
    """Let clients do what they like for a while, then finish; give what went wrong."""
    failures = []

    def run(client):
        try:
            client.run()
        except BaseException as error:  # noqa: BLE001 - it is the verdict
            failures.append(error)

    threads = [threading.Thread(target=run, args=[client]) for client in clients]
    trouble.start()
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not failures:
        time.sleep(0.1)
    for client in clients:
        client.open = False
    trouble.over.set()
    trouble.join()
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive(), "a client hangs"
    return failures


def check_all(program, clients):
    """Compare every byte of what was completed, and look for what is to be gone."""
    tus = program.tus
    for client in clients:
        for upload in client.done:
            upload.check(tus.content(upload.target))
        for final, whole in client.finals:
            assert tus.content(final) == whole
        for upload in client.abandoned:
            assert eventually(partial(is_over, tus, upload), within=30)
            assert upload.complete or eventually(partial(is_away, program, upload), within=20)


def is_over(tus, upload):
    """Tell whether an abandoned upload has expired, or was complete without its client."""
    answer = tus.head(upload.target)
    if answer.status == 200 and answer.offset == upload.length:
        upload.complete = True
        upload.check(tus.content(upload.target))
    return upload.complete or answer.status == 404


def is_away(program, upload):
    """Tell whether no file of an upload is left."""
    return not list(program.uploads.glob(f"??/{upload.target.rpartition('/')[2]}*"))
