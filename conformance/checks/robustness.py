"""Checks of many requests at once: writers that were given up, and writers side by side.

A client that lost its network and comes back meets its own earlier request, which the server
still takes for alive. Nothing that the old request sends later may get into the upload.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_field, expect_status
from conformance.evidence import (
    eventually,
    expect_content,
    finish,
    is_ok,
    part_way,
    patch_head,
    sample,
    sha1,
    state,
)
from conformance.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.target import Target
    from conformance.wire import Connection, Response

CREATION = ("creation",)
PASSING = 10.0  # seconds in which a server has noticed that a client is gone
SIZE = 200_000
SENT = 80_000
BUSY = 423
CONFLICT = 409


def told_offset(tus: Target, url: str, *, seconds: float) -> int | None:
    """Ask for the offset until it is told; None if the upload stays busy."""
    answers: list[Response] = []

    def is_told() -> bool:
        answers.append(tus.head(url))
        return is_ok(answers[-1])

    if not eventually(is_told, seconds=seconds, pause=0.2):
        return None
    return int(answers[-1].get("Upload-Offset") or 0)


def resume(tus: Target, url: str, data: bytes) -> None:
    """Go on as a client does, with patience for an upload that is busy, to the last byte."""
    end = time.monotonic() + PASSING
    while True:
        offset = told_offset(tus, url, seconds=PASSING)
        expect(offset is not None, f"expected HEAD to tell an offset within {PASSING:.0f} s")
        response = tus.append(url, offset or 0, data[offset or 0 :])
        if is_ok(response) or time.monotonic() > end:
            break
        time.sleep(0.2)
    expect_status(response, 204)
    expect_content(tus, url, data)


def at_once(*actions: Callable[[], None]) -> None:
    """Do several things in threads of their own, and pass on what went wrong."""
    faults: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def act(action: Callable[[], None]) -> None:
        try:
            start.wait(PASSING)
            action()
        except BaseException as fault:  # noqa: BLE001 - told to the thread that asked
            faults.append(fault)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def _answer(connection: Connection, rest: bytes) -> Response | None:
    """Let a writer that was left alone send its rest; give its answer if there is one."""
    try:
        connection.send(rest)
        return connection.read_response("PATCH", timeout=2)
    except (WireError, OSError):
        return None


@check("CORE-HEAD-10", "CORE-PATCH-20", needs=CREATION)
def writer_that_was_given_up_writes_no_more(tus: Target) -> None:
    """After a silent PATCH was overtaken, what it still sends does not get into the upload."""
    data = sample(SIZE)
    url = tus.create(SIZE)
    with part_way(tus, url, 0, data, sent=SENT) as old:
        time.sleep(0.3)
        offset = told_offset(tus, url, seconds=1)
        if offset is None:
            old.reset()
            resume(tus, url, data)
            return
        expect(offset <= SENT, f"expected an offset of {SENT} at most, got {offset}")
        response = tus.append(url, offset, data[offset:])
        if response.status < 400:  # an upload that is busy may be refused in many ways
            expect_status(response, 204)
        answer = _answer(old, bytes(SIZE - SENT)) if is_ok(response) else None
        if answer is not None and is_ok(answer):  # it may say how far it came, and no further
            expect_field(answer, "Upload-Offset", str(offset))
    if is_ok(response):
        time.sleep(0.2)
        expect_content(tus, url, data)
    else:
        resume(tus, url, data)


@check("CORE-PATCH-20", needs=CREATION)
def writer_that_wakes_up_does_not_mix(tus: Target) -> None:
    """A silent PATCH that wakes up while its successor is writing adds no byte of its own."""
    data = sample(SIZE, 2)
    url = tus.create(SIZE)
    with part_way(tus, url, 0, data, sent=SENT) as old:
        time.sleep(0.3)
        offset = told_offset(tus, url, seconds=1)
        if offset is not None:
            with part_way(tus, url, offset, data[offset:], sent=30_000) as new:
                time.sleep(0.1)
                with suppress(OSError):
                    old.send(bytes(SIZE - SENT))
                time.sleep(0.1)
                answer = _answer(new, data[offset + 30_000 :])
            if answer is not None and is_ok(answer):
                expect_content(tus, url, data)
                return
    _expect_one_source(tus, url, data, data[:SENT] + bytes(SIZE - SENT))


def _expect_one_source(tus: Target, url: str, *sources: bytes) -> None:
    """Expect what is stored to be the beginning of one of these, and complete it."""
    offset = told_offset(tus, url, seconds=PASSING)
    expect(offset is not None, f"expected HEAD to tell an offset within {PASSING:.0f} s")
    at = offset or 0
    if at < SIZE:
        expect_status(tus.append(url, at, bytes(SIZE - at)), 204)
    content = tus.content(url)
    if content is not None:
        known = any(content[:at] == source[:at] for source in sources)
        expect(known, "expected the bytes of one writer, in order")


@check("CORE-HEAD-10", "CORE-HEAD-11", needs=CREATION)
def looking_does_no_harm_to_a_running_append(tus: Target) -> None:
    """HEAD beside flowing bytes is 200 with an offset that was sent and never sinks, or 423."""
    data = sample(SIZE, 3)
    url = tus.create(SIZE)
    step = SIZE // 5
    last, sent = 0, step
    answer = None
    with part_way(tus, url, 0, data, sent=sent) as writer:
        with suppress(OSError):
            while sent < SIZE:
                writer.send(data[sent : sent + step])
                sent += step
                last = _look(tus, url, last, sent)
        with suppress(WireError, OSError):
            answer = writer.read_response("PATCH")
    if answer is not None and is_ok(answer):
        expect_content(tus, url, data)
    else:
        resume(tus, url, data)


def _look(tus: Target, url: str, last: int, sent: int) -> int:
    response = tus.head(url)
    expect_status(response, 200, 204, BUSY)
    if response.status == BUSY:
        return last
    offset = int(response.get("Upload-Offset") or -1)
    expect(last <= offset <= sent, f"expected an offset of {last} to {sent}, got {offset}")
    return offset


@check("CORE-PATCH-16", "CORE-PATCH-17", "HTTP-27", needs=CREATION)
def many_interruptions_leave_the_file_whole(tus: Target) -> None:
    """An upload that breaks off again and again, in every way, comes out byte for byte."""
    data = sample(500_000, 4)
    url = tus.create(len(data))
    dice = random.Random(4)  # noqa: S311 - the same places each time
    known = 0
    for end in ("close", "reset", "half_close", "close", "reset", "half_close"):
        count = dice.randrange(1, 90_000)
        connection = part_way(tus, url, known, data[known:], sent=count)
        time.sleep(0.05)
        getattr(connection, end)()
        offset = tus.settled_offset(url, known + count, within=0.5)
        connection.close()
        most = known + count
        expect(known <= offset <= most, f"expected an offset of {known} to {most}, got {offset}")
        known = offset
    resume(tus, url, data)


@check("CORE-PATCH-17", needs=CREATION)
def chunked_interruptions_leave_the_file_whole(tus: Target) -> None:
    """A chunked body that is cut within a chunk, its size or its end keeps whole bytes only."""
    data = sample(9_000, 5)
    chunk = b"%x;note=x\r\n%b\r\n" % (len(data), data)
    for cut in (3, 12, 5_000, len(chunk) - 2, len(chunk) - 1, len(chunk)):
        url = tus.create(len(data) + 1_000)
        with tus.connect(url) as connection:
            connection.send(patch_head(tus, url, 0, None) + chunk[:cut])
            time.sleep(0.05)
        before = max(0, min(cut - 13, len(data)))
        offset = tus.settled_offset(url, before, within=0.3)
        expect(0 <= offset <= len(data), f"expected at most {len(data)} bytes, got {offset}")
        resume(tus, url, data + sample(1_000, 6))


@check("CORE-PATCH-20", needs=(*CREATION, "checksum"))
def rivals_with_checksums_are_not_mixed(tus: Target) -> None:
    """Of two PATCHes with right digests of their own at one offset at most one is stored."""
    bodies = sample(SIZE, 10), sample(SIZE, 11)
    url = tus.create(SIZE)
    answers: dict[int, Response | None] = {}

    def send(at: int) -> None:
        body = bodies[at]
        with part_way(tus, url, 0, body, sent=SENT, Upload_Checksum=sha1(body)) as own:
            time.sleep(0.05)
            answers[at] = _answer(own, body[SENT:])

    at_once(lambda: send(0), lambda: send(1))
    won = [at for at, answer in answers.items() if answer is not None and is_ok(answer)]
    expect(len(won) < 2, "expected one of two PATCH requests to succeed, both are 204")
    if won:
        expect_content(tus, url, bodies[won[0]])
    else:
        offset = told_offset(tus, url, seconds=PASSING)
        expect(offset == 0, f"expected no byte of an unfinished checked body, got {offset}")


@check("DEF-05", needs=(*CREATION, "creation-defer-length"))
def rival_lengths_settle_once(tus: Target) -> None:
    """Of two lengths that are declared at the same time one counts, and stays."""
    for _ in range(3):
        _declare_two(tus, tus.create(None))


def _declare_two(tus: Target, url: str) -> None:
    answers: dict[int, Response] = {}

    def declare(length: int) -> None:
        answers[length] = tus.append(url, 0, b"", {"Upload-Length": str(length)})

    at_once(lambda: declare(10), lambda: declare(20))
    eventually(lambda: is_ok(tus.head(url)), seconds=PASSING)
    told = [state(tus, url).get("Upload-Length") for _ in range(3)]
    settled = [str(length) for length, answer in answers.items() if is_ok(answer)]
    expect(len(set(told)) == 1, f"expected one length, got {told}")
    if settled:
        expect(told[0] in settled, f"expected the length {settled}, got {told[0]}")


@check("TER-02", "TER-03", needs=(*CREATION, "termination"))
def rival_terminations_end_in_one(tus: Target) -> None:
    """Several DELETEs at once: the upload is gone, and none of them is a 5xx."""
    url = tus.create(10)
    expect_status(tus.append(url, 0, b"01234"), 204)
    answers: list[Response] = []
    at_once(*[lambda: answers.append(tus.delete(url))] * 4)
    for answer in answers:
        expect_status(answer, 204, 404, 410, BUSY, CONFLICT)
    expect(any(answer.status == 204 for answer in answers), "expected one DELETE to be 204")
    expect_status(tus.head(url), 404, 410)


@check("CORE-PATCH-01", "CRE-12", needs=CREATION)
def uploads_side_by_side_are_not_mixed(tus: Target) -> None:
    """Uploads that are created and filled at the same time hold their own bytes each."""

    def work(seed: int) -> None:
        data = sample(60_000, seed)
        url = tus.create(len(data))
        for start in range(0, 40_000, 10_000):
            expect_status(tus.append(url, start, data[start : start + 10_000]), 204)
        finish(tus, url, data, 40_000)

    at_once(*[lambda seed=seed: work(seed) for seed in range(100, 106)])


@check("CAT-03", needs=(*CREATION, "concatenation"))
def parts_filled_side_by_side_are_joined_in_order(tus: Target) -> None:
    """Parts that several connections fill at the same time are joined as the list says."""
    pieces = [sample(50_000 + seed, seed) for seed in range(4)]
    parts = [tus.create(len(data), {"Upload-Concat": "partial"}) for data in pieces]

    def fill(at: int) -> None:
        half = len(pieces[at]) // 2
        expect_status(tus.append(parts[at], 0, pieces[at][:half]), 204)
        expect_status(tus.append(parts[at], half, pieces[at][half:]), 204)

    at_once(*[lambda at=at: fill(at) for at in range(4)])
    names = " ".join(tus.path(part) for part in parts)
    response = tus.post(fields={"Upload-Concat": f"final;{names}"})
    expect_status(response, 201)
    url = tus.resolve(response.get("Location") or "")
    whole = b"".join(pieces)
    eventually(lambda: state(tus, url).get("Upload-Offset") == str(len(whole)), seconds=PASSING)
    expect_content(tus, url, whole)
