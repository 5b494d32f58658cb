"""Checks of expiration (tus 1.0.0, Expiration); those that wait are bounded by a setting."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, Violation, check, expect, expect_status
from conformance.evidence import (
    PATCH_TYPE,
    eventually,
    expect_content,
    expect_gone,
    expect_offset,
    finish,
    is_ok,
    location,
    part_way,
    sample,
    state,
)
from conformance.wire import WireError

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Connection, Response

EXPIRATION = ("creation", "expiration")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MARGIN = 1.5  # seconds: dates in headers have none of their fractions
SWEEP = 3.0  # seconds after its time until an upload must be gone, if the setting allows


def when(response: Response) -> float | None:
    """Read Upload-Expires as seconds since the epoch, in the one form that is allowed."""
    told = response.get("Upload-Expires")
    if told is None:
        return None
    try:
        date = parsedate_to_datetime(told)
    except (ValueError, TypeError) as error:
        raise Violation(
            f"expected Upload-Expires that is an HTTP date, got {told!r}", response
        ) from error
    exact = (
        f"{DAYS[date.weekday()]}, {date.day:02} {MONTHS[date.month - 1]} {date.year:04} "
        f"{date.hour:02}:{date.minute:02}:{date.second:02} GMT"
    )
    expect(told == exact, f"expected Upload-Expires: {exact}, got {told}", response)
    return date.timestamp()


def server_time(response: Response) -> float:
    """Give the server's own clock by its Date, ours if it tells none."""
    date = response.get("Date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


def created(tus: Target, length: int = 10, **more: str) -> tuple[str, Response]:
    """Create an upload; give the answer too."""
    tus.need_room(length)
    fields = {"Upload-Length": str(length)}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    response = tus.post(fields=fields)
    return location(tus, response), response


def life(tus: Target, response: Response) -> float:
    """Give how many seconds an upload lives; leave the check if that is longer than it may wait."""
    end = when(response)
    if end is None:
        raise NotApplicable("the creation tells no Upload-Expires")
    seconds = end - server_time(response)
    if seconds + SWEEP > tus.settings.expiry_wait:
        raise NotApplicable(f"uploads live for {seconds:.0f} s, longer than the run may wait")
    return seconds


@check("EXP-01", "EXP-02")
def expiration_is_announced_exactly_when_uploads_expire(tus: Target) -> None:
    """Upload-Expires is told if and only if expiration is announced."""
    if not tus.has("creation"):
        raise NotApplicable("nothing can be created")
    url, response = created(tus)
    answer = tus.append(url, 0, b"01234")
    tells = when(response) is not None or when(answer) is not None
    if tus.has("expiration"):
        expect(tells, "expected Upload-Expires in the answers to POST and PATCH")
    else:
        expect(not tells, "expected expiration announced, as Upload-Expires is told")


@check("EXP-02", "EXP-04", needs=EXPIRATION)
def every_patch_tells_the_end(tus: Target) -> None:
    """Each 204 for an upload that is not complete carries Upload-Expires, empty PATCHes too."""
    url, _ = created(tus)
    for offset, data in ((0, b"0"), (1, b""), (1, b"1234"), (5, b"5678")):
        response = tus.append(url, offset, data)
        if not data and not is_ok(response):
            continue  # an empty PATCH may be refused
        expect_status(response, 204)
        expect(
            when(response) is not None, f"expected Upload-Expires in the 204 for {len(data)} bytes"
        )
    when(tus.append(url, 9, b"9"))


@check("EXP-03", "EXP-04", needs=EXPIRATION)
def creation_tells_the_end(tus: Target) -> None:
    """The 201 carries Upload-Expires if a PATCH right after it does."""
    url, response = created(tus)
    later = when(tus.append(url, 0, b"0"))
    if later is None:
        raise NotApplicable("this upload seems not to expire")
    expect(when(response) is not None, "expected Upload-Expires in the 201", response)


@check("EXP-03", needs=(*EXPIRATION, "creation-with-upload"))
def creation_with_data_tells_the_end(tus: Target) -> None:
    """The 201 for a creation with some of the data carries Upload-Expires as well."""
    fields = {"Upload-Length": "10", "Content-Type": PATCH_TYPE}
    response = tus.post(fields=fields, body=b"01234")
    expect_status(response, 201)
    expect(when(response) is not None, "expected Upload-Expires in the 201", response)


@check("EXP-04", "EXP-05", needs=EXPIRATION)
def head_tells_the_same_end(tus: Target) -> None:
    """HEAD tells Upload-Expires, and the same time as POST and PATCH did."""
    url, response = created(tus)
    for answer in (response, tus.append(url, 0, b"01234")):
        told, seen = when(answer), when(state(tus, url))
        if seen is None:
            raise NotApplicable("HEAD does not tell the end, and need not")
        near = told is None or abs(seen - told) <= MARGIN + 1
        expect(
            near, f"expected the Upload-Expires of the last answer from HEAD, {told}, got {seen}"
        )


@check("EXP-07", needs=EXPIRATION)
def end_never_moves_back(tus: Target) -> None:
    """The time that a PATCH tells is no earlier than the one that was told before."""
    url, response = created(tus)
    last = when(response)
    for offset in range(2):
        time.sleep(1.1)
        told = when(tus.append(url, offset, b"0"))
        back = last is not None and told is not None and told < last - MARGIN
        expect(not back, f"expected an Upload-Expires that is not before {last}, got {told}")
        last = told


@check("EXP-10", needs=EXPIRATION)
def end_lies_in_the_future(tus: Target) -> None:
    """Upload-Expires is later than the Date of the same answer."""
    url, response = created(tus)
    for answer in (response, tus.append(url, 0, b"01234"), state(tus, url)):
        end = when(answer)
        now = server_time(answer)
        expect(end is None or end > now - 0.5, f"expected an end after {now}, got {end}", answer)


@check("EXP-11", needs=(*EXPIRATION, "concatenation"))
def partial_uploads_expire_too(tus: Target) -> None:
    """A partial upload that is not complete tells its end, as any other does."""
    url, response = created(tus, Upload_Concat="partial")
    expect(
        when(response) is not None,
        "expected Upload-Expires in the 201 of a partial upload",
        response,
    )
    answer = tus.append(url, 0, b"01234")
    expect(
        when(answer) is not None, "expected Upload-Expires in the 204 of a partial upload", answer
    )


@check("EXP-11", needs=(*EXPIRATION, "concatenation", "concatenation-unfinished"))
def unfinished_final_uploads_expire_too(tus: Target) -> None:
    """A final upload that waits for its parts tells its end."""
    part, _ = created(tus, Upload_Concat="partial")
    response = tus.post(fields={"Upload-Concat": f"final;{tus.path(part)}"})
    expect_status(response, 201)
    expect(
        when(response) is not None,
        "expected Upload-Expires in the 201 of a waiting final",
        response,
    )


@check("EXP-06", "EXP-08", needs=EXPIRATION)
def uploads_expire_at_their_time_and_not_before(tus: Target) -> None:
    """An upload is there until Upload-Expires, and then 404 or 410 for every verb."""
    url, response = created(tus)
    half, answer = created(tus)
    seconds = life(tus, response)
    begun = time.monotonic()
    expect_status(tus.append(half, 0, b"01234"), 204)
    while time.monotonic() - begun < seconds - MARGIN:
        expect_offset(tus, url, 0, "before the time of Upload-Expires")
        time.sleep(0.2)
    ends = [when(one) or 0.0 for one in (answer, state(tus, half))]
    grace = max(ends) - min(ends) + MARGIN + SWEEP
    left = max(0.0, seconds - (time.monotonic() - begun))
    for one in (url, half):
        gone = eventually(partial(_is_gone, tus, one), seconds=left + grace)
        expect(gone, "expected an upload that is gone when Upload-Expires is over")
        expect_gone(tus.head(one), "HEAD of an expired upload")
        for offset, data in ((5, b"56789"), (0, b"0123456789")):
            expect_gone(tus.append(one, offset, data), "PATCH on an expired upload")
        expect(not is_ok(tus.get(one)), "expected no download of an expired upload")
        expect_gone(tus.head(one), "HEAD of an expired upload, after PATCH")


@check("EXP-08", needs=EXPIRATION)
def uploads_do_not_vanish_before_their_time(tus: Target) -> None:
    """An upload whose end is far away is still there for as long as the run waits."""
    url, response = created(tus)
    end = when(response)
    if end is None or not tus.settings.expiry_wait:
        raise NotApplicable("no Upload-Expires, or a run without --expiry-wait")
    seconds = min(tus.settings.expiry_wait, end - server_time(response) - MARGIN)
    expect_status(tus.append(url, 0, b"01234"), 204)
    time.sleep(max(0.0, seconds))
    expect_offset(tus, url, 5, "before the time of Upload-Expires")
    finish(tus, url, b"0123456789", 5)


def _is_gone(tus: Target, url: str) -> bool:
    return not is_ok(tus.head(url))


@check("EXP-08", "EXP-07", needs=EXPIRATION)
def running_patch_outlives_the_end(tus: Target) -> None:
    """An upload to which bytes flow is not removed under its writer."""
    size = 4_000
    data = sample(size)
    url, response = created(tus, size)
    seconds = life(tus, response) + 1.5
    steps = max(10, int(seconds / 0.25))
    connection = part_way(tus, url, 0, data, sent=1)
    try:
        answer = _dripped(connection, data, steps, seconds)
    except (WireError, OSError) as error:
        raise Violation(
            f"expected a PATCH that runs over Upload-Expires to be answered ({error})"
        ) from error
    finally:
        connection.close()
    expect_status(answer, 204)
    expect_content(tus, url, data)


def _dripped(connection: Connection, data: bytes, steps: int, seconds: float) -> Response:
    """Send all but the first byte in equal steps over a time, and read the answer."""
    sent = 1
    for step in range(1, steps + 1):
        time.sleep(seconds / steps)
        upto = max(sent, len(data) * step // steps)
        connection.send(data[sent:upto])
        sent = upto
    return connection.read_response("PATCH")


@check("EXP-08", needs=EXPIRATION)
def complete_uploads_keep_their_promise(tus: Target) -> None:
    """A complete upload without Upload-Expires is still there when unfinished ones are gone."""
    data = sample(10)
    url, response = created(tus)
    seconds = life(tus, response)
    finish(tus, url, data, 0)
    if when(state(tus, url)) is not None:
        raise NotApplicable("complete uploads expire here, and say so")
    time.sleep(seconds + MARGIN)
    expect_content(tus, url, data)
