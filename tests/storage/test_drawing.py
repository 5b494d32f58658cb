"""From a pipe to the file: what is drawn, what is left, and what comes up when it fails."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import itertools
import os

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import Count, FedBody, append, data_path
from tusserver.body import BodyEnd, Tap
from tusserver.errors import LengthExceeded, StorageFull
from tusserver.storage.pool import TimedWriter

MIB = 1024 * 1024


def read(tmp_path, upload):
    return data_path(tmp_path, upload.upload_id).read_bytes()


@pytest.fixture
def pipe():
    """A pipe of 1 MiB: where bytes come out, and where they go in."""
    out, into = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, MIB)
    yield out, into
    os.close(out)
    os.close(into)


def fill(pipe, data):
    assert os.write(pipe[1], data) == len(data)
    return data


def rest(pipe):
    try:
        return os.read(pipe[0], 2 * MIB)
    except BlockingIOError:
        return b""


async def test_what_lies_in_a_pipe_is_written_in_pieces_that_end_where_pages_do(
    threads, tmp_path, pipe, monkeypatch
):
    places, splice = [], os.splice

    def noting(source, target, count, **more):
        places.append(more["offset_dst"])
        # Not all at once, as at the end of what a pipe holds together.
        return splice(source, target, min(count, 200_000), **more)

    data = fill(pipe, os.urandom(900_000))
    writer = TimedWriter(threads, clock=lambda: 0.0)
    with (tmp_path / "file").open("w+b") as file:
        monkeypatch.setattr(os, "splice", noting)
        assert writer.draw_now(file.fileno(), pipe[0], 800_000, 5000) == 800_000
        assert file.read() == bytes(5000) + data[:800_000]
    assert rest(pipe) == data[800_000:]
    assert max(b - a for a, b in itertools.pairwise(places)) <= 262_144


async def test_after_a_slow_write_the_rest_stays_in_the_pipe(threads, tmp_path, pipe):
    now = itertools.count(0.0, 0.021)
    writer = TimedWriter(threads, clock=lambda: next(now))
    data = fill(pipe, os.urandom(900_000))
    with (tmp_path / "file").open("w+b") as file:
        done = writer.draw_now(file.fileno(), pipe[0], len(data), 0)
        assert done == 262_144
        assert not writer.is_quick
        assert file.read() + rest(pipe) == data


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
async def test_files_that_take_nothing_from_a_pipe_are_not_asked_again(
    threads, tmp_path, pipe, monkeypatch, number
):
    monkeypatch.setattr(os, "splice", failing(number))
    writer, data = TimedWriter(threads), fill(pipe, os.urandom(9000))
    with (tmp_path / "file").open("w+b") as file:
        assert writer.draw_now(file.fileno(), pipe[0], len(data), 0) == 0
    assert not writer.can_draw
    assert rest(pipe) == data


@pytest.mark.parametrize("after", [0, 1])
async def test_a_fault_of_the_disk_comes_up_with_the_first_byte_that_it_keeps_out(
    threads, tmp_path, pipe, monkeypatch, after
):
    monkeypatch.setattr(os, "splice", failing(errno.ENOSPC, after=after))
    writer = TimedWriter(threads, clock=lambda: 0.0)
    data = fill(pipe, os.urandom(900_000))
    with (tmp_path / "file").open("w+b") as file:
        if after:
            assert writer.draw_now(file.fileno(), pipe[0], len(data), 0) == 262_144
        with pytest.raises(OSError, match="broken"):
            writer.draw_now(file.fileno(), pipe[0], len(data), 262_144 * after)
        assert file.read() + rest(pipe) == data
    assert writer.can_draw


def failing(number, *, after=0):
    """Make a splice that works so many times."""
    splice, left = os.splice, [after]

    def fail(*things, **more):
        if left[0]:
            left[0] -= 1
            return splice(*things, **more)
        raise OSError(number, "broken")

    return fail


class DrawnBody(FedBody):
    """A body that comes by a pipe as far as the sink draws it."""

    def __init__(self, pipe, data):
        super().__init__(end=None)
        self._pipe = pipe
        self._data = data
        self.offered = []

    async def pour(self, sink):
        while self._data and self.end is None:
            piece, self._data = self._data[:500_000], self._data[500_000:]
            fill(self._pipe, piece)
            drawn = sink.draw(self._pipe[0], len(piece)) if sink.can_draw else 0
            left = rest(self._pipe)
            assert left == piece[drawn:]
            if left:
                self.offered.append(left)
                stored = sink.put(memoryview(bytearray(left)), self)
                if stored < len(left):
                    self.feed(left[stored:])
                    return
        if self.end is None:
            self.end = BodyEnd.COMPLETE

    def lend(self, data):
        pass

    def take_back(self, data):
        pass


@pytest.fixture
async def large(storage):
    upload = make_upload(length=8 * MIB)
    lease = await storage.create(upload, sync=False)
    yield upload, lease
    await lease.release()


async def test_a_body_may_be_drawn_into_its_file(storage, tmp_path, pipe, large, quick_disk):
    upload, lease = large
    body, progress = DrawnBody(pipe, data := os.urandom(2_000_000)), Count()
    assert await append(storage, lease, body, offset=77, progress=progress) == len(data)
    assert body.offered == []
    assert progress.stored == len(data)
    assert read(tmp_path, upload)[77 : 77 + len(data)] == data


@pytest.mark.parametrize("why", ["window", "tap", "blocked"])
async def test_what_is_not_to_be_drawn_is_left_in_the_pipe(
    storage, tmp_path, pipe, large, quick_disk, *, why
):
    upload, lease = large
    body, progress = DrawnBody(pipe, data := os.urandom(2_000_000)), Count()
    window = 700_001 if why == "window" else 2**40
    tap = Tap("sha1") if why == "tap" else None
    if why == "blocked":
        progress.blocked = True
        asyncio.get_running_loop().call_later(0.05, progress.open.set)
    appending = append(storage, lease, body, window=window, tap=tap, progress=progress)
    if why == "window":
        with pytest.raises(LengthExceeded):
            await appending
    else:
        await appending
    assert progress.stored == min(len(data), window)
    assert read(tmp_path, upload)[: progress.stored] == data[: progress.stored]
    assert body.offered
    if tap is not None:
        assert tap.matches("sha1", hashlib.sha1(data).digest())  # noqa: S324


async def test_a_full_disk_ends_a_body_that_is_drawn(storage, pipe, large, quick_disk, monkeypatch):
    _, lease = large
    monkeypatch.setattr(os, "splice", failing(errno.ENOSPC, after=1))
    real, progress = os.pwrite, Count()

    def full(descriptor, data, offset):
        if offset >= 262_144:
            raise OSError(errno.ENOSPC, "no space left")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    body = DrawnBody(pipe, os.urandom(2_000_000))
    with pytest.raises(StorageFull):
        await append(storage, lease, body, progress=progress)
    assert progress.stored == 262_144
    assert body.end is BodyEnd.REFUSED
