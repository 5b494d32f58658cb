"""The commands of the engine: what is there before each, the request, and what holds after it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.engine.conftest import FedBody, House, eventually
from tests.support.files import files_under
from tusserver.errors import UploadNotFound
from tusserver.protocol.messages import Checksum

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

DATA = bytes(range(250)) * 40
HALF = len(DATA) // 2


def sha1(data):
    return Checksum("sha1", hashlib.sha1(data).digest())  # noqa: S324 - tus asks for it


@dataclass(frozen=True, slots=True)
class Place:
    """What a command finds."""

    house: House
    upload: Any = None
    """None where the command makes it."""
    parts: tuple[Any, ...] = ()
    holding: asyncio.Task[Any] | None = None
    """A running append whose client has fallen silent."""


# --- what is there before ------------------------------------------------------------------


async def nothing(house):
    return Place(house)


async def open_upload(house):
    return Place(house, await house.create(len(DATA)))


async def deferred_upload(house):
    return Place(house, await house.create(None))


async def finished_upload(house):
    upload = await house.create(len(DATA))
    return Place(house, await house.append(upload, 0, FedBody(DATA)))


async def silent_append(house):
    upload = await house.create(len(DATA))
    holding = house.start_append(upload, 0, FedBody(DATA[:HALF], end=None))
    work = await house.receiving(upload)
    assert await eventually(lambda: work.progress.position == HALF)
    # Whatever comes of it is nobody's: its client has gone.
    holding.add_done_callback(lambda task: task.cancelled() or task.exception())
    return Place(house, upload, holding=holding)


async def finished_parts(house):
    pieces = DATA[:HALF], DATA[HALF:]
    made = [await house.create(len(piece), partial=True) for piece in pieces]
    for part, piece in zip(made, pieces, strict=True):
        await house.append(part, 0, FedBody(piece))
    return Place(house, parts=tuple(made))


async def waiting_final(house):
    part = await house.create(len(DATA), partial=True)
    return Place(house, await house.join(part), parts=(part,))


# --- what must hold afterwards -------------------------------------------------------------


async def goes_on(at, outcome):
    """Fill the upload from where it says that it is, and compare every byte."""
    house, upload = at.house, at.upload
    described = await house.head(upload)
    offset = described.offset
    assert 0 <= offset <= len(DATA)
    assert (offset == len(DATA)) == described.upload.is_complete
    if not described.upload.is_complete:
        done = await house.append(upload, offset, FedBody(DATA[offset:]))
        assert done.is_complete
    assert await house.content(upload) == DATA
    assert at.holding is None or await eventually(at.holding.done)


async def goes_on_if_made(at, outcome):
    if not isinstance(outcome, BaseException):
        await goes_on(replace(at, upload=outcome), outcome)


async def is_empty_if_made(at, outcome):
    if not isinstance(outcome, BaseException):
        assert await at.house.content(outcome) == b""


async def was_refused(at, outcome):
    assert isinstance(outcome, BaseException)


async def all_or_nothing(at, outcome):
    assert (await at.house.head(at.upload)).offset in {0, HALF}
    await goes_on(at, outcome)


async def nothing_counts(at, outcome):
    assert (await at.house.head(at.upload)).offset == 0
    await goes_on(at, outcome)


async def length_is_declared_once(at, outcome):
    record = await at.house.record(at.upload)
    assert record.length in {None, len(DATA)}
    if record.length is None:
        left = FedBody(DATA[record.offset :])
        await at.house.append(at.upload, record.offset, left, declared_length=len(DATA))
    await goes_on(at, outcome)


async def gone_or_goes_on(at, outcome):
    try:
        await at.house.head(at.upload)
    except UploadNotFound:
        # Where only the removal mark was written, the sweeper does the rest.
        await at.house.engine.sweeper.sweep()
        name = at.upload.upload_id

        def left():
            return [path for path in files_under(at.house.directory) if path.match(f"{name}*")]

        assert await eventually(lambda: not left())
        assert at.holding is None or await eventually(at.holding.done)
    else:
        assert isinstance(outcome, BaseException)
        await goes_on(at, outcome)


async def is_joined(at, outcome):
    # What was begun for a client that has gone is completed or taken back by the sweeper.
    await at.house.engine.sweeper.sweep()
    final = await at.house.join(*at.parts) if isinstance(outcome, BaseException) else outcome
    await _is_assembled(at.house, final)


async def final_is_joined(at, outcome):
    [part] = at.parts
    described = await at.house.head(part)
    if not described.upload.is_complete:
        await at.house.append(part, described.offset, FedBody(DATA[described.offset :]))
    await at.house.engine.sweeper.sweep()
    await _is_assembled(at.house, at.upload)


async def _is_assembled(house, final):
    async def assembled():
        record = await house.record(final)
        return record.is_complete and record.assembled

    assert await eventually(assembled, seconds=15)
    assert await house.content(final) == DATA


# --- the commands --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One request and what surrounds it."""

    name: str
    run: Callable[[Place], Coroutine[Any, Any, Any]]
    before: Callable[[House], Coroutine[Any, Any, Place]] = field(default=open_upload)
    after: Callable[[Place, Any], Coroutine[Any, Any, None]] = field(default=goes_on)


def _append(offset, *pieces, **more):
    return lambda at: at.house.append(at.upload, offset, FedBody(*pieces), **more)


def _create(length, body=None, **more):
    return lambda at: at.house.create(length, body=None if body is None else FedBody(body), **more)


def _head(at):
    return at.house.head(at.upload)


def _terminate(at):
    return at.house.engine.terminate(at.upload.upload_id)


COMMANDS = [
    Command("an empty upload is made", _create(0), nothing, is_empty_if_made),
    Command("an upload is made", _create(len(DATA)), nothing, goes_on_if_made),
    Command("an upload is made with all bytes", _create(len(DATA), DATA), nothing,
            goes_on_if_made),
    Command("an upload is made with other bytes than its checksum",
            _create(len(DATA), DATA, checksum=sha1(b"other")), nothing, was_refused),
    Command("half is sent", _append(0, DATA[:HALF]), after=all_or_nothing),
    Command("all is sent", _append(0, DATA[:HALF], DATA[HALF:])),
    Command("half is sent with its checksum",
            _append(0, DATA[:HALF], checksum=sha1(DATA[:HALF])), after=all_or_nothing),
    Command("bytes are sent with another checksum",
            _append(0, b"?" * HALF, checksum=sha1(DATA)), after=nothing_counts),
    Command("the length comes with the bytes", _append(0, DATA, declared_length=len(DATA)),
            deferred_upload, length_is_declared_once),
    Command("an append takes over", _append(HALF, DATA[HALF:]), silent_append),
    Command("a silent append is looked at", _head, silent_append),
    Command("a running append is deleted", _terminate, silent_append, gone_or_goes_on),
    Command("an upload is deleted", _terminate, after=gone_or_goes_on),
    Command("parts are joined", lambda at: at.house.join(*at.parts), finished_parts, is_joined),
    Command("the last part that a final upload waits for is sent",
            lambda at: at.house.append(at.parts[0], 0, FedBody(DATA)), waiting_final,
            final_is_joined),
    Command("a file is read", lambda at: at.house.content(at.upload), finished_upload),
]  # fmt: skip
