"""Real tus clients, each in a process of its own that does one job and tells what happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from tests.support.java import need_java
from tests.support.node import PACKAGES, ROOT, give_up, need_node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

DRIVERS = ROOT / "tests" / "clients"
AT_ONCE = [10] * 100
"""Delays of retries, in milliseconds: many, and hardly any."""


class ClientRun:
    """One client process, from its making until it ends or is killed."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it, with some variables added to those of the environment."""
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A script starts programs of its own, which are to die with it.
            start_new_session=True,
        )
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    # --- what it told

    @property
    def url(self) -> str:
        """Give the URL of the upload, the last one if there were several."""
        return self.urls[-1]

    @property
    def urls(self) -> list[str]:
        """Give every URL once, in order."""
        # A client that uploads in parts only tells the URL of the whole when it is done.
        found = [event["url"] for event in [*self.told("url"), *self.told("success")]]
        return list(dict.fromkeys(found))

    @property
    def progress(self) -> int:
        """Give the bytes that the client believes to have sent."""
        return max((event["bytes"] for event in self.told("progress")), default=0)

    @property
    def errors(self) -> str:
        """Give what it wrote to the standard error output."""
        return "\n".join(self._errors)

    def told(self, name: str) -> list[dict[str, Any]]:
        """Give the events of a name."""
        return [event for event in list(self.events) if event["event"] == name]

    def statuses(self, method: str) -> list[int]:
        """Give the statuses of the answers to a method, where the client tells them."""
        return [event["status"] for event in self.told("answer") if event["method"] == method]

    # --- its life

    def wait_for(self, name: str, *, within: float = 15.0) -> dict[str, Any]:
        """Wait for the first event of a name."""
        deadline = time.monotonic() + within
        with self._changed:
            while not (found := self.told(name)):
                left = deadline - time.monotonic()
                if left <= 0 or (not self.is_running and not self._readers[0].is_alive()):
                    raise AssertionError(f"no {name} from the client:\n{self.account()}")
                self._changed.wait(min(left, 0.1))
        return found[0]

    def finish(self, *, within: float = 60.0) -> Self:
        """Wait until it has succeeded."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the client takes too long:\n{self.account()}") from None
        self._join()
        assert self._process.returncode == 0, self.account()
        assert self.told("success"), self.account()
        return self

    def fail(self, *, within: float = 60.0) -> dict[str, Any]:
        """Wait until it has given up; give its error."""
        self._process.wait(within)
        self._join()
        assert self._process.returncode != 0, self.account()
        return self.told("error")[-1]

    def settle(self, *, within: float = 60.0) -> Self:
        """Wait until it has ended, with or without success."""
        self._process.wait(within)
        self._join()
        return self

    @property
    def is_running(self) -> bool:
        """Tell whether the process is there."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill it with SIGKILL, as an operating system kills an app. Does nothing twice."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._join()

    def account(self) -> str:
        """Tell the last of what happened, for people."""
        events = [json.dumps(event) for event in self.events[-40:]]
        return "\n".join([*events, *self._errors[-40:]])

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.events.append(json.loads(line))
                    self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._errors.extend(line.rstrip() for line in lines)


def tus_js(
    endpoint: str,
    file: Path,
    *,
    stream: bool = False,
    storage: Path | None = None,
    resume: bool = False,
    abort_after: int | None = None,
    terminate: bool = False,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> ClientRun:
    """Upload with tus-js-client; `options` are its own, by their own names.

    `stream`: the client is not told the size of the file. `resume`: go on with what `storage`
    knows. `abort_after`: abort, and with `terminate` delete, once so many bytes were sent.
    """
    job = {
        "file": str(file),
        "stream": stream,
        "storage": None if storage is None else str(storage),
        "resume": resume,
        "abortAfter": abort_after,
        "terminate": terminate,
        "options": {"endpoint": endpoint, "retryDelays": AT_ONCE} | options,
    }
    command = [need_node(), str(DRIVERS / "driver.mjs"), str(PACKAGES), json.dumps(job)]
    return ClientRun(command, environment)


def tuspy(
    endpoint: str,
    file: Path,
    *,
    asynchronous: bool = False,
    storage: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> ClientRun:
    """Upload with tuspy; `options` are those of its uploader. With `storage` it resumes."""
    job = {
        "endpoint": endpoint,
        "file": str(file),
        "asynchronous": asynchronous,
        "storage": None if storage is None else str(storage),
        "options": {"retries": 100, "retry_delay": 0.01} | options,
    }
    command = [sys.executable, "-W", "ignore", str(DRIVERS / "driver_tuspy.py"), json.dumps(job)]
    return ClientRun(command, environment)


def tus_java(
    endpoint: str,
    file: Path,
    *,
    storage: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **options: int,
) -> ClientRun:
    """Upload with tus-java-client; with `storage` it resumes.

    `options`: `chunk` (bytes in a piece of the body, 2 MiB), `request` (bytes in a body, 10 MiB),
    `delay` (milliseconds before a retry).
    """
    words = [f"{name}={value}" for name, value in options.items()]
    if storage is not None:
        words.append(f"storage={storage}")
    return ClientRun([*need_java(), endpoint, str(file), *words], environment)


def curl(
    endpoint: str,
    file: Path,
    *,
    storage: Path | None = None,
    environment: Mapping[str, str] | None = None,
    body: Sequence[str] = ("-T", "-"),
) -> ClientRun:
    """Upload with a script around curl, which is given `body` for the body on its standard input.

    With `storage` it resumes.
    """
    need_curl()
    script = ["sh", str(DRIVERS / "upload.sh"), endpoint, str(file)]
    return ClientRun([*script, "" if storage is None else str(storage), *body], environment)


def need_curl() -> None:
    """Skip the test where there is no curl."""
    if shutil.which("curl") is None:
        give_up("no curl found; remedy: apt-get install curl")
