"""Bytes on their way to the disk: begun early, and synced together where they fell idle."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.body import BodyEnd
from tusserver.errors import RequestMalformed, StateUnavailable
from tusserver.storage.local import LocalStorage

MIB = 1024 * 1024
CHUNK = bytes(range(256)) * 1024  # 256 KiB


# --- the disk begins early --------------------------------------------------------------------


class EarlyDisk(LocalStorage):
    """Notes with which bytes the disk is told to begin; at times it cannot."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = []
        self.can = True

    def write_early(self, _lease, start, end):
        if self.can:
            self.told.append((start // MIB, end // MIB))
        return self.can


async def test_the_disk_begins_with_each_8_mib(build):
    house = await build(storage=EarlyDisk)
    upload = await house.create(21 * MIB)
    assert (await house.append(upload, 0, FedBody(*[CHUNK] * 4 * 21))).is_complete
    assert house.parts.storage.told == [(0, 8), (8, 16)]


async def test_the_disk_begins_early_with_what_comes_in_many_requests(build):
    house = await build(storage=EarlyDisk)
    upload = await house.create(64 * MIB)
    for at in range(0, 20, 5):
        await house.append(upload, at * MIB, FedBody(*[CHUNK] * 4 * 5))
    assert house.parts.storage.told == [(0, 8), (8, 16)]


async def test_a_disk_that_is_not_ready_is_told_of_more_later(build):
    house = await build(storage=EarlyDisk)
    upload = await house.create(64 * MIB)
    body = FedBody(*[CHUNK] * 4 * 12, end=None)
    house.parts.storage.can = False
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    assert await eventually(lambda: work.progress.uncommitted)
    house.parts.storage.can = True
    for _ in range(4 * 12):
        body.feed(CHUNK)
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append
    told = house.parts.storage.told
    assert told[0][0] == 0
    assert told[-1][1] == 24


async def test_process_has_the_disk_begin_with_nothing(build):
    house = await build(storage=EarlyDisk, durability="process")
    upload = await house.create(20 * MIB)
    assert (await house.append(upload, 0, FedBody(*[CHUNK] * 4 * 20))).is_complete
    assert house.parts.storage.told == []


# --- what fell idle ---------------------------------------------------------------------------


async def test_idle_uploads_are_synced_at_the_same_time(house, monkeypatch):
    """The file system makes one commit of what waits together."""
    uploads = [await house.create(10) for _ in range(9)]
    for upload in uploads:
        await house.append(upload, 0, FedBody(b"12345"))
    together, real = threading.Barrier(3), os.fdatasync
    data = {house.directory / one.upload_id[:2] / one.upload_id for one in uploads}

    def meeting(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink() in data:
            together.wait(5)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", meeting)
    await house.engine._idle.sync_everything()
    assert {(await house.record(one)).synced for one in uploads} == {5}


async def test_idle_uploads_stay_remembered_while_the_state_store_is_away(house, monkeypatch):
    uploads = [await house.create(10) for _ in range(20)]
    for upload in uploads:
        await house.append(upload, 0, FedBody(b"12345"))

    async def away(*_words, **_more):
        raise StateUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(house.parts.records, "load", away)
        await house.engine._idle.sync_everything()
    await house.engine._idle.sync_everything()
    assert {(await house.record(one)).synced for one in uploads} == {5}
