"""What is on the disk before what: the contract of a completed upload, call by call.

Whether the kernel keeps its word is the matter of `tests/durability/`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.engine.conftest import FedBody

MIB = 1024 * 1024


class Recording:
    """Notes each write when it begins, and each sync when it has returned."""

    def __init__(self, monkeypatch):
        self.calls = []
        for name in ("fdatasync", "fsync"):
            monkeypatch.setattr(os, name, self._sync(name, getattr(os, name)))
        monkeypatch.setattr(os, "pwrite", self._write(os.pwrite))

    def _sync(self, name, real):
        def sync(descriptor):
            path = place(descriptor)
            real(descriptor)
            self.calls.append((name, path, b""))

        return sync

    def _write(self, real):
        def write(descriptor, data, offset):
            self.calls.append(("pwrite", place(descriptor), bytes(data[:512])))
            return real(descriptor, data, offset)

        return write

    def places(self, name, path, holding=b""):
        """Say at which places in the list a call was made for a file."""
        return [
            number
            for number, (call, where, data) in enumerate(self.calls)
            if (call, where) == (name, path) and holding in data
        ]


def place(descriptor):
    return Path(f"/proc/self/fd/{descriptor}").readlink()


@pytest.fixture
def recording(monkeypatch):
    return Recording(monkeypatch)


def check_order(recording, directory, upload):
    """Prove it for an upload that was just answered as complete."""
    shard = directory / upload.upload_id[:2]
    data, ledger = shard / upload.upload_id, shard / f"{upload.upload_id}.meta"
    told = recording.places("pwrite", ledger, b"complete")
    assert told
    synced = [number for number in recording.places("fdatasync", data) if number < told[0]]
    assert max(synced) > max(recording.places("pwrite", data))
    assert max(recording.places("fdatasync", ledger)) > told[-1]
    named = [recording.places("fsync", where) for where in (shard, directory)]
    assert all(named), "of its files in their directory, and of that in the store's"


@pytest.mark.parametrize("size", [1, 5000, 20 * MIB], ids=["byte", "small", "large"])
@pytest.mark.parametrize("durability", ["normal", "strict"])
async def test_data_is_synced_before_the_ledger_calls_it_complete_and_all_before_the_answer(
    build, recording, durability, size
):
    house = await build(durability=durability)
    upload = await house.create(size)
    pieces = [bytes(min(MIB, size - at)) for at in range(0, size, MIB)]
    assert (await house.append(upload, 0, FedBody(*pieces))).is_complete
    check_order(recording, house.directory, upload)


async def test_completions_at_the_same_time_keep_the_order_each(build, recording):
    house = await build()
    uploads = [await house.create(5000) for _ in range(24)]
    await asyncio.gather(*(house.append(one, 0, FedBody(bytes(5000))) for one in uploads))
    for upload in uploads:
        check_order(recording, house.directory, upload)


@pytest.mark.usefixtures("quick_disk")
async def test_the_names_of_an_upload_that_is_held_are_synced_once(build, recording):
    house = await build(durability="strict")
    upload = await house.create(10)
    shard = house.directory / upload.upload_id[:2]
    assert recording.places("fsync", shard)
    recording.calls.clear()
    for offset in range(10):
        await house.append(upload, offset, FedBody(b"x"))
    # Not even once where the files were kept open since the creation.
    assert len(recording.places("fsync", shard)) <= 1


async def test_a_directory_that_was_there_is_not_taken_for_one_on_the_disk(build, recording):
    house = await build()
    # Another process may have made them a moment ago.
    for number in range(256):
        (house.directory / f"{number:02x}").mkdir()
    upload = await house.create(5000)
    await house.append(upload, 0, FedBody(bytes(5000)))
    check_order(recording, house.directory, upload)


async def test_the_name_of_a_directory_is_synced_once(build, recording):
    house = await build()
    uploads = [await house.create(10) for _ in range(600)]
    for upload in uploads:
        await house.append(upload, 0, FedBody(bytes(10)))
    assert len(recording.places("fsync", house.directory)) <= 256


async def test_process_syncs_nothing_while_serving(build, recording):
    house = await build(durability="process")
    recording.calls.clear()
    upload = await house.create(20 * MIB)
    assert (await house.append(upload, 0, FedBody(*[bytes(MIB)] * 20))).is_complete
    assert {name for name, _, _ in recording.calls} == {"pwrite"}
