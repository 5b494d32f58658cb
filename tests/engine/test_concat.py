"""Final uploads: manifest, pins, assembly, crashes in between."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tests.engine.joining import part
from tusserver.errors import PartInvalid, PartNotFound, PartPinned, UploadNotFound
from tusserver.hooks.callables import CallableHooks
from tusserver.storage.local import LocalStorage
from tusserver.upload import Limits


class HeldConcat(LocalStorage):
    """A storage whose assembly waits until it may go on."""

    gate: asyncio.Event

    async def concat(self, lease, parts, *, stop):
        await self.gate.wait()
        return await super().concat(lease, parts, stop=stop)


async def assembled(house, final):
    async def whole():
        return (await house.record(final)).assembled

    assert await eventually(whole)


@pytest.mark.clause("CAT-03", "CAT-04", "CAT-09", "CAT-HEAD-02")
async def test_parts_are_joined_in_the_order_of_the_list_repeats_included(house):
    a, b = await part(house, b"hello"), await part(house, b" world")
    final = await house.join(a, b, a)
    described = await house.head(final)
    assert (described.offset, described.length) == (16, 16)
    assert await house.content(final) == b"hello worldhello"
    await assembled(house, final)
    assert await house.content(final) == b"hello worldhello"
    assert house.data(final) == b"hello worldhello"


async def test_until_it_is_assembled_it_is_read_from_its_parts_which_are_pinned(build):
    house = await build(storage=HeldConcat)
    house.parts.storage.gate = asyncio.Event()
    a, b = await part(house, b"hello"), await part(house, b" world")
    final = await house.join(a, b)
    assert await house.content(final) == b"hello world"
    with pytest.raises(PartPinned):
        await house.engine.terminate(a.upload_id)
    house.parts.storage.gate.set()
    await assembled(house, final)

    async def unpinned():
        return not await house.parts.storage.pins(b.upload_id)

    assert await eventually(unpinned)
    await house.engine.terminate(a.upload_id)
    assert await house.content(final) == b"hello world"


@pytest.mark.clause("CAT-UNF-01", "CAT-HEAD-01", "CAT-HEAD-04", "CAT-08")
async def test_a_final_upload_waits_for_its_parts(build):
    told = []

    async def post_finish(event):
        told.append(event.upload.upload_id)

    house = await build(hooks=CallableHooks(post_finish=post_finish))
    a = await house.create(5, partial=True)
    b = await part(house, b" world")
    final = await house.join(a, b)
    described = await house.head(final)
    assert (described.offset, described.length) == (None, 11)
    with pytest.raises(UploadNotFound):
        await house.engine.content(final.upload_id)
    await house.append(a, 0, FedBody(b"hello"))
    await assembled(house, final)
    assert await house.content(final) == b"hello world"
    assert await eventually(lambda: told == [final.upload_id])


@pytest.mark.clause("DEF-12")
async def test_a_final_upload_of_a_deferred_part_has_no_length_until_it_is_declared(house):
    a = await house.create(None, partial=True)
    await house.append(a, 0, FedBody(b"hello"))
    final = await house.join(a)
    assert (await house.head(final)).length is None
    await house.append(a, 5, FedBody(), declared_length=5)
    await assembled(house, final)
    assert await house.content(final) == b"hello"


async def test_an_assembly_that_a_crash_broke_off_is_resumed_by_the_sweeper(build):
    crashed = await build(storage=HeldConcat)
    crashed.parts.storage.gate = asyncio.Event()
    a, b = await part(crashed, b"hello"), await part(crashed, b" world")
    final = await crashed.join(a, b)
    crashed.engine.stop_bodies()  # the assembly sees that it is to stop, and leaves
    crashed.parts.storage.gate.set()
    await eventually(lambda: crashed.parts.slots.holder(final.upload_id) is None)
    await crashed.parts.storage.resign("sweep")
    assert not (await crashed.record(final)).assembled
    after = await build()
    await after.engine.sweeper.sweep()
    await assembled(after, final)
    assert await after.content(final) == b"hello world"


@pytest.mark.clause("CAT-07", "CAT-13")
async def test_what_cannot_be_joined_leaves_nothing_behind(house):
    a = await part(house, b"hello")
    single = await house.create(5)
    gone = await part(house, b"gone")
    await house.engine.terminate(gone.upload_id)
    before = await house.parts.state.list(None, 100)
    with pytest.raises(PartInvalid):
        await house.join(a, single)
    with pytest.raises(PartNotFound):
        await house.join(a, gone)
    assert await house.parts.state.list(None, 100) == before
    assert await house.parts.storage.pins(a.upload_id) == ()
    await house.engine.terminate(a.upload_id)


async def test_a_pinned_part_does_not_expire_and_does_again_when_it_is_free(build):
    house = await build(limits=Limits(expire_after=100.0), grace=0.0)
    waiting, ready = await house.create(5, partial=True), await part(house, b" world")
    final = await house.join(waiting, ready)
    assert (await house.record(ready)).expires_at is None
    await house.append(waiting, 0, FedBody(b"hello"))
    await assembled(house, final)

    async def expires():
        return (await house.record(ready)).expires_at is not None

    assert await eventually(expires)
    house.clock.pass_(50)
    assert await house.engine.sweeper.sweep() == 0


async def test_terminating_a_waiting_final_upload_frees_its_parts(house):
    a = await house.create(5, partial=True)
    final = await house.join(a)
    with pytest.raises(PartPinned):
        await house.engine.terminate(a.upload_id)
    await house.engine.terminate(final.upload_id)
    await house.engine.terminate(a.upload_id)
    assert await house.parts.state.list(None, 10) == []
