"""The newest request wins; a healthy append is not disturbed by what will be refused.

Every test runs within one process and between two that share a directory: `pair` is the
server of the older request and the server of the newer one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.raw import chunked
from tests.support.waiting import Late, eventually, soon

if TYPE_CHECKING:
    from tests.support.raw import Response, Wire
    from tests.support.served import Served

SOON = 1.0
"""Seconds within which an upload is taken over: generous, it takes a tenth in one process.

The last byte of an upload is not timed: its answer waits for the disk, which takes its time.
"""
CHECKSUM = {"Upload-Checksum": "sha1 " + "A" * 27 + "="}


STEADY = 0.15
"""Seconds between sends above which a client was too late itself to say who fell silent."""


@dataclass
class Flow:
    """Sends bytes steadily from a thread, as a healthy client does."""

    wire: Wire
    size: int
    sent: int = 0
    longest_gap: float = 0.0
    """Seconds between two sends."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last = None
        while self.sent < self.size and not self._stop.wait(0.02):
            piece = bytes(min(100, self.size - self.sent))
            try:
                self.wire.send(piece)
            except OSError:
                return
            finally:
                now = time.monotonic()
                self.longest_gap = max(self.longest_gap, now - (last or now))
                last = now
            self.sent += len(piece)

    def finish(self) -> None:
        """Wait until everything is sent."""
        self._thread.join()


def _begin(
    tus: Served,
    wire: Wire,
    target: str,
    *,
    total: int,
    body: bytes,
    fields: dict[str, str] | None = None,
) -> None:
    """Begin an append that announces more than it sends."""
    usual = {"Content-Length": str(total), "Expect": "100-continue"}
    wire.send(tus.append_message(target, 0, b"", {**usual, **(fields or {})}))
    # It comes once the append has the upload to itself, however busy the machine is.
    assert wire.interim().status == 100
    wire.send(body)
    assert tus.holds(target, body)
    assert wire.is_silent(for_=0.1)


def _check_superseded(answer: Response) -> None:
    assert (answer.status, answer.code) == (423, "append_superseded")
    assert answer.closes
    assert answer.offset is None


@pytest.mark.clause("CORE-HEAD-10", "CORE-PATCH-16")
def test_head_ends_a_silent_append_and_tells_its_final_offset(pair: tuple[Served, Served]) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        with soon(SOON):
            assert newer.offset(target) == 60
            assert newer.patch(target, 60, b"y" * 39).status == 204
        _check_superseded(wire.response("PATCH"))
        assert newer.patch(target, 99, b"y").status == 204
    assert newer.content(target) == b"x" * 60 + b"y" * 40


@pytest.mark.clause("CORE-HEAD-10")
def test_bytes_that_come_after_the_append_was_ended_are_lost_for_good(
    pair: tuple[Served, Served],
) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        assert newer.offset(target) == 60
        wire.send(b"z" * 40)
        assert newer.offset(target) == 60
        assert newer.patch(target, 60, b"y" * 30).status == 204
        assert newer.offset(target) == 90
    assert newer.patch(target, 90, b"y" * 10).status == 204
    assert newer.content(target) == b"x" * 60 + b"y" * 40


@pytest.mark.clause("CORE-HEAD-10", "CORE-HEAD-09")
def test_head_tells_a_committed_offset_of_a_flowing_append_which_goes_on(
    pair: tuple[Served, Served],
) -> None:
    older, newer = pair
    size = 10_000
    target = older.create(size)
    with older.wire() as wire:
        _begin(older, wire, target, total=size, body=b"")
        with Flow(wire, size) as flow:
            # An append that has not begun to flow is silent, and rightly ended.
            assert eventually(lambda: flow.sent >= 100)
            heads = []
            for _ in range(3):
                with soon(SOON):
                    head = newer.head(target)
                heads.append((head, flow.sent))
            if flow.longest_gap > STEADY:
                raise Late("the client itself was late")
            flow.finish()
        answer = wire.response("PATCH")
    before = 0
    for head, sent in heads:
        assert head.status == 200
        assert before < head.offset <= sent + 100
        before = head.offset
    assert (answer.status, answer.offset) == (204, size)
    assert newer.content(target) == bytes(size)


@pytest.mark.clause("CORE-HEAD-10")
def test_head_before_the_first_byte_of_an_append_tells_offset_0(
    pair: tuple[Served, Served],
) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"")
        assert newer.offset(target) == 0
        assert newer.patch(target, 0, b"y" * 100).status == 204
    assert newer.content(target) == b"y" * 100


@pytest.mark.clause("CORE-PATCH-06", "CORE-PATCH-20")
@pytest.mark.parametrize("offset", [0, 59, 61, 100])
def test_a_patch_at_another_offset_is_409_and_leaves_the_holder_alone(
    pair: tuple[Served, Served], offset: int
) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        with soon(SOON):
            answer = newer.patch(target, offset, b"")
        assert (answer.status, answer.offset) == (409, 60)
        wire.send(b"x" * 40)
        answer = wire.response("PATCH")
    assert (answer.status, answer.offset) == (204, 100)
    assert newer.content(target) == b"x" * 100


@pytest.mark.clause("CORE-PATCH-20", "CORE-PATCH-21")
def test_a_patch_at_the_equal_offset_stops_the_holder(pair: tuple[Served, Served]) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        with soon(SOON):
            answer = newer.patch(target, 60, b"y" * 39)
        assert (answer.status, answer.offset) == (204, 99)
        _check_superseded(wire.response("PATCH"))
        assert newer.patch(target, 99, b"y").offset == 100
    assert newer.content(target) == b"x" * 60 + b"y" * 40


@pytest.mark.clause("CORE-PATCH-20")
def test_an_append_may_be_taken_over_again_and_again(pair: tuple[Served, Served]) -> None:
    target = pair[0].create(100)
    wires, sent = [], b""
    for turn in range(6):
        tus = pair[turn % 2]
        wire = tus.wire()
        wires.append(wire)
        sent += bytes([65 + turn]) * 10
        fields = {"Content-Length": str(100 - turn * 10)}
        wire.send(tus.append_message(target, turn * 10, sent[-10:], fields))
        assert tus.holds(target, sent)
        assert wire.is_silent(for_=0.1)
    for wire in wires[:-1]:
        _check_superseded(wire.response("PATCH"))
    wires[-1].send(b"z" * 40)
    assert wires[-1].response("PATCH").status == 204
    for wire in wires:
        wire.close()
    assert pair[0].content(target) == sent + b"z" * 40


@pytest.mark.clause("CORE-PATCH-21", "CORE-PATCH-04", "CORE-PATCH-14", "CHK-04")
@pytest.mark.parametrize(
    ("offset", "fields", "status"),
    [
        (60, {"Content-Type": "text/plain"}, 415),
        (60, {"Upload-Offset": "x"}, 400),
        (60, {"Upload-Length": "99"}, 400),
        (60, {"Content-Length": "41"}, 413),
        (60, {"Upload-Checksum": "foo AAAA"}, 400),
        (60, {"Tus-Resumable": "0.1.0"}, 412),
    ],
    ids=["type", "syntax", "length", "too long", "algorithm", "version"],
)
def test_a_patch_that_will_be_refused_leaves_the_holder_alone(
    pair: tuple[Served, Served], offset: int, fields: dict[str, str], status: int
) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        assert newer.patch(target, offset, b"", fields).status == status
        wire.send(b"x" * 40)
        assert wire.response("PATCH").status == 204
    assert newer.content(target) == b"x" * 100


@pytest.mark.clause("CORE-PATCH-20")
def test_get_and_options_leave_an_append_alone(pair: tuple[Served, Served]) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        assert newer.get(target).status == 404
        assert newer.options(target).status == 204
        wire.send(b"x" * 40)
        assert wire.response("PATCH").status == 204


@pytest.mark.clause("TER-06")
def test_delete_stops_a_running_append_and_the_upload_does_not_come_back(
    pair: tuple[Served, Served],
) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        with soon(SOON):
            assert newer.delete(target).status == 204
        assert wire.response("PATCH").status in {404, 423}
    for tus in pair:
        assert tus.head(target).status == 404
        assert tus.patch(target, 60, b"x").status == 404


@pytest.mark.clause("TER-06")
def test_delete_stops_a_flowing_append(pair: tuple[Served, Served]) -> None:
    older, newer = pair
    target = older.create(10_000)
    with older.wire() as wire:
        _begin(older, wire, target, total=10_000, body=b"")
        with Flow(wire, 10_000):
            assert newer.delete(target).status == 204
            assert wire.response("PATCH").status in {404, 423}
    for tus in pair:
        assert tus.head(target).status == 404


@pytest.mark.clause("CHK-08", "CORE-HEAD-10")
def test_a_silent_append_with_a_digest_is_ended_and_counts_for_nothing(
    pair: tuple[Served, Served],
) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60, fields=CHECKSUM)
        assert newer.offset(target) == 0
        assert newer.patch(target, 0, b"y" * 100).status == 204
        _check_superseded(wire.response("PATCH"))
    assert newer.content(target) == b"y" * 100


@pytest.mark.clause("CORE-PATCH-20")
def test_of_two_patches_at_one_offset_exactly_one_succeeds(pair: tuple[Served, Served]) -> None:
    for turn in range(8):
        # Each comes in one piece: between two of them it could be stopped by the other in vain.
        target = pair[0].create(50_000)
        bodies = [bytes([turn * 2 + which]) * 50_000 for which in (1, 2)]
        barrier = threading.Barrier(2)
        answers: dict[int, Response] = {}

        def append(which: int, target: str = target, bodies: list[bytes] = bodies) -> None:
            barrier.wait()  # noqa: B023 - both threads end within this turn
            answers[which] = pair[which].patch(target, 0, bodies[which])  # noqa: B023

        threads = [threading.Thread(target=append, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = sorted(answer.status for answer in answers.values())
        assert statuses in ([204, 409], [204, 423]), answers
        winner = next(which for which, answer in answers.items() if answer.status == 204)
        content = pair[0].content(target)
        assert content == bodies[winner]


@pytest.mark.clause("CORE-PATCH-20", "CORE-PATCH-16")
def test_a_storm_of_clients_leaves_every_byte_in_its_place(pair: tuple[Served, Served]) -> None:
    """Several clients resume the same upload at the same time, each breaking off often."""
    data = bytes(index * 7 % 251 for index in range(60_000))
    target = pair[0].create(len(data))
    failures: list[object] = []

    def client(number: int) -> None:
        tus = pair[number % 2]
        for turn in range(200):
            head = tus.head(target)
            if head.status == 423:
                continue
            if head.status != 200 or head.offset is None:
                failures.append(head)
                return
            if head.offset == len(data):
                return
            end = min(head.offset + 1_500 + 100 * number, len(data))
            body = data[head.offset : end]
            with tus.wire() as wire:
                cut = len(body) // 2 if turn % 3 == 0 else len(body)
                wire.send(
                    tus.append_message(
                        target, head.offset, body[:cut], {"Content-Length": str(len(body))}
                    )
                )
                if cut < len(body):
                    continue
                answer = wire.response("PATCH")
                if answer.status not in {204, 409, 423}:
                    failures.append(answer)
                    return

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert pair[0].content(target) == data


@pytest.mark.clause("CORE-PATCH-20")
def test_a_chunked_append_is_taken_over_too(pair: tuple[Served, Served]) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        fields = {"Content-Length": None, "Transfer-Encoding": "chunked"}
        wire.send(older.append_message(target, 0, chunked(b"x" * 60, end=False), fields))
        assert older.holds(target, b"x" * 60)
        assert wire.is_silent(for_=0.1)
        assert newer.patch(target, 60, b"y" * 40).status == 204
        _check_superseded(wire.response("PATCH"))
    assert newer.content(target) == b"x" * 60 + b"y" * 40


@pytest.mark.clause("CORE-PATCH-16", "HTTP-27")
def test_the_client_that_was_lost_can_go_on_at_once(pair: tuple[Served, Served]) -> None:
    older, newer = pair
    target = older.create(100)
    with older.wire() as wire:
        _begin(older, wire, target, total=100, body=b"x" * 60)
        wire.reset()
    with soon(SOON):
        assert eventually(lambda: newer.offset(target) == 60)
        assert newer.patch(target, 60, b"y" * 39).status == 204
    assert newer.patch(target, 99, b"y").status == 204
