"""Completion is told when it is on the disk: not while the ledger is still being synced."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.errors import UploadLocked
from tusserver.storage.local import LocalStorage


class SlowToSync(LocalStorage):
    """A ledger whose record can be read for a while before it is on the disk."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gate = asyncio.Event()
        self.gate.set()
        self.slow = None
        self.syncing = False

    async def record(self, lease, upload, *, sync):
        await super().record(lease, upload, sync=sync)
        if sync and upload.upload_id == self.slow:
            self.syncing = True
            await self.gate.wait()
            self.syncing = False


@pytest.fixture(params=["same process", "other process"])
async def two(request, build):
    """Give two engines on one directory; the same one twice, or two with their own mailboxes."""
    first = await build(storage=SlowToSync)
    second = first if request.param == "same process" else await build()
    return first, second


async def finishing(house, upload, data):
    """Start an append that finishes an upload, up to where the ledger is being synced."""
    house.parts.storage.gate.clear()
    house.parts.storage.slow = upload.upload_id
    append = house.start_append(upload, 0, FedBody(data))
    assert await eventually(lambda: house.parts.storage.syncing)
    return append


async def waits(task):
    await asyncio.wait([task], timeout=0.2)
    return not task.done()


async def test_head_waits_for_a_completion_to_be_on_the_disk(two):
    holder, other = two
    upload = await holder.create(5)
    append = await finishing(holder, upload, b"hello")
    head = asyncio.create_task(other.head(upload))
    assert await waits(head)
    holder.parts.storage.gate.set()
    assert (await append).is_complete
    assert (await head).offset == 5


async def test_an_empty_patch_waits_for_a_completion_to_be_on_the_disk(two):
    holder, other = two
    upload = await holder.create(5)
    append = await finishing(holder, upload, b"hello")
    again = other.start_append(upload, 5, FedBody(length=0), body_length=0)
    assert await waits(again)
    holder.parts.storage.gate.set()
    await append
    assert (await again).is_complete


async def test_a_final_upload_waits_for_its_parts_to_be_on_the_disk(two):
    holder, other = two
    first, last = await holder.create(5, partial=True), await holder.create(5, partial=True)
    final = await holder.join(first, last)
    append = await finishing(holder, first, b"hello")
    await other.append(last, 0, FedBody(b"world"))
    await asyncio.sleep(0.2)
    assert not (await other.record(final)).is_complete
    holder.parts.storage.gate.set()
    await append

    async def whole():
        return (await holder.record(final)).assembled

    assert await eventually(whole)
    assert await holder.content(final) == b"helloworld"


async def test_head_on_a_completion_that_hangs_is_locked(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.takeover.FINISH_WAIT", 0.2)
    house = await build(storage=SlowToSync)
    upload = await house.create(5)
    append = await finishing(house, upload, b"hello")
    try:
        with pytest.raises(UploadLocked):
            await house.head(upload)
    finally:
        house.parts.storage.gate.set()
        await append
