"""Checks of appends that break off or meet each other (tus 1.0.0, Core Protocol, PATCH)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_status
from conformance.evidence import eventually, expect_content, part_way, sample
from conformance.wire import Response, WireError

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)
PASSING = 10.0
"""Seconds in which a server has noticed that a client is gone."""


def _settle(tus: Target, url: str, wanted: int) -> int:
    """Give the offset once it is known; 423 and 5xx meanwhile are patience."""

    def is_there() -> bool:
        return tus.head(url).get("Upload-Offset") == str(wanted)

    eventually(is_there, seconds=2.0)
    eventually(lambda: tus.head(url).status in {200, 204}, seconds=PASSING)
    return tus.offset(url)


def _resume(tus: Target, url: str, data: bytes, offset: int) -> None:
    """Send the rest, as a client would that tries again while the upload is busy."""
    response = tus.append(url, offset, data[offset:])
    end = time.monotonic() + PASSING
    while response.status in {409, 423, 500, 503} and time.monotonic() < end:
        time.sleep(0.3)
        offset = tus.offset(url)
        response = tus.append(url, offset, data[offset:])
    expect_status(response, 204, 200)
    expect_content(tus, url, data)


@check("CORE-PATCH-16", needs=CREATION)
def what_came_before_a_close_is_kept(tus: Target) -> None:
    """Bytes that came before the connection was closed are kept, and the rest can follow."""
    data = sample(200_000)
    url = tus.create(len(data))
    connection = part_way(tus, url, 0, data, sent=120_000)
    time.sleep(0.3)
    connection.close()
    offset = _settle(tus, url, 120_000)
    _resume(tus, url, data, offset)
    expect(offset > 0, "expected bytes that came before the close to be kept, the offset is 0")


@check("CORE-PATCH-17", needs=CREATION)
def the_offset_after_a_reset_is_true(tus: Target) -> None:
    """After a reset the offset is at most what was sent, and resuming there gives the file."""
    data = sample(200_000)
    url = tus.create(len(data))
    connection = part_way(tus, url, 0, data, sent=120_000)
    time.sleep(0.3)
    connection.reset()
    offset = _settle(tus, url, 120_000)
    expect(offset <= 120_000, f"expected an offset of 120000 at most, got {offset}")
    _resume(tus, url, data, offset)


@check("HTTP-05", "HTTP-27", needs=CREATION)
def a_half_close_keeps_the_prefix(tus: Target) -> None:
    """A body that ends before its Content-Length is kept up to there, not taken for whole."""
    data = sample(100_000)
    url = tus.create(len(data))
    connection = part_way(tus, url, 0, data, sent=60_000)
    connection.half_close()
    told = None
    try:
        response = connection.read_response("PATCH", timeout=PASSING)
    except WireError:
        pass  # closed without a word
    else:
        if response.status < 400:  # a true word on the part that came is no untruth
            told = int(response.get("Upload-Offset") or len(data))
    finally:
        connection.close()
    offset = _settle(tus, url, 60_000)
    expect(0 <= offset <= 60_000, f"expected an offset of 60000 at most, got {offset}")
    expect(told in (None, offset), f"expected the offset that was told, {told}, got {offset}")
    _resume(tus, url, data, offset)


@check("CORE-PATCH-18", needs=CREATION)
def a_stalled_body_is_given_up(tus: Target) -> None:
    """A PATCH whose body stops coming is ended by the server, and its bytes are kept."""
    if not tus.settings.stall_wait:
        raise NotApplicable("runs with --stall-wait, longer than the server's time-out")
    data = sample(100_000)
    url = tus.create(len(data))
    with part_way(tus, url, 0, data, sent=60_000) as connection:
        expect(connection.is_readable(tus.settings.stall_wait), "expected the connection closed")
    _resume(tus, url, data, _settle(tus, url, 60_000))


@check("CORE-PATCH-20", needs=CREATION)
def of_two_appends_one_wins(tus: Target) -> None:
    """Of two PATCH requests at one offset at once one succeeds, and no byte is mixed."""
    ours, theirs = b"a" * 300_000, b"b" * 300_000
    url = tus.create(len(ours))
    answers: dict[bytes, Response | None] = {}
    start = threading.Barrier(2)
    lines = (tus.fork(), tus.fork())

    def send(own: Target, data: bytes) -> None:
        try:
            with part_way(own, url, 0, data, sent=100_000) as connection:
                start.wait(PASSING)
                connection.send(data[100_000:])
                answers[data] = connection.read_response("PATCH", timeout=2 * PASSING)
        except (WireError, OSError, threading.BrokenBarrierError):
            answers[data] = None  # ended by the server in favour of the other

    threads = [
        threading.Thread(target=send, args=pair) for pair in zip(lines, (ours, theirs), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PASSING)
    tus.exchanges += [exchange for own in lines for exchange in own.exchanges]
    _judge(tus, url, answers)


def _judge(tus: Target, url: str, answers: dict[bytes, Response | None]) -> None:
    won = {data: one for data, one in answers.items() if one is not None and one.status == 204}
    expect(len(won) < 2, "expected one of two PATCH requests to succeed, both are 204")
    if not won:
        offset = _settle(tus, url, 300_000)
        expect(offset <= 300_000, f"expected an offset of 300000 at most, got {offset}")
        _resume_any(tus, url, offset)
        return
    offset = _settle(tus, url, 300_000)
    expect(offset == 300_000, f"expected the offset 300000 after the 204, got {offset}")
    content = tus.content(url)
    if content is not None:
        expect(set(content) <= set(b"ab"), "expected only bytes that were sent")
        expect(content.count(b"ab") + content.count(b"ba") <= 1, "expected no mixture of bytes")


def _resume_any(tus: Target, url: str, offset: int) -> None:
    response = tus.append(url, offset, b"c" * (300_000 - offset))
    expect_status(response, 204, 200, 423)


@check("CORE-PATCH-21", needs=CREATION)
def a_busy_upload_answers_423(tus: Target) -> None:
    """A PATCH beside a running one succeeds or is 409 or 423, and the file comes out right."""
    data = sample(100_000)
    url = tus.create(len(data))
    with part_way(tus, url, 0, data, sent=50_000) as connection:
        time.sleep(0.3)
        response = tus.append(url, 50_000, data[50_000:60_000])
        expect_status(response, 204, 409, 423)
        connection.close()
    offset = _settle(tus, url, 60_000 if response.status == 204 else 50_000)
    _resume(tus, url, data, offset)
