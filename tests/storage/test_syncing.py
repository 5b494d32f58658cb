"""Syncs: large ones keep no small one waiting, and the disk begins early."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from tests.engine.conftest import eventually
from tests.state.uploads import make_upload
from tests.storage.fakes import data_path, open_files, opened
from tusserver.storage import syncing
from tusserver.storage.files import start_writing

MIB = 1024 * 1024


@pytest.fixture
def upload(storage):
    return make_upload(epoch=storage.epoch)


@pytest.fixture
async def small(storage, upload):
    lease = await storage.create(upload, sync=False)
    yield lease
    await lease.release()


@pytest.fixture
async def large(storage):
    upload = make_upload(epoch=storage.epoch, length=20 * MIB)
    lease = await storage.create(upload, sync=False)
    yield lease
    await lease.release()


class Told:
    """What the kernel was told to begin with; it answers when it may."""

    def __init__(self, monkeypatch, *, can=True):
        self.ranges = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.can = can
        monkeypatch.setattr(syncing, "start_writing", self)

    def __call__(self, descriptor, offset, count):
        os.fstat(descriptor)
        self.ranges.append((offset, count))
        self.begun.set()
        assert self.go_on.wait(5)
        return self.can


async def test_a_small_upload_is_synced_while_large_ones_take_their_time(
    storage, upload, small, large, monkeypatch
):
    go_on, real = threading.Event(), os.fdatasync

    def slow(descriptor):
        if os.fstat(descriptor).st_size > syncing.LARGE:
            go_on.wait(5)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    syncs = [asyncio.create_task(storage.sync(large.upload_id)) for _ in range(40)]
    await asyncio.sleep(0)
    async with asyncio.timeout(4):
        await storage.sync(small.upload_id)
        await storage.record(small, upload.next(offset=1), sync=True)
    assert not any(one.done() for one in syncs)
    go_on.set()
    await asyncio.gather(*syncs)


async def test_commits_that_are_synced_keep_other_file_calls_not_waiting(
    storage, upload, small, monkeypatch
):
    go_on = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: go_on.wait(5))
    commits = [
        asyncio.create_task(
            storage.record(small, upload.next(offset=1), sync=True),
        )
    ]
    others = [asyncio.create_task(storage.check_space(1)) for _ in range(20)]
    async with asyncio.timeout(4):
        await asyncio.gather(*others)
    assert not commits[0].done()
    go_on.set()
    await asyncio.gather(*commits)


async def test_creations_that_are_synced_keep_other_file_calls_not_waiting(storage, monkeypatch):
    go_on, real = threading.Event(), os.fsync

    def slow(descriptor):
        go_on.wait(5)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    creations = [
        asyncio.create_task(storage.create(make_upload(epoch=storage.epoch), sync=True))
        for _ in range(20)
    ]
    async with asyncio.timeout(4):
        await storage.check_space(1)
    assert not any(one.done() for one in creations)
    go_on.set()
    for lease in await asyncio.gather(*creations):
        await lease.release()


async def test_the_disk_is_told_of_one_piece_of_a_file_at_a_time(
    storage, small, large, monkeypatch
):
    told = Told(monkeypatch)
    assert storage.write_early(large, 0, 8 * MIB)
    assert not storage.write_early(large, 8 * MIB, 16 * MIB)
    assert storage.write_early(small, 0, 10)
    told.go_on.set()
    assert await eventually(lambda: storage.write_early(large, 8 * MIB, 20 * MIB))
    assert await eventually(lambda: len(told.ranges) == 3)
    assert sorted(told.ranges) == [(0, 10), (0, 8 * MIB), (8 * MIB, 12 * MIB)]


async def test_a_lease_may_end_while_the_disk_is_told(storage, monkeypatch):
    told = Told(monkeypatch)
    upload = make_upload(epoch=storage.epoch, length=20 * MIB)
    lease = await storage.create(upload, sync=False)
    assert storage.write_early(lease, 0, 8 * MIB)
    await lease.release()
    again = await storage.lease(upload.upload_id, on_contended=_never, timeout=0)
    told.go_on.set()
    await again.release()


async def _never(_holder):
    raise AssertionError("the lease was not let go")


async def test_where_the_kernel_cannot_begin_early_it_is_asked_once(storage, large, monkeypatch):
    told = Told(monkeypatch, can=False)
    told.go_on.set()
    assert storage.write_early(large, 0, 8 * MIB)
    assert await eventually(lambda: storage.write_early(large, 8 * MIB, 16 * MIB))
    assert storage.write_early(large, 8 * MIB, 16 * MIB)
    await storage.sync(large.upload_id)
    assert told.ranges == [(0, 8 * MIB)]


async def test_no_file_stays_open_for_it(tmp_path):
    before = open_files()
    async with opened(tmp_path) as storage:
        upload = make_upload(epoch=storage.epoch, length=20 * MIB)
        lease = await storage.create(upload, sync=False)
        assert storage.write_early(lease, 0, 8 * MIB)
        await lease.release()
    assert open_files() == before


async def test_the_bytes_are_the_same_when_the_disk_began_early(storage, tmp_path, large):
    data = os.urandom(16 * MIB)
    os.pwrite(large.descriptor, data, 0)
    assert storage.write_early(large, 0, 16 * MIB)
    await storage.sync(large.upload_id)
    assert data_path(tmp_path, large.upload_id).read_bytes()[: len(data)] == data


def test_what_cannot_be_written_early_is_told_apart():
    reader, writer = os.pipe()
    try:
        assert not start_writing(writer, 0, 10)
    finally:
        os.close(reader)
        os.close(writer)
