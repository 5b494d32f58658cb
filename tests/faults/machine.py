"""What a client may do with a server, as rules, and the model that must agree after each."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.process.program import children
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.waiting import eventually

EXPIRY = 3.0
MOST_STOPS = 3
MOST = 6
"""Uploads of one run: all are looked at after each step."""
sizes = st.integers(0, 3000) | st.sampled_from([0, 1, 65_536, 65_537, 200_000])
picks = st.integers(0, MOST - 1)


@dataclass(eq=False)
class Known:
    """What the model knows of one upload."""

    target: str
    length: int | None
    data: bytearray
    is_part: bool = False
    touched: float = field(default_factory=time.monotonic)
    """When the last request began that moved its expiry."""
    finals: list[Known] = field(default_factory=list)
    """The final uploads that were made of it."""
    parts: list[Known] = field(default_factory=list)
    is_gone: bool = False
    has_expired: bool = False

    @property
    def is_complete(self) -> bool:
        return self.length is not None and len(self.data) == self.length

    @property
    def may_expire(self) -> bool:
        """Tell whether it is open, or a part, and old enough; a part in use is kept longer."""
        is_kept = self.is_complete and not self.is_part
        return not is_kept and time.monotonic() - self.touched >= EXPIRY

    @property
    def must_expire(self) -> bool:
        return self.may_expire and not (self.finals or self.parts)


class Machine(RuleBasedStateMachine):
    """A server that runs, and a model of what it must tell."""

    server = None
    counts: dict[str, int] = {}  # noqa: RUF012 - of a whole test, over all runs

    def __init__(self):
        super().__init__()
        self.tus = Tus(self.server.url)
        self.known: list[Known] = []
        # What rules wait for is what was tried, not what came of it: that may depend on the time,
        # and hypothesis must be able to draw the same again.
        self.tried = self.parts_tried = self.restarts = self.expiries = self.stops = 0
        self._still: list[threading.Timer] = []
        self._number = 0

    # --- what rules need -----------------------------------------------------------------

    def _did(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def _bytes(self, size):
        self._number += 1
        return random.Random(self._number).randbytes(size)

    def _open(self, pick):
        """Choose an upload that takes bytes."""
        found = [one for one in self.known if not (one.is_gone or one.is_complete or one.parts)]
        return found[pick % len(found)] if found else None

    def _room(self, one, size):
        return size if one.length is None else min(size, one.length - len(one.data))

    def _is_there(self, one, answer):
        """Take a 404 for what it is, if it may be."""
        if answer.status == 404:
            assert one.may_expire, f"{one.target} vanished"
            one.is_gone = one.has_expired = True
        return answer.status != 404

    # --- rules ---------------------------------------------------------------------------

    @initialize()
    def begin(self):
        """Make an upload that bytes are appended to, whatever chance brings afterwards."""
        self.create(size=1000, part=False, deferred=False, with_bytes=False)
        self.append(pick=0, size=400, how="plain")

    @precondition(lambda self: self.tried < MOST)
    @rule(size=sizes, part=st.booleans(), deferred=st.booleans(), with_bytes=st.booleans())
    def create(self, size, part, deferred, with_bytes):
        self.tried += 1
        self.parts_tried += part
        fields = {"Upload-Defer-Length": "1"} if deferred else {"Upload-Length": str(size)}
        if part:
            fields["Upload-Concat"] = "partial"
        data = self._bytes(size // 2) if with_bytes else b""
        if with_bytes:
            fields["Content-Type"] = OFFSET_STREAM
        begun = time.monotonic()
        answer = self.tus.post(fields, data)
        assert answer.status == 201, answer
        target = self.tus.target(answer.get("Location"))
        length = None if deferred else size
        self.known.append(Known(target, length, bytearray(data), is_part=part, touched=begun))
        self._did("created")

    @rule(pick=picks, size=sizes, how=st.sampled_from(["plain", "chunked", "right", "wrong"]))
    def append(self, pick, size, how):
        one = self._open(pick)
        if one is None:
            return
        data, fields = self._bytes(self._room(one, size)), {}
        if how in {"right", "wrong"}:
            hashed = hashlib.sha1(data + b"?" * (how == "wrong")).digest()  # noqa: S324
            fields["Upload-Checksum"] = f"sha1 {base64.b64encode(hashed).decode()}"
        if how == "chunked":
            fields |= {"Transfer-Encoding": "chunked", "Content-Length": None}
        if one.length is None and size % 3 == 0:
            fields["Upload-Length"] = str(len(one.data) + len(data) + size % 2)
        begun = time.monotonic()
        body = chunked(data) if how == "chunked" else data
        answer = self.tus.patch(one.target, len(one.data), body, fields)
        if self._is_there(one, answer) and how == "wrong":
            assert answer.status == 460, answer
        elif not one.is_gone:
            one.data += data
            one.touched = begun
            if "Upload-Length" in fields:
                one.length = int(fields["Upload-Length"])
            assert (answer.status, answer.offset) == (204, len(one.data)), answer
        self._did("appended")

    @rule(pick=picks, by=st.sampled_from([-1, 1, 1000, 2**62]))
    def append_elsewhere(self, pick, by):
        one = self._open(pick)
        if one is None or len(one.data) + by < 0:
            return
        answer = self.tus.patch(one.target, len(one.data) + by, b"")
        if self._is_there(one, answer):
            assert (answer.status, answer.offset) == (409, len(one.data)), answer

    @rule(pick=picks)
    def append_too_much(self, pick):
        one = self._open(pick)
        if one is None or one.length is None:
            return
        answer = self.tus.patch(one.target, len(one.data), bytes(one.length - len(one.data) + 1))
        if self._is_there(one, answer):
            assert answer.status == 413, answer

    @rule(pick=picks, size=sizes, whole=st.booleans())
    def cut(self, pick, size, whole):
        """Break the connection, in the middle of a body or right behind it."""
        one = self._open(pick)
        if one is None or (room := self._room(one, size)) == 0:
            return
        data = self._bytes(room)
        sent = room if whole else room // 2
        begun = time.monotonic()
        with self.tus.wire() as wire:
            message = self.tus.append_message(one.target, len(one.data), data)
            wire.send(message[: len(message) - room + sent])
        before = len(one.data)
        assert eventually(lambda: self._has(one, before + sent), within=10), one.target
        if not one.is_gone:
            one.data += data[:sent]
            one.touched = begun
        self._did("cut")

    def _has(self, one, offset):
        answer = self.tus.head(one.target)
        return not self._is_there(one, answer) or answer.offset == offset

    @rule(pick=picks, size=sizes, looks=st.booleans())
    def take_over(self, pick, size, looks):
        """Fall silent in the middle of a body, and go on over another connection."""
        one = self._open(pick)
        if one is None or (room := self._room(one, size)) < 2:
            return
        data, begun, at = self._bytes(room), time.monotonic(), len(one.data)
        with self.tus.wire() as wire:
            message = self.tus.append_message(one.target, at, data)
            wire.send(message[: len(message) - room // 2])
            half = room - room // 2
            if looks:
                assert eventually(lambda: self._has(one, at + half), within=10)
            else:
                assert eventually(lambda: self._takes(one, at + half), within=10)
        if not one.is_gone:
            one.data += data[:half]
            one.touched = begun
        self._did("taken over")

    def _takes(self, one, offset):
        """Send nothing at an offset: it is accepted once all before it was received."""
        answer = self.tus.patch(one.target, offset, b"")
        assert answer.status in {204, 404, 409, 423}, answer
        return not self._is_there(one, answer) or answer.status == 204

    @precondition(lambda self: self.tried < MOST and self.parts_tried)
    @rule(picked=st.lists(picks, min_size=1, max_size=3))
    def join(self, picked):
        self.tried += 1
        there = [one for one in self.known if one.is_part and not one.is_gone]
        if not there:
            return
        parts = [there[pick % len(there)] for pick in picked]
        listed = " ".join(part.target for part in parts)
        begun = time.monotonic()
        answer = self.tus.post({"Upload-Concat": f"final;{listed}"})
        if answer.status == 404:
            assert any(part.may_expire for part in parts), answer
            return
        assert answer.status == 201, answer
        target = self.tus.target(answer.get("Location"))
        final = Known(target, None, bytearray(), parts=parts, touched=begun)
        for part in parts:
            part.finals.append(final)
        self.known.append(final)
        self._did("joined")

    @rule(pick=picks)
    def terminate(self, pick):
        if not self.known:
            return
        one = self.known[pick % len(self.known)]
        answer = self.tus.delete(one.target)
        if one.is_gone:
            assert answer.status == 404, answer
        elif self._is_there(one, answer):
            is_pinned = any(not final.is_gone for final in one.finals)
            if answer.status == 409 and any(final.has_expired for final in one.finals):
                # What has expired needs its parts until the sweeper has removed it.
                assert is_pinned or eventually(lambda: self._goes(one), within=10), answer
            else:
                assert answer.status in ({204, 409} if is_pinned else {204}), answer
                one.is_gone = answer.status == 204
        self._did("terminated")

    def _goes(self, one):
        answer = self.tus.delete(one.target)
        if self._is_there(one, answer):
            assert answer.status in {204, 409}, answer
            one.is_gone = answer.status == 204
        return one.is_gone

    @precondition(lambda self: self.stops < MOST_STOPS and self.server.workers > 1)
    @rule(pick=picks, seconds=st.sampled_from([0.05, 0.2, 0.5]))
    def stand_still(self, pick, seconds):
        """Stop a worker for a while, less than anybody waits for what it holds."""
        self.stops += 1
        found = children(self.server.pid)
        worker = found[pick % len(found)]
        os.kill(worker, signal.SIGSTOP)
        timer = threading.Timer(seconds, os.kill, [worker, signal.SIGCONT])
        timer.start()
        self._still.append(timer)
        self._did("workers stopped")

    def teardown(self):
        while self._still:
            self._still.pop().join()

    @precondition(lambda self: self.restarts < 1)
    @rule(kill=st.booleans())
    def restart(self, kill):
        self.teardown()
        self.restarts += 1
        if kill:
            self.server.kill()
        else:
            assert self.server.terminate() == 0
        self.server.start()
        self._did("restarted")

    @precondition(lambda self: self.expiries < 1)
    @rule()
    def expire(self):
        self.expiries += 1
        time.sleep(EXPIRY + 0.1)
        for one in self.known:
            if not one.is_gone and one.must_expire:
                assert self.tus.head(one.target).status == 404, one
                one.is_gone = one.has_expired = True
                self._did("expired")

    # --- what always holds ---------------------------------------------------------------

    def _head(self, one):
        """Ask for the offset until nobody stands still that holds the upload."""
        until = time.monotonic() + 10
        while (answer := self.tus.head(one.target)).status == 423 and time.monotonic() < until:
            time.sleep(0.1)
        return answer

    @invariant()
    def all_is_as_the_model_says(self):
        for one in self.known:
            if one.parts:
                self._check_final(one)
                continue
            answer = self._head(one)
            if one.is_gone:
                assert answer.status == 404, (one, answer)
            elif self._is_there(one, answer):
                assert answer.offset == len(one.data), (one.target, len(one.data), answer)
                if one.is_complete and not one.finals:
                    got = self.tus.get(one.target)
                    # A part may have expired since.
                    if self._is_there(one, got):
                        assert (got.status, got.body) == (200, one.data), one.target

    def _check_final(self, one):
        if one.is_gone:
            assert self.tus.head(one.target).status == 404
        elif all(part.is_complete for part in one.parts):
            whole = b"".join(bytes(part.data) for part in one.parts)
            assert eventually(lambda: self._is_whole(one, whole), within=10), one.target

    def _is_whole(self, one, whole):
        answer = self.tus.get(one.target)
        if answer.status == 200:
            one.length, one.data = len(whole), bytearray(answer.body)
            return answer.body == whole
        # It is completed a moment after its last part, and GET is 404 until then. One that waited
        # too long for its parts has expired, as other open uploads do: HEAD tells.
        return not self._is_there(one, self.tus.head(one.target))
