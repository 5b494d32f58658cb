"""A client that knows what it may be told: it makes uploads of one kind until the run is over."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.faults.model import BUFFERS, MOST_AGAIN, Upload
from tests.faults.stream import content, first_difference
from tests.faults.world import PATIENCE, Over
from tests.support.raw import OFFSET_STREAM, Response, Wire, WireError, kept

if TYPE_CHECKING:
    from tests.faults.world import World

PASSING = {423, 503}
"""What may be answered while something else goes on: ask again."""


class Lost(Exception):
    """No answer came: what the server did with the request is not known."""


class Gone(Exception):
    """The upload is not there any more, and may not be."""


class Client:
    """One thread with one connection; `kinds` gives its subclasses."""

    kind = "plain"

    def __init__(self, world: World, seed: str) -> None:
        self.world = world
        self.seed = seed
        self.dice = random.Random(seed)
        self._wire: Wire | None = None
        self._made = 0
        self.kept: list[Upload] = []
        """Complete uploads that are looked at again in later lives."""
        self.thread = threading.Thread(target=self._run, name=f"{self.kind} {seed}", daemon=True)

    # --- its life

    def _run(self) -> None:
        try:
            while not self.world.ending.is_set():
                try:
                    self.scenario()
                    self.look_back()
                except (Gone, Lost):
                    continue
                time.sleep(self.dice.random() * 0.02)
        except Over:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by whoever runs the clients
            self.world.fail(error)
        finally:
            self.drop()

    def scenario(self) -> None:
        """Do what this kind of client does, once."""
        upload = self.create(self.any_length())
        self.fill(upload)

    def look_back(self) -> None:
        """Look at an old upload again, and now and then remove it."""
        if len(self.kept) > 3:
            upload = self.kept.pop(self.dice.randrange(len(self.kept)))
            self.verify(upload)
            if self.dice.random() < 0.9:
                self.remove(upload)

    def any_length(self) -> int:
        roll = self.dice.random()
        if roll < 0.1:
            return self.dice.randrange(3)
        if roll < 0.6:
            return self.dice.randrange(1, 20_000)
        return self.dice.randrange(1, 1_500_000)

    # --- requests

    def ask(self, method: str, moment: str, message: bytes) -> Response:
        """Send one request and read its answer. Raises: Lost, when none came."""
        self.world.pass_gate()
        begun = time.monotonic()
        wire, self._wire = self._wire or self._connect(), None
        try:
            wire.send(message)
            self.world.sent(moment)
            # A server that is stopped for a while is none that hangs.
            answer = wire.response(method, timeout=PATIENCE)
        except (OSError, WireError) as error:
            wire.close()
            raise Lost from error
        except BaseException:
            wire.close()
            raise
        self.world.lasted(moment, time.monotonic() - begun)
        self._wire = kept(answer, wire)
        if self._wire is None:
            wire.close()
        return answer

    def drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    close = drop

    def _connect(self) -> Wire:
        deadline = time.monotonic() + PATIENCE
        while True:
            self.world.pass_gate()
            if self.world.failures:
                raise Over
            with suppress(OSError):
                if self.world.tus is not None:
                    return self.world.tus.wire()
            if time.monotonic() > deadline:
                raise AssertionError(f"no server for {PATIENCE} s")
            time.sleep(0.01)

    def again(self, answer: Response) -> bool:
        """Tell whether an answer asks for patience."""
        if answer.status in PASSING:
            assert answer.status == 423 or answer.get("Retry-After"), answer
            self.world.count("told to wait")
            time.sleep(0.02)
            return True
        return False

    # --- the verbs

    def create(
        self, length: int, *, partial: bool = False, defer: bool = False, body: int | None = None
    ) -> Upload:
        """Make an upload; one whose answer is lost is made anew."""
        tus = self._tus()
        while True:
            self._made += 1
            seed = f"{self.seed}/{self._made}"
            fields = {"Upload-Defer-Length": "1"} if defer else {"Upload-Length": str(length)}
            if partial:
                fields["Upload-Concat"] = "partial"
            data = b"" if body is None else content(seed, 0, body)
            if body is not None:
                fields["Content-Type"] = OFFSET_STREAM
            moment = "creation" if body is None else "creation with upload"
            since = time.monotonic()
            try:
                answer = self.ask("POST", moment, tus.message("POST", None, fields, data))
            except Lost:
                self.world.count("creations without an answer")
                self._stop_when_over()
                continue
            if self.again(answer):
                continue
            assert answer.status == 201, answer
            target = tus.target(answer.get("Location") or "")
            upload = Upload(seed, length, self.world.promise, target, self.kind, partial=partial)
            upload.touched = since
            upload.sent = len(data)
            self.world.add(upload)
            upload.tell(length if length == 0 and not defer else answer.offset or 0)
            if data:
                assert upload.told == len(data), answer
            return upload

    def head(self, upload: Upload) -> int:
        """Ask for the offset. Raises: Gone."""
        tus = self._tus()
        while True:
            # Somebody else may remove it for good before the answer is read.
            since, undone = time.monotonic(), upload.undone
            try:
                answer = self.ask("HEAD", "head", tus.message("HEAD", upload.target))
            except Lost:
                continue
            if answer.status == 404:
                upload.miss(since=since)
                raise Gone
            if answer.status == 423:
                time.sleep(0.02)
                continue
            assert answer.status == 200, (upload.target, answer)
            assert answer.offset is not None, answer
            if not undone:
                upload.tell(answer.offset)
            return answer.offset

    def patch(
        self, upload: Upload, size: int, fields: dict[str, str] | None = None
    ) -> Response | None:
        """Send a body where the server stands; None if it got no answer, or one to wait."""
        start = upload.told
        stop = min(upload.length, start + size)
        data = content(upload.seed, start, stop)
        since = time.monotonic()
        upload.lost(stop)
        cuts = upload.cuts
        is_last = stop == upload.length
        moment = self.moment(is_last=is_last)
        message = self._tus().append_message(upload.target, start, data, fields)
        try:
            answer = self.ask("PATCH", moment, message)
        except Lost:
            self.resent(upload, stop, cuts)
            return None
        return self.appended(upload, answer, stop, since)

    def moment(self, *, is_last: bool) -> str:
        return "last bytes" if is_last else "bytes"

    def appended(
        self, upload: Upload, answer: Response, stop: int, since: float
    ) -> Response | None:
        """Take the answer to a PATCH."""
        if self.again(answer):
            return None
        if answer.status == 404:
            upload.miss(since=since)
            raise Gone
        if answer.status == 409:
            # A body that got no answer went on at a worker that lives after HEAD had told.
            self.head(upload)
            return None
        assert answer.status == 204, (upload.target, answer)
        assert answer.offset == stop, (upload.target, answer, stop)
        upload.tell(stop, since=since)
        return answer

    def resent(self, upload: Upload, sent: int, cuts: int) -> None:
        """Ask how much of a body that got no answer has to be sent again."""
        again = sent - self.head(upload)
        if upload.cuts != cuts:
            self.world.most_of("sent again after a power cut, KiB", again // 1024)
            return
        self.world.most_of("sent again, KiB", again // 1024)
        if again > MOST_AGAIN + BUFFERS:
            raise upload.wrong(f"{again} bytes have to be sent again")

    def fill(self, upload: Upload, *, keep: bool = True) -> Upload:
        """Send what is missing, in bodies of any size, over all deaths of the server."""
        while not upload.complete:
            self.patch(upload, self.any_size(upload))
        self.completed(upload, keep=keep)
        return upload

    def any_size(self, upload: Upload) -> int:
        missing = upload.length - upload.told
        return missing if self.dice.random() < 0.5 else self.dice.randrange(missing + 1)

    def completed(self, upload: Upload, *, keep: bool = True) -> None:
        self.world.count("uploads completed")
        self.world.count(f"{self.kind} uploads")
        if self.dice.random() < 0.3:
            self.verify(upload)
        if keep:
            self.kept.append(upload)

    def verify(self, upload: Upload) -> None:
        """Compare what is downloaded with what was sent."""
        tus = self._tus()
        while True:
            since = time.monotonic()
            try:
                answer = self.ask("GET", "download", tus.message("GET", upload.target))
            except Lost:
                continue
            if answer.status == 423 or self.again(answer):
                continue
            if answer.status == 404:
                upload.miss(since=since)
                raise Gone
            assert answer.status == 200, (upload.target, answer.status, answer.body[:200])
            break
        expected = expected_content(upload)
        if answer.body != expected:
            raise upload.wrong(first_difference(answer.body, expected))
        self.world.count("downloads compared")

    def remove(self, upload: Upload) -> None:
        """Terminate an upload, over all deaths of the server; then it is gone for good."""
        tus = self._tus()
        upload.removing = True
        while True:
            try:
                answer = self.ask("DELETE", "termination", tus.message("DELETE", upload.target))
            except Lost:
                continue
            if self.again(answer):
                continue
            if answer.status == 409:
                return  # A part that an assembly still needs.
            assert answer.status in {204, 404}, (upload.target, answer)
            break
        # Redis may know that it was removed while its files are still there.
        record = self.world.ledger(upload.upload_id)
        is_off_the_disk = not record or "status=removed" in record
        upload.settled = upload.undone and answer.status == 404 and is_off_the_disk
        upload.removed = True
        upload.undone = False
        self.world.count("terminations")

    def is_gone(self, upload: Upload) -> None:
        """Look for an upload that was removed. It must not be back."""
        with suppress(Gone):
            self.head(upload)

    def _tus(self):
        tus = self.world.tus
        assert tus is not None, "clients start after the server"
        return tus

    def _stop_when_over(self) -> None:
        if self.world.ending.is_set():
            raise Over


def expected_content(upload: Upload) -> bytes:
    """Give what an upload must hold."""
    if upload.parts:
        return b"".join(content(part.seed, 0, part.length) for part in upload.parts)
    return content(upload.seed, 0, upload.length)


def checksum(data: bytes, algorithm: str) -> dict[str, str]:
    """Give the header that announces the digest of a body."""
    digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    return {"Upload-Checksum": f"{algorithm} {digest}"}
