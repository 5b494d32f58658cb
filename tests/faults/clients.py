"""Clients that never give up, and hold the server to what it told them."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Self

from tests.support.raw import Tus, WireError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.raw import Response

PATIENCE = 60.0
LONGEST_PAUSE = 0.25
WAITS = frozenset({409, 423, 503, 507})
"""What may be answered in trouble; all but 409 must tell when to come again."""


class Broken(AssertionError):
    """The server did what it must never do."""


class Refused(Exception):
    """The server told to come again later."""


def create(tus: Tus, length: int) -> str:
    """Create an upload; give its path. Raises: Refused."""
    answer = tus.post({"Upload-Length": str(length)})
    if answer.status == 201:
        return tus.target(answer.get("Location"))
    if answer.status not in WAITS or not answer.get("Retry-After"):
        raise Broken(f"POST was answered {answer}")
    raise Refused(answer.code)


class Upload:
    """One upload: its bytes, and the highest offset that was acknowledged."""

    def __init__(self, tus: Tus, data: bytes) -> None:
        self.tus = tus
        self.data = data
        self.target = create(tus, len(data))
        self.told = 0
        self.refusals: list[int] = []
        """The statuses of trouble that it met."""

    def ask(self) -> Response:
        """Ask by HEAD once: an offset is never below one that was told, and trouble is 423."""
        answer = self.tus.head(self.target)
        if answer.status == 200:
            if answer.offset < self.told:
                raise Broken(f"{answer.offset} was told after {self.told}")
            self.told = answer.offset
        elif answer.status != 423 or not answer.get("Retry-After"):
            raise Broken(f"HEAD was answered {answer}")
        return answer

    def offset(self) -> int:
        """Ask until an offset is told."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if (answer := self.ask()).status == 200:
                    return answer.offset
                self.refusals.append(answer.status)
            except (OSError, WireError) as error:
                answer = error
            if time.monotonic() > deadline:
                raise Broken(f"no offset was told any more: {answer}")
            time.sleep(LONGEST_PAUSE)

    def send(self, size: int | None = None, *, offset: int | None = None) -> Response:
        """Send the next bytes, or all that are missing, in one PATCH."""
        begin = self.told if offset is None else offset
        end = len(self.data) if size is None else min(len(self.data), begin + size)
        answer = self.tus.patch(self.target, begin, self.data[begin:end])
        if answer.status == 204:
            self.told = max(self.told, answer.offset)
        elif answer.status not in WAITS:
            raise Broken(f"PATCH was answered {answer}")
        elif answer.status != 409 and not answer.get("Retry-After"):
            raise Broken(f"PATCH was answered {answer} without a time to come again")
        return answer

    def complete(self, *, size: int | None = None) -> Self:
        """Send the rest, in pieces of a size, through whatever happens; see that it is right."""
        deadline = time.monotonic() + PATIENCE
        offset = self.offset()
        while offset < len(self.data):
            if time.monotonic() > deadline:
                raise Broken(f"it came no further than {offset}")
            try:
                answer = self.send(size, offset=offset)
            except (OSError, WireError):
                offset = self.offset()
                continue
            if answer.status == 204:
                offset = answer.offset
                continue
            self.refusals.append(answer.status)
            if answer.status != 409:
                time.sleep(min(float(answer.get("Retry-After")), LONGEST_PAUSE))
            offset = self.offset()
        return self.check()

    def check(self) -> Self:
        """Prove that what the server has is what was sent, once it can be read."""
        deadline = time.monotonic() + PATIENCE
        while (answer := self._fetch()) is None:
            if time.monotonic() > deadline:
                raise Broken("it cannot be read any more")
            time.sleep(LONGEST_PAUSE)
        if answer.status != 200 or digest(answer.body) != digest(self.data):
            raise Broken(f"other bytes came back: {answer.status}, {len(answer.body)} bytes")
        return self

    def _fetch(self) -> Response | None:
        """Download it; None if that has to be tried again."""
        try:
            answer = self.tus.get(self.target)
        except (OSError, WireError):
            return None
        return None if answer.status == 503 and answer.get("Retry-After") else answer


class Crowd:
    """Clients side by side, each with one upload after the other, until they are told to end."""

    def __init__(self, tus: Tus, sources: Sequence[bytes], *, size: int) -> None:
        """Send these bytes again and again, in pieces of a size."""
        self._tus = tus
        self._size = size
        self._over = threading.Event()
        self._fault: BaseException | None = None
        self.finished: list[Upload] = []
        self._clients = [
            threading.Thread(target=self._run, args=(data,), daemon=True) for data in sources
        ]
        for client in self._clients:
            client.start()

    def _run(self, data: bytes) -> None:
        try:
            while not self._over.is_set():
                upload = self._create(data)
                self.finished.append(upload.complete(size=self._size))
        except BaseException as error:  # noqa: BLE001 - it is raised where the crowd is awaited
            self._fault = error
            self._over.set()

    def _create(self, data: bytes) -> Upload:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return Upload(self._tus, data)
            except (OSError, WireError, Refused) as error:
                if time.monotonic() > deadline:
                    raise Broken(f"nothing can be created any more: {error}") from error
                time.sleep(LONGEST_PAUSE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join(2 * PATIENCE)
        if self._fault is not None:
            raise self._fault

    @property
    def refusals(self) -> set[int]:
        """Give the statuses of trouble that were met."""
        return {status for upload in self.finished for status in upload.refusals}


def digest(data: bytes) -> str:
    """Name bytes."""
    return hashlib.sha256(data).hexdigest()
