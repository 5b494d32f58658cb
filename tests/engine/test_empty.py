"""Uploads of length 0: finished by their creation, and not there before it has come to an end."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.body import BodyEnd
from tusserver.errors import (
    HookFailed,
    PartNotFound,
    RequestMalformed,
    UploadLocked,
    UploadNotFound,
)
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision
from tusserver.upload import Kind, Limits, Upload, new_upload_id

pytestmark = pytest.mark.clause("CRE-09")


async def broken_off(house, **more):
    """Leave what a process leaves that dies while it makes an empty upload."""
    parts = house.parts
    upload = Upload(
        upload_id=new_upload_id(),
        created_at=parts.now(),
        length=0,
        epoch=parts.storage.epoch,
        **more,
    )
    lease = await parts.storage.create(upload, sync=False)
    await parts.records.add(upload)
    await lease.release()
    return upload


def uploads_in(house):
    """Name the uploads that have a file of any kind."""
    return {path.stem for path in house.directory.glob("[0-9a-f][0-9a-f]/*")}


@pytest.fixture
async def store(build, state_url):
    """An engine that removes nothing for its age."""
    url = None if state_url == "local" else state_url
    limits = Limits(expire_after=None)
    return await build(state_url=url, limits=limits, chores=False)


async def test_one_whose_creation_was_broken_off_is_not_there(store):
    upload = await broken_off(store)
    part = await broken_off(store, kind=Kind.PARTIAL)
    for asking in (
        store.head(upload),
        store.content(upload),
        store.append(upload, 0, FedBody(b"")),
        store.engine.terminate(upload.upload_id),
    ):
        with pytest.raises(UploadNotFound):
            await asking
    with pytest.raises(PartNotFound):
        await store.join(part)


async def test_one_whose_creation_was_broken_off_is_removed(store):
    whole = await store.create(0)
    await broken_off(store)
    await broken_off(store, kind=Kind.PARTIAL)
    assert await store.engine.sweeper.sweep() == 2
    assert uploads_in(store) == {whole.upload_id}
    assert await store.content(whole) == b""


async def test_one_that_is_being_made_stays_and_is_not_complete_yet(build, state_url):
    asked, go_on = [], asyncio.Event()

    async def before_finish(event):
        asked.append(event.upload)
        await go_on.wait()
        return Decision()

    url = None if state_url == "local" else state_url
    hooks = CallableHooks(pre_finish=before_finish)
    making = await build(hooks=hooks, state_url=url)
    other = await build(state_url=url, chores=False)
    creation = asyncio.create_task(making.create(0))
    assert await eventually(lambda: asked)
    for house in (making, other):
        with pytest.raises(UploadLocked):
            await house.head(asked[0])
    assert await other.engine.sweeper.sweep() == 0
    go_on.set()
    assert (await creation).is_complete
    assert (await other.head(asked[0])).offset == 0
    assert await other.engine.sweeper.sweep() == 0


@pytest.mark.parametrize("with_body", [False, True])
async def test_one_that_cannot_be_finished_is_not_made(build, with_body):
    async def before_finish(_event):
        raise RuntimeError("the application is down")

    house = await build(hooks=CallableHooks(pre_finish=before_finish))
    with pytest.raises(HookFailed):
        await house.create(0, body=FedBody() if with_body else None)
    assert not uploads_in(house)


async def test_one_whose_client_vanishes_is_not_made(build):
    told = []

    async def after(event):
        told.append(event.upload.upload_id)

    house = await build(hooks=CallableHooks(post_create=after, post_finish=after))
    with pytest.raises(RequestMalformed):
        await house.create(0, body=FedBody(end=BodyEnd.DISCONNECTED))
    assert not uploads_in(house)
    made = await house.create(0)
    assert await eventually(lambda: len(told) == 2)
    assert told == [made.upload_id] * 2


async def test_a_length_of_0_that_comes_with_a_broken_body_finishes_nothing(house):
    upload = await house.create(None)
    with pytest.raises(RequestMalformed):
        await house.append(upload, 0, FedBody(end=BodyEnd.DISCONNECTED), declared_length=0)
    described = await house.head(upload)
    assert (described.offset, described.length) == (0, None)
    assert (await house.append(upload, 0, FedBody(), declared_length=0)).is_complete
