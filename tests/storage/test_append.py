"""From body to file: positional writes, the window, faults, cancellation."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import threading
import time

import pytest

from tests.engine.conftest import eventually
from tests.state.uploads import make_upload
from tests.storage.fakes import Count, FedBody, append, data_path, take
from tusserver.body import BodyEnd, Tap
from tusserver.errors import LengthExceeded, StorageFault, StorageFull
from tusserver.storage import files
from tusserver.storage import pool as pool_module
from tusserver.storage.pool import TimedWriter, waits_of_thread

MIB = 1024 * 1024


@pytest.fixture
async def upload(storage):
    return make_upload(epoch=storage.epoch)


@pytest.fixture
async def lease(storage, upload):
    made = await storage.create(upload, sync=False)
    yield made
    await made.release()


def read(tmp_path, upload):
    return data_path(tmp_path, upload.upload_id).read_bytes()


async def test_bytes_are_stored_at_the_offset_and_nowhere_else(storage, tmp_path, upload, lease):
    progress = Count()
    stored = await append(storage, lease, FedBody(b"abc", b"de"), offset=7, progress=progress)
    assert stored == progress.stored == 5
    assert read(tmp_path, upload) == bytes(7) + b"abcde" + bytes(988)


async def test_what_an_append_left_behind_is_overwritten_by_the_next(
    storage, tmp_path, upload, lease
):
    await append(storage, lease, FedBody(b"garbage"), offset=3)
    await append(storage, lease, FedBody(b"ok"), offset=3)
    assert read(tmp_path, upload)[:10] == bytes(3) + b"okrbage"


@pytest.mark.parametrize(
    ("chunks", "window", "stored"),
    [
        ((b"abcde",), 5, 5),
        ((b"abc", b"de"), 5, 5),
        ((b"ab",), 5, 2),
        ((), 5, 0),
        ((), 0, 0),
    ],
    ids=["whole", "two", "less", "nothing", "no room"],
)
async def test_a_body_that_fits_ends_by_itself(storage, lease, chunks, window, stored):
    body = FedBody(*chunks)
    assert await append(storage, lease, body, window=window) == stored
    assert body.end is BodyEnd.COMPLETE


@pytest.mark.parametrize(
    ("chunks", "window"),
    [((b"abcdeX",), 5), ((b"abcde", b"X"), 5), ((b"X",), 0)],
    ids=["in one", "in the next", "no room"],
)
async def test_past_the_window_the_prefix_is_kept_and_the_body_refused(
    storage, tmp_path, upload, lease, *, chunks, window
):
    body, progress = FedBody(*chunks, end=None), Count()
    with pytest.raises(LengthExceeded):
        await append(storage, lease, body, window=window, progress=progress)
    assert progress.stored == window
    assert body.end is BodyEnd.REFUSED
    assert read(tmp_path, upload) == b"abcde"[:window] + bytes(1000 - window)


async def test_the_tap_sees_exactly_the_stored_bytes(storage, lease):
    tap = Tap("sha1")
    with pytest.raises(LengthExceeded):
        await append(storage, lease, FedBody(b"abc", b"deX"), window=5, tap=tap)
    assert tap.matches("sha1", hashlib.sha1(b"abcde").digest())  # noqa: S324


async def test_while_progress_is_blocked_nothing_more_is_read(storage, lease):
    progress, body = Count(), FedBody(b"abc", b"def")
    progress.blocked = True
    task = asyncio.create_task(append(storage, lease, body, progress=progress))
    assert await eventually(lambda: progress.stored)
    await asyncio.sleep(0.05)
    assert progress.stored == 3
    progress.open.set()
    assert await task == 6


async def test_a_body_that_never_waits_lets_others_run(storage, tmp_path):
    upload = make_upload(length=64 * MIB)
    lease = await storage.create(upload, sync=False)
    body, turns = FedBody(*[bytes(256 * 1024)] * 64), []
    task = asyncio.create_task(append(storage, lease, body))
    while not task.done():
        turns.append(0)
        await asyncio.sleep(0)
    assert len(turns) > 10
    await lease.release()


async def test_short_writes_are_carried_on(storage, tmp_path, upload, lease, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:3], offset)
    )
    assert await append(storage, lease, FedBody(b"abcdefgh"), offset=2) == 8
    monkeypatch.undo()
    assert read(tmp_path, upload)[:10] == b"\0\0abcdefgh"


@pytest.mark.parametrize(
    ("number", "error", "word"),
    [(28, StorageFull, "free some"), (122, StorageFull, "quota"), (5, StorageFault, "health")],
    ids=["ENOSPC", "EDQUOT", "EIO"],
)
async def test_a_failing_write_ends_the_body_and_the_log_names_path_and_remedy(
    storage, tmp_path, upload, lease, *, monkeypatch, caplog, number, error, word
):
    real, progress = os.pwrite, Count()

    def fail(descriptor, data, offset):
        if offset >= 3:
            raise OSError(number, os.strerror(number))
        return real(descriptor, data, offset)

    body = FedBody(b"abc", b"def", end=None)
    monkeypatch.setattr(os, "pwrite", fail)
    with caplog.at_level(logging.WARNING), pytest.raises(error):
        await append(storage, lease, body, progress=progress)
    monkeypatch.undo()
    assert progress.stored == 3
    assert body.end is BodyEnd.REFUSED
    assert str(data_path(tmp_path, upload.upload_id)) in caplog.text
    assert word in caplog.text


async def test_a_cancelled_append_ends_only_when_its_write_has_returned(
    storage, tmp_path, upload, lease, monkeypatch
):
    """The write is in a thread, for a chunk that is too big for the loop."""
    entered, go_on, real = threading.Event(), threading.Event(), files.os.pwrite

    def slow(descriptor, data, offset):
        entered.set()
        go_on.wait(5)
        return real(descriptor, data, offset)

    big = b"x" * (300 * 1024)
    monkeypatch.setattr(files.os, "pwrite", slow)
    task = asyncio.create_task(append(storage, lease, FedBody(big, end=None)))
    await asyncio.to_thread(entered.wait, 5)
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert read(tmp_path, upload)[: len(big)] == big


async def test_cancelling_while_the_body_is_silent_ends_at_once(storage, lease):
    task = asyncio.create_task(append(storage, lease, FedBody(b"abc", end=None)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- sync -----------------------------------------------------------------------------------


async def test_a_sync_needs_no_lease(storage, upload, lease):
    await storage.sync(upload.upload_id)
    await lease.release()
    await storage.sync(upload.upload_id)


async def test_what_is_held_here_is_synced_through_the_writers_own_open_file(
    storage, tmp_path, upload, lease
):
    """The kernel tells of a write that was lost before only who had the file open then."""
    data_path(tmp_path, upload.upload_id).unlink()
    await storage.sync(upload.upload_id)
    await lease.release()
    with pytest.raises(StorageFault):
        await storage.sync(upload.upload_id)


async def test_a_sync_that_fails_is_a_fault_and_the_log_names_the_disk(
    storage, tmp_path, upload, lease, *, monkeypatch, caplog
):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with caplog.at_level(logging.ERROR), pytest.raises(StorageFault):
        await storage.sync(upload.upload_id)
    assert str(data_path(tmp_path, upload.upload_id)) in caplog.text


async def test_a_sync_that_runs_on_does_not_keep_the_lease(storage, upload, lease, monkeypatch):
    entered, go_on, real = threading.Event(), threading.Event(), os.fdatasync

    def slow(descriptor):
        entered.set()
        go_on.wait(5)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    syncing = asyncio.create_task(storage.sync(upload.upload_id))
    await asyncio.to_thread(entered.wait, 5)
    await lease.release()
    successor = await take(storage, upload.upload_id)
    assert successor is not None
    go_on.set()
    await syncing
    await successor.release()


async def test_syncs_do_not_keep_other_file_calls_waiting(storage, upload, lease, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: go_on.wait(5))
    syncs = [asyncio.create_task(storage.sync(upload.upload_id)) for _ in range(20)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(4):
        await storage.peek(upload.upload_id)
    go_on.set()
    await asyncio.gather(*syncs)


# --- who writes: the loop or a thread -------------------------------------------------------


class Recorder:
    """Notes in which thread each write runs, and makes writes slow when told to."""

    def __init__(self, monkeypatch):
        self.threads = []
        self.now = 0.0
        self.seconds = 0.0
        monkeypatch.setattr(pool_module, "write_all", self.write)

    def write(self, _descriptor, _data, _offset):
        self.threads.append(threading.current_thread() is threading.main_thread())
        self.now += self.seconds

    def clock(self):
        return self.now


async def test_small_quick_writes_stay_on_the_loop_and_big_ones_do_not(threads, monkeypatch):
    recorder = Recorder(monkeypatch)
    writer = TimedWriter(threads, clock=recorder.clock)
    for size in (1, 256 * 1024, 256 * 1024 + 1):
        await writer.write(0, bytes(size), 0)
    assert recorder.threads == [True, True, False]


async def test_after_a_slow_write_all_use_threads_for_ten_seconds(threads, monkeypatch):
    recorder = Recorder(monkeypatch)
    writer = TimedWriter(threads, clock=recorder.clock)
    recorder.seconds = 0.021
    await writer.write(0, b"x", 0)
    recorder.seconds = 0.0
    await writer.write(0, b"x", 0)
    recorder.now += 9.9
    await writer.write(0, b"x", 0)
    recorder.now += 0.2
    await writer.write(0, b"x", 0)
    assert recorder.threads == [True, False, False, True]


@pytest.mark.parametrize("waited", [False, True])
async def test_a_large_write_is_slow_only_if_the_thread_waited_for_something(
    threads, tmp_path, *, waited
):
    now, waits = itertools.count(0.0, 0.021), 0

    def count_waits():
        nonlocal waits
        waits += waited
        return waits

    writer = TimedWriter(threads, clock=lambda: next(now), waits=count_waits)
    data = bytes(600_000)
    with (tmp_path / "file").open("wb") as file:
        done = writer.write_now(file.fileno(), memoryview(data), 0)
    assert done == (262_144 if waited else len(data))
    assert writer.is_quick is not waited


async def test_large_writes_end_where_pages_do(threads, tmp_path, monkeypatch):
    places, pwrite = [], os.pwrite

    def noting(descriptor, data, offset):
        places.append(offset)
        return pwrite(descriptor, data, offset)

    data = os.urandom(600_000)
    with (tmp_path / "file").open("w+b") as file:
        monkeypatch.setattr(os, "pwrite", noting)
        done = TimedWriter(threads).write_now(file.fileno(), memoryview(data), 5000)
        assert file.read() == bytes(5000) + data[:done]
    assert [place % 65_536 for place in places[1:]] == [0] * (len(places) - 1)


def test_waits_of_a_thread_are_counted():
    before = waits_of_thread()
    time.sleep(0.001)
    assert waits_of_thread() > before


async def test_what_a_cancelled_call_made_is_undone_before_the_cancellation_goes_on(threads):
    entered, go_on, undone = threading.Event(), threading.Event(), []

    def make():
        entered.set()
        go_on.wait(5)
        return "made"

    task = asyncio.create_task(threads.run(make, undo=undone.append))
    await asyncio.to_thread(entered.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["made"]


async def test_a_cancelled_call_that_fails_has_nothing_to_undo(threads, caplog):
    entered, go_on, undone = threading.Event(), threading.Event(), []

    def fail():
        entered.set()
        go_on.wait(5)
        raise OSError(5, "Input/output error")

    task = asyncio.create_task(threads.run(fail, undo=undone.append))
    await asyncio.to_thread(entered.wait, 5)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == []
