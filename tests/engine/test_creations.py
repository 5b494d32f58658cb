"""Final uploads that somebody else completes while they are made."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tests.engine.joining import finals, part, settled
from tusserver.engine.concat import Concatenation
from tusserver.engine.records import Records
from tusserver.engine.work import Work
from tusserver.errors import PartNotFound, StateUnavailable, StorageFault, UploadLocked
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision


async def is_complete(house):
    return any(upload.is_complete for upload in await finals(house))


def meddle(monkeypatch, step, meanwhile):
    """Have something happen before the first time that a step of a final upload is done."""
    original, times = getattr(Concatenation, step), []

    async def instead(self, *args):
        times.append(args)
        if len(times) == 1:
            await meanwhile(lambda: original(self, *args))
        return await original(self, *args)

    monkeypatch.setattr(Concatenation, step, instead)


async def test_a_final_upload_that_another_request_completes_is_created(build, monkeypatch):
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def before_finish(_event):
        asked.set()
        await go_on.wait()
        return Decision()

    house = await build(hooks=CallableHooks(pre_finish=before_finish))
    a, b = await part(house, b"hello"), await house.create(6, partial=True)

    async def finish(_do):
        await house.append(b, 0, FedBody(b" world"))
        await asked.wait()

    meddle(monkeypatch, "_complete", finish)
    final = await house.join(a, b)
    go_on.set()
    (left,) = await settled(house)
    assert left.upload_id == final.upload_id
    assert await house.content(final) == b"hello world"


@pytest.mark.parametrize("error", [UploadLocked, StateUnavailable, PartNotFound])
async def test_a_final_upload_that_is_complete_stays_whatever_its_creation_met(
    build, monkeypatch, error
):
    house = await build()
    a, b = await house.create(5, partial=True), await part(house, b" world")

    async def finish_and_fail(pin_all):
        await pin_all()
        await house.append(a, 0, FedBody(b"hello"))
        assert await eventually(lambda: is_complete(house))
        raise error

    meddle(monkeypatch, "_pin_all", finish_and_fail)
    final = await house.join(a, b)
    assert final.is_complete
    assert [one.upload_id for one in await settled(house)] == [final.upload_id]
    assert await house.content(final) == b"hello world"


async def test_what_the_disk_refused_is_not_taken_for_complete(build, monkeypatch):
    house = await build()
    a, b = await part(house, b"hello"), await part(house, b" world")
    commit = Records.commit

    async def commit_and_fail(self, lease, upload, **more):
        await commit(self, lease, upload, **more)
        if upload.parts and upload.is_complete:
            raise StorageFault

    monkeypatch.setattr(Records, "commit", commit_and_fail)
    with pytest.raises(StorageFault):
        await house.join(a, b)
    monkeypatch.undo()
    assert not await finals(house)


async def test_a_final_upload_that_somebody_holds_is_there(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.work.LET_GO", 0.05)
    house = await build()
    a, b = await part(house, b"hello"), await part(house, b" world")
    work = None

    async def hold_and_fail(_pin_all):
        nonlocal work
        (final,) = await finals(house)
        work = Work(final.upload_id, chore=True)
        await house.parts.slots.take(work)
        raise UploadLocked

    meddle(monkeypatch, "_pin_all", hold_and_fail)
    final = await house.join(a, b)
    house.parts.slots.give(work)
    (left,) = await settled(house)
    assert left.upload_id == final.upload_id
    assert await house.content(final) == b"hello world"


async def test_a_final_upload_that_is_not_complete_goes_when_a_part_is_locked(build, monkeypatch):
    house = await build()
    a, b = await house.create(5, partial=True), await part(house, b" world")

    async def fail(_pin_all):
        raise UploadLocked

    meddle(monkeypatch, "_pin_all", fail)
    with pytest.raises(UploadLocked):
        await house.join(a, b)
    assert not await finals(house)
