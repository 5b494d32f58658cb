"""The kinds of clients: each fills, joins, removes or leaves uploads in its own way."""

from __future__ import annotations

import time
from contextlib import suppress

from tests.faults.client import Client, Gone, Lost, checksum
from tests.faults.model import MIB, Upload, Wrong
from tests.faults.stream import content
from tests.support.raw import OFFSET_STREAM, WireError


class Large(Client):
    """Bodies that are committed on the way: checkpoints, window, background sync."""

    kind = "large"

    def any_length(self) -> int:
        return self.dice.randrange(8 * MIB, 40 * MIB)

    def any_size(self, upload: Upload) -> int:
        return upload.length - upload.told


class WithChecksum(Client):
    """Bodies that count whole or not at all."""

    kind = "checksum"

    def scenario(self) -> None:
        upload = self.create(max(1, self.any_length()))
        upload.steps = {0}
        while not upload.complete:
            size = self.any_size(upload)
            stop = upload.told + size
            data = content(upload.seed, upload.told, stop)
            algorithm = self.dice.choice(["sha1", "sha256", "md5"])
            upload.steps.add(stop)
            self.patch(upload, size, checksum(data, algorithm))
        self.completed(upload)

    def moment(self, *, is_last: bool) -> str:
        return "last bytes with a checksum" if is_last else "bytes with a checksum"


class Deferred(Client):
    """The length is told with the last bytes."""

    kind = "deferred"

    def scenario(self) -> None:
        upload = self.create(max(1, self.any_length()), defer=True)
        while not upload.complete:
            if self.dice.random() < 0.5:
                fields = {"Upload-Length": str(upload.length)}
                self.patch(upload, upload.length - upload.told, fields)
            else:
                # Without the length nobody knows that the last one is the last.
                left = upload.length - upload.told - 1
                self.patch(upload, self.dice.randrange(left + 1) if left > 0 else 0)
        self.completed(upload)


class AtOnce(Client):
    """The creation brings bytes: all, or the first."""

    kind = "creation-with-upload"

    def scenario(self) -> None:
        length = max(1, self.any_length())
        whole = self.dice.random() < 0.7
        upload = self.create(length, body=length if whole else self.dice.randrange(1, length + 1))
        self.fill(upload)


class Joining(Client):
    """Parts, some of them twice, some not yet whole, and the upload that joins them."""

    kind = "concatenation"
    JOINED = 5.0
    """Seconds in which parts become one file, mostly."""

    def scenario(self) -> None:
        parts = [
            self.create(self.dice.randrange(1, 400_000), partial=True)
            for _ in range(self.dice.randrange(1, 4))
        ]
        early = self.dice.randrange(len(parts)) if self.dice.random() < 0.3 else len(parts)
        for part in parts[:early]:
            self.fill(part, keep=False)
        joined = [*parts, self.dice.choice(parts)] if self.dice.random() < 0.3 else parts
        final = self._join(joined)
        for part in parts[early:]:
            self.fill(part, keep=False)
        self._await_whole(final)
        self.completed(final)

    def _join(self, parts: list[Upload]) -> Upload:
        tus = self._tus()
        fields = {"Upload-Concat": "final;" + " ".join(part.target for part in parts)}
        length = sum(part.length for part in parts)
        while True:
            since = time.monotonic()
            try:
                answer = self.ask("POST", "joining", tus.message("POST", None, fields))
            except Lost:
                self.world.count("joinings without an answer")
                self._stop_when_over()
                continue
            if self.again(answer):
                # What was made and removed again may come back after a power cut.
                self.world.count("joinings told to wait")
                continue
            if answer.status == 404:
                if any(part.may_be_gone() for part in parts):
                    raise Gone
                complete = all(part.complete for part in parts)
                what = "404 after it was complete" if complete else "404"
                raise Wrong("one of: " + "; ".join(str(part.wrong(what)) for part in parts))
            assert answer.status == 201, answer
            target = tus.target(answer.get("Location") or "")
            final = Upload("", length, self.world.promise, target, self.kind, parts=parts)
            final.touched = since
            final.sent = length
            return self.world.add(final)

    def _await_whole(self, final: Upload) -> None:
        while not final.complete:
            self._stop_when_over()
            self._head_of(final)

    def remove(self, upload: Upload) -> None:
        """Remove a joined upload: half of them once it is one file, whose finish is told then."""
        deadline = time.monotonic() + (self.JOINED if self.dice.random() < 0.5 else 0)
        while not (upload.joined or upload.removing):
            upload.joined = "assembled=1" in self.world.ledger(upload.upload_id)
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self.world.count(f"joined uploads removed {'as' if upload.joined else 'before'} one file")
        super().remove(upload)

    def _head_of(self, final: Upload) -> None:
        """Ask for the offset of a final upload: there is none before its parts are whole."""
        tus = self._tus()
        since = time.monotonic()
        with suppress(Lost):
            answer = self.ask("HEAD", "head", tus.message("HEAD", final.target))
            if answer.status == 404:
                final.miss(since=since)
                raise Gone
            assert answer.status in {200, 423}, answer
            if answer.status == 200 and answer.offset is not None:
                final.tell(answer.offset)
                return
        time.sleep(0.02)


class Removing(Client):
    """Uploads that are terminated at some point of their life, and looked for again later."""

    kind = "termination"

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._removed: list[Upload] = []

    def scenario(self) -> None:
        upload = self.create(max(1, self.any_length()))
        stage = self.dice.random()
        if stage > 0.3:
            self.patch(upload, self.any_size(upload))
        if stage > 0.6:
            while not upload.complete:
                self.patch(upload, upload.length)
        self.remove(upload)
        self._removed.append(upload)
        self.is_gone(self.dice.choice(self._removed[-20:]))


class Leaving(Client):
    """Uploads that nobody goes on with: they expire."""

    kind = "expiry"

    def scenario(self) -> None:
        upload = self.create(self.dice.randrange(2, 300_000))
        self.patch(upload, self.dice.randrange(upload.length))
        self.world.count("uploads left alone")
        time.sleep(self.dice.random() * 0.1)


class Steady(Client):
    """Bytes at a rate that nothing on the way holds back: what a death takes can be measured."""

    kind = "steady"
    PIECE = 32_768
    PAUSE = 0.02
    SECOND = 1.0
    """Within which what has come is committed."""
    LEEWAY = 2.0
    """For a busy machine, beside what the client itself was late."""

    def scenario(self) -> None:
        upload = self.create(self.dice.randrange(2 * MIB, 8 * MIB))
        while not upload.complete:
            self._stop_when_over()
            self._trickle(upload)
        self.completed(upload)

    def _trickle(self, upload: Upload) -> None:
        tus, start, since = self._tus(), upload.told, time.monotonic()
        data = memoryview(content(upload.seed, start, upload.length))
        head = tus.append_message(upload.target, start, b"", {"Content-Length": str(len(data))})
        times: list[tuple[float, int]] = []
        cuts = upload.cuts
        try:
            self.drop()
            wire = self._wire = self._connect()
            wire.send(head)
            for at in range(0, len(data), self.PIECE):
                wire.send(data[at : at + self.PIECE])
                upload.lost(min(start + at + self.PIECE, upload.length))
                times.append((time.monotonic(), upload.sent))
                time.sleep(self.PAUSE)
                if wire._readable(0):
                    break
            answer = wire.response("PATCH")
        except (OSError, WireError):
            self.drop()
            died = time.monotonic()
            self.resent(upload, upload.sent, cuts)
            if upload.cuts == cuts:
                self._judge(upload, times, died)
        else:
            self.drop()
            self.appended(upload, answer, upload.length, since)

    def _judge(self, upload: Upload, times: list[tuple[float, int]], died: float) -> None:
        """Compare what is kept with what was sent by a second before the death."""
        if not times:
            return
        moments = [moment for moment, _ in times]
        late = max((b - a for a, b in zip(moments, [*moments[1:], died], strict=True)), default=0)
        kept_until = next((moment for moment, sent in times if sent > upload.told), died)
        self.world.most_of("sent again, seconds", round(died - kept_until, 2))
        self.world.count("steady appends broken off")
        # A commit may wait for a call of the disk, and then for its own.
        slow = self.world.slowness
        hung = 0.0 if slow is None else 2 * slow.longest(kept_until, died)
        if died - kept_until > self.SECOND + self.LEEWAY + 4 * late + hung:
            raise upload.wrong(f"what came {died - kept_until:.2f} s before the death is lost")


KINDS = [Client, Large, WithChecksum, Deferred, AtOnce, Joining, Removing, Leaving, Steady]
MOMENTS = [
    "creation", "creation with upload", "bytes", "last bytes", "bytes with a checksum",
    "last bytes with a checksum", "joining", "termination", "head", "download",
]  # fmt: skip
__all__ = ["KINDS", "MOMENTS", "OFFSET_STREAM"]
