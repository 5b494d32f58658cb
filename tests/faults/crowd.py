"""Clients over HTTP that do what they like, and know from the answers what must hold."""

from __future__ import annotations

import base64
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from tests.engine.test_random import Model
from tests.support.raw import Tus, WireError, chunked

MAX_LENGTH = 300_000
ANSWER_SECONDS = 3.0
"""What a client waits for an answer: less than some processes stand still for."""
EXPIRY = 6.0
BUSY = {423, 503, 429}
CUT = {400, 408, 423}


class Lost(Exception):
    """No answer came: what became of the request is not known."""


class Upload(Model):
    """One upload, as its client knows it."""

    def __init__(self, target, length, *, is_part):
        super().__init__(target, length)
        self.target = target
        self.touched = time.monotonic()
        """Begin of the last request that was answered as having moved the expiry."""
        self.ghosts = False
        """Whether requests without an answer may still be carried out."""
        self.ending = False
        """Whether its removal was asked for."""
        self.gone = False
        self.is_part = is_part


class Client:
    """Makes, fills, joins, abandons and removes uploads, until it is told to finish."""

    def __init__(self, url, dice, name):
        self.tus, self.dice, self.name = Tus(url), dice, name
        self.open = True
        self.done, self.finals, self.abandoned = [], [], []
        self.answered: set[str] = set()
        """The ids of all that it was told to have made."""
        self.counts = {}
        self._number = 0
        self._silent = []

    def run(self):
        """Do one thing after the other while it may, and finish what was begun."""
        while self.open:
            if self.dice.random() < 0.2:
                self._concatenate()
            elif (upload := self._create()) is not None:
                self._fill(upload, may_end=True)
        for wire in self._silent:
            wire.close()

    def _count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # --- requests ------------------------------------------------------------------------

    @contextmanager
    def _wire(self):
        try:
            with self.tus.wire(timeout=ANSWER_SECONDS) as wire:
                yield wire
        except (OSError, WireError) as error:
            self._count("unanswered")
            raise Lost from error

    def _ask(self, method, data):
        with self._wire() as wire:
            wire.send(data)
            return wire.response(method)

    def _patiently(self, method, data, *, answer=None):
        """Ask again and again while the upload is busy."""
        deadline = time.monotonic() + 30
        while True:
            with suppress(Lost):
                answer = self._ask(method, data)
                if answer.status not in BUSY:
                    return answer
                self._count(f"{answer.status}")
            assert time.monotonic() < deadline, f"no outcome: {answer}"
            time.sleep(self.dice.uniform(0, 0.2))

    def _data(self, size):
        self._number += 1
        seed = hashlib.sha256(f"{self.name}/{self._number}".encode()).digest()
        return (seed * (size // len(seed) + 1))[:size]

    # --- uploads -------------------------------------------------------------------------

    def _create(self, *, partial=False):
        dice = self.dice
        length = dice.choice([0, 1, dice.randrange(2, MAX_LENGTH)])
        fields = {"Upload-Length": str(length)}
        if partial:
            fields["Upload-Concat"] = "partial"
        begun = time.monotonic()
        try:
            answer = self._ask("POST", self.tus.message("POST", None, fields))
        except Lost:
            return None
        if answer.status in BUSY:
            return None
        assert answer.status == 201, answer
        upload = Upload(self._made(answer), length, is_part=partial)
        upload.touched, upload.complete = begun, length == 0
        self._count("created")
        return upload

    def _made(self, answer):
        target = self.tus.target(answer.get("Location"))
        self.answered.add(target.rpartition("/")[2])
        return target

    def _concatenate(self):
        parts = [self._create(partial=True) for _ in range(self.dice.randrange(1, 4))]
        parts = [part for part in parts if part is not None]
        for part in parts:
            self._fill(part)
        contents = {part: self._content(part) for part in parts if not part.gone}
        if not parts or len(contents) < len(parts) or None in contents.values():
            return
        joined = [self.dice.choice(parts) for _ in range(self.dice.randrange(1, 4))]
        listed = " ".join(part.target for part in joined)
        try:
            message = self.tus.message("POST", None, {"Upload-Concat": f"final;{listed}"})
            answer = self._ask("POST", message)
        except Lost:
            return
        if answer.status in BUSY:
            return
        if answer.status == 404:
            assert any(time.monotonic() - part.touched >= EXPIRY for part in joined), answer
            return
        assert answer.status == 201, answer
        self._count("joined")
        whole = b"".join(contents[part] for part in joined)
        self.finals.append((self._made(answer), whole))

    def _content(self, part):
        """Read a finished part; None if it has expired, as parts do that nothing needs."""
        answer = self._patiently("GET", self.tus.message("GET", part.target))
        if answer.status == 404:
            self._check_gone(part)
            return None
        assert answer.status == 200, answer
        part.check(answer.body)
        return answer.body

    def _fill(self, upload, *, may_end=False):
        while not (upload.complete or upload.gone):
            with suppress(Lost):
                if may_end and self.dice.random() < 0.04:
                    self.abandoned.append(upload)
                    return
                if may_end and self.dice.random() < 0.04:
                    self._terminate(upload)
                    continue
                offset = self._head(upload)
                if not (upload.complete or upload.gone):
                    acts = [self._append, self._append, self._cut, self._stall]
                    acts += [self._lie, self._miss, self._race]
                    self.dice.choice(acts)(upload, offset)
        if upload.complete and not upload.gone:
            self._count("completed")
            if not upload.is_part:
                self.done.append(upload)

    def _head(self, upload):
        answer = self._patiently("HEAD", self.tus.message("HEAD", upload.target))
        if answer.status == 404:
            self._check_gone(upload)
            return 0
        assert answer.status == 200, answer
        upload.tell(answer.offset)
        upload.complete = answer.offset == upload.length
        return answer.offset

    def _check_gone(self, upload):
        old = time.monotonic() - upload.touched >= EXPIRY
        assert upload.ending or old, f"{upload.target} vanished"
        upload.gone = True

    def _message(self, upload, offset, data, *, digest=None):
        fields = {}
        if digest is not None:
            hashed = base64.b64encode(hashlib.sha1(digest).digest()).decode()  # noqa: S324
            fields["Upload-Checksum"] = f"sha1 {hashed}"
        if self.dice.random() < 0.3:
            fields |= {"Transfer-Encoding": "chunked", "Content-Length": None}
            half = len(data) // 2
            return self.tus.append_message(upload.target, offset, b"", fields) + chunked(
                data[:half], data[half:]
            )
        return self.tus.append_message(upload.target, offset, data, fields)

    def _piece(self, upload, offset):
        room = upload.length - offset
        return self._data(room if self.dice.random() < 0.4 else self.dice.randrange(room + 1))

    def _append(self, upload, offset):
        data = self._piece(upload, offset)
        digest = self.dice.choice([None, None, data])
        upload.attempts.append((offset, data))
        self._send(upload, offset, data, self._message(upload, offset, data, digest=digest))

    def _send(self, upload, offset, data, message):
        """Send a body; true if it was accepted."""
        begun = time.monotonic()
        try:
            answer = self._ask("PATCH", message)
        except Lost:
            upload.ghosts = True
            raise
        if answer.status == 204:
            assert answer.offset == offset + len(data), answer
            upload.tell(answer.offset)
            upload.kept.append((offset, data))
            upload.touched = begun
            upload.complete = answer.offset == upload.length
            self._count("accepted")
            return True
        self._check_refusal(upload, offset, answer)
        return False

    def _check_refusal(self, upload, offset, answer):
        """A body at the right offset is refused only for what others do with the upload."""
        if answer.status == 404:
            self._check_gone(upload)
        elif answer.status == 409:
            assert upload.ghosts, f"{upload.target} at {offset}: {answer}"
            upload.tell(answer.offset)
        else:
            assert answer.status in BUSY, answer
        self._count(f"{answer.status}")

    def _cut(self, upload, offset):
        """The connection breaks in the middle: a prefix is kept."""
        data = self._piece(upload, offset)
        upload.attempts.append((offset, data))
        upload.ghosts = True
        message = self._message(upload, offset, data)
        with self._wire() as wire:
            wire.send(message[: self.dice.randrange(len(message) - len(data), len(message) + 1)])
            wire.reset() if self.dice.random() < 0.5 else wire.close()
        self._count("cut")

    def _stall(self, upload, offset):
        """The connection falls silent: the client asks elsewhere and takes over."""
        data = self._piece(upload, offset)
        upload.attempts.append((offset, data))
        upload.ghosts = True
        message = self._message(upload, offset, data)
        with self._wire():
            wire = self.tus.wire(timeout=ANSWER_SECONDS)
            self._silent.append(wire)
            wire.send(message[: max(len(message) - len(data), len(message) * 2 // 3)])
        while len(self._silent) > 5:
            self._silent.pop(0).close()
        self._count("stalled")
        offset = self._head(upload)
        if not (upload.complete or upload.gone):
            self._append(upload, offset)

    def _lie(self, upload, offset):
        """The checksum is wrong: nothing is kept."""
        data = self._piece(upload, offset)
        answer = self._ask("PATCH", self._message(upload, offset, data, digest=data + b"?"))
        if answer.status != 460:
            self._check_refusal(upload, offset, answer)
        self._count("lied")

    def _miss(self, upload, offset):
        """The offset is wrong: the true one is told."""
        if offset < upload.length:
            # Never more than there is room for: the length is looked at first.
            answer = self._ask("PATCH", self._message(upload, offset + 1, b""))
            assert answer.status in {204, 404, 409, *BUSY}, answer
            if answer.status == 204:
                assert upload.ghosts, f"{upload.target} at {offset}: {answer}"
            if answer.offset is not None:
                upload.tell(answer.offset)
        self._count("missed")

    def _race(self, upload, offset):
        """Several bodies at one offset: at most one of them is accepted."""
        bodies = [self._piece(upload, offset) for _ in range(3)]
        messages = [self._message(upload, offset, data) for data in bodies]
        upload.attempts += [(offset, data) for data in bodies]
        begun = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(self._ask, "PATCH", message) for message in messages]
        upload.ghosts = True
        accepted = 0
        for data, answer in zip(bodies, asked, strict=True):
            with suppress(Lost):
                status, told = answer.result().status, answer.result().offset
                assert status in {204, 400, 404, 409, *BUSY}, answer.result()
                if status == 204 and data:
                    accepted += 1
                    assert told == offset + len(data)
                    upload.kept.append((offset, data))
                    upload.touched = begun
                    upload.tell(max(told, upload.told))
        assert accepted <= 1, f"{upload.target}: two writers at {offset}"
        self._count("raced")

    def _terminate(self, upload):
        upload.ending = True
        answer = self._patiently("DELETE", self.tus.message("DELETE", upload.target))
        assert answer.status in {204, 404}, answer
        upload.gone = True
        answer = self._patiently("HEAD", self.tus.message("HEAD", upload.target))
        assert answer.status == 404, answer
        self._count("terminated")
