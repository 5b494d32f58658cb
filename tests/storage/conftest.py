"""Storages on real files, small disks, and workers in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.storage.fakes import opened
from tusserver.storage.pool import FilePool

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def storage(tmp_path):
    """A storage that is open."""
    async with opened(tmp_path) as made:
        yield made


class Worker:
    """Another process on the same store; see `worker.py` for what it does."""

    def __init__(self, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.worker", *map(str, args)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.mailbox = self.read("ready")

    def read(self, word):
        """Wait for a line that begins with `word`, and give the rest."""
        line = self.process.stdout.readline()
        assert line.startswith(word), f"the worker said {line!r}, not {word}"
        return line.removeprefix(word).strip()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start_worker(tmp_path):
    """Start workers on the test's directory; all are ended."""
    workers = []

    def start(*args):
        worker = Worker(tmp_path, *args)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MiB, which needs root."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs a small disk: run the tests as root, with `mount` installed")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk ({mounted.stderr.strip()}): allow CAP_SYS_ADMIN")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
async def threads():
    """Give one thread for file calls."""
    made = FilePool(1, "test")
    yield made
    await made.close()
