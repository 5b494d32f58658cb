"""The uploader as a user runs it, against real servers, with a state directory of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 18


class Uploader:
    """Runs `tusserver upload` in a folder of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.variables: dict[str, str] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    def file(self, name: str, size: int, *, seed: int = 1) -> bytes:
        """Write a file of random bytes; give them."""
        data = random.Random(seed).randbytes(size)
        (self.folder / name).write_bytes(data)
        return data

    def start(self, *words: str, **options) -> subprocess.Popen[bytes]:
        own = {name: value for name, value in os.environ.items() if "TUSSERVER_" not in name}
        own |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "HOME": str(self.folder)}
        own |= {"XDG_STATE_HOME": str(self.state)} | self.variables
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "tusserver", "upload", *words],
            cwd=self.folder,
            env=own,
            **({"stderr": subprocess.PIPE} | options),
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a test that failed has left running, so that no other test hears of it."""
        for process in self._started:
            process.kill()
            with suppress(BrokenPipeError), process:
                process.wait()

    def ended(self, process: subprocess.Popen[bytes], given: bytes | None = None):
        """Wait for its end; give status, what it printed, and what it told."""
        try:
            printed, told = process.communicate(given, timeout=SECONDS)
        finally:
            process.kill()
        done = subprocess.CompletedProcess(
            process.args, process.returncode, printed.decode(), (told or b"").decode()
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(self, *words: str, given: bytes | None = None):
        if given is None:
            return self.ended(self.start(*words))
        return self.ended(self.start(*words, stdin=subprocess.PIPE), given)

    def urls(self, *words: str, given: bytes | None = None) -> list[str]:
        """Run it to a good end; give the URLs that it prints."""
        done = self.run(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def events(self, *words: str) -> list[dict]:
        return [json.loads(line) for line in self.run(*words, "--json").stdout.splitlines()]

    def bookmarks(self) -> list[Path]:
        return list(self.state.glob("tusserver/uploads/*"))


@pytest.fixture
def uploader(upload_dir: Path) -> Iterator[Uploader]:
    uploader = Uploader(upload_dir)
    yield uploader
    uploader.close()


def content(url: str, **headers: str) -> bytes:
    """Fetch a finished upload."""
    request = Request(url, headers=headers)  # noqa: S310 - of a server of the test
    with urlopen(request, timeout=5) as answer:  # noqa: S310
        return answer.read()


def wait_for(condition, *, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
