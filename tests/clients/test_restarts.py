"""The service is restarted again and again under load, and no upload fails."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.process.program import Program
from tests.support.raw import Tus, WireError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.raw import Response

UPLOADS = 200
RESTARTS = 5
CLIENTS = 12
DELAYS = (0, 1, 3, 5)
"""The default `retryDelays` of tus-js-client, in seconds."""
PIECES = 4


class UploadFailed(Exception):
    """What a user would see."""


class Uploader:
    """One upload as tus-js-client does it: tried again after each delay, anew after progress."""

    def __init__(self, tus: Tus, data: bytes) -> None:
        self._tus = tus
        self._data = data
        self._left = iter(DELAYS)
        self._target: str | None = None
        self._offset = 0
        self.retries = 0

    def run(self) -> str:
        """Give the path of the upload when it is complete."""
        while True:
            try:
                if self._target is None:
                    answer = self._create()
                elif self.retries:
                    answer = self._ask()
                if self._target is not None:
                    answer = self._send()
                    if answer.offset == len(self._data):
                        return self._target
            except ConnectionRefusedError as exc:
                raise UploadFailed("nobody was listening") from exc
            except (WireError, OSError) as exc:
                self._wait(exc)
            else:
                if answer.status not in {409, 423} and answer.status < 500:
                    raise UploadFailed(f"{answer.status} {answer.body!r}")
                self._wait(answer)

    def _create(self) -> Response:
        answer = self._tus.post({"Upload-Length": str(len(self._data))})
        if answer.status == 201:
            self._target = self._tus.target(answer.get("Location"))
        return answer

    def _ask(self) -> Response:
        answer = self._tus.head(self._target)
        if answer.status == 200:
            if answer.offset > self._offset:
                self._offset, self._left = answer.offset, iter(DELAYS)
        elif answer.status != 423:
            raise UploadFailed(f"HEAD {answer.status}")
        return answer

    def _send(self) -> Response:
        """Send the rest in pieces, so that restarts come in between."""
        rest = self._data[self._offset :]
        fields = {"Content-Length": str(len(rest))}
        with self._tus.wire() as wire:
            wire.send(self._tus.append_message(self._target, self._offset, b"", fields))
            step = len(self._data) // PIECES
            for start in range(0, len(rest), step):
                wire.send(rest[start : start + step])
                time.sleep(0.03)
            return wire.response("PATCH")

    def _wait(self, why: object) -> None:
        self.retries += 1
        delay = next(self._left, None)
        if delay is None:
            raise UploadFailed(f"given up: {why}")
        time.sleep(delay)


class Service:
    """The program, and how it is restarted."""

    def __init__(self, directory: Path, way: str, workers: int) -> None:
        self._directory = directory
        self._way = way
        self._words = [f"--workers={workers}"]
        self._stack = ExitStack()
        self._listener: socket.socket | None = None
        if way == "systemd":
            self._listener = self._stack.enter_context(socket.socket())
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen(1024)
        self._program = self._start().ready()
        self._lives = 1
        self.url = self._program.tus.url

    def _start(self) -> Program:
        made = Program(*self._words, directory=self._directory, activated=self._listener)
        return self._stack.enter_context(made)

    def restart(self) -> None:
        if self._way == "systemd":
            assert self._program.end(signal.SIGTERM) == 0
            self._program = self._start().ready()
            return
        self._lives += 1
        os.kill(self._program.pid, signal.SIGHUP)
        self._program.ready(times=self._lives)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(
    params=[("systemd", 2), ("hangup", 1), ("hangup", 2)],
    ids=lambda param: f"by {param[0]}, workers: {param[1]}",
)
def service(request: pytest.FixtureRequest, upload_dir: Path) -> Iterator[Service]:
    it = Service(upload_dir, *request.param)
    yield it
    it.close()


@pytest.mark.timeout(90)
@pytest.mark.clause("CORE-PATCH-17", "CORE-PATCH-16")
def test_no_upload_fails_while_the_service_is_restarted(service: Service):
    tus = Tus(service.url)
    over = threading.Event()
    finished: list[tuple[str, bytes]] = []
    retries: list[int] = []

    def upload_on(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set() or len(finished) < UPLOADS:
            data = chance.randbytes(chance.randrange(10_000, 100_000))
            uploader = Uploader(tus, data)
            target = uploader.run()
            finished.append((target, hashlib.sha256(data).digest()))
            retries.append(uploader.retries)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(upload_on, seed) for seed in range(CLIENTS)]
        try:
            for _ in range(RESTARTS):
                time.sleep(0.3)
                service.restart()
        finally:
            over.set()
        for client in clients:
            client.result()
    assert len(finished) >= UPLOADS
    assert sum(retries) > 0, "no restart met an upload: nothing was shown"
    for target, digest in finished:
        assert hashlib.sha256(tus.content(target)).digest() == digest
