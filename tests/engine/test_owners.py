"""Uploads belong to owners and to grants: what is another's is not there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.engine.conftest import FedBody, eventually, no_op
from tusserver.caller import ANYONE, EVERYONE, Caller
from tusserver.errors import (
    MaxSizeExceeded,
    PartNotFound,
    QuotaExceeded,
    UploadLocked,
    UploadNotFound,
)
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import RequestInfo
from tusserver.protocol.messages import Append, Create, Part
from tusserver.storage.grantbook import FileGrantBook

ASA = Caller(owner="åsa")
ASA_BY_URL = Caller(owner="åsa", grant="g1")
BEA = Caller(owner="bea")

STRANGERS = {
    "another owner": (ASA, BEA),
    "nobody in particular": (ASA, ANYONE),
    "an owner, of nobody's upload": (ANYONE, ASA),
    "the same owner by a URL for another upload": (ASA, ASA_BY_URL),
    "a URL, of another URL's upload": (ASA_BY_URL, Caller(owner="åsa", grant="g2")),
}
ALLOWED = {
    "the owner": (ASA, ASA),
    "the owner, of what was made by URL": (ASA_BY_URL, ASA),
    "the same URL": (ASA_BY_URL, ASA_BY_URL),
    "the operator": (ASA, EVERYONE),
    "anybody, of nobody's upload": (ANYONE, ANYONE),
}


def by(caller):
    return RequestInfo("POST", "/files/", "127.0.0.1", caller=caller)


async def create(house, caller, length=5, **more):
    command = Create(length=length, **more)
    return (await house.engine.create(command, FedBody(), proceed=no_op, request=by(caller))).upload


async def append(house, caller, upload, data=b"hello", **more):
    command = Append(upload_id=upload.upload_id, body_length=len(data), **more)
    result = await house.engine.append(command, FedBody(data), proceed=no_op, request=by(caller))
    return result.upload


async def use(house, verb, upload, caller):
    match verb:
        case "append":
            return await append(house, caller, upload)
        case "describe":
            return await house.engine.describe(upload.upload_id, request=by(caller))
        case "content":
            return await house.engine.content(upload.upload_id, request=by(caller))
        case _:
            return await house.engine.terminate(upload.upload_id, request=by(caller))


VERBS = ("append", "describe", "content", "terminate")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("maker", "user"), STRANGERS.values(), ids=STRANGERS)
async def test_what_is_anothers_is_not_there(house, verb, maker, user):
    upload = await create(house, maker)
    if verb == "content":
        await append(house, maker, upload)
    before = await house.record(upload)
    with pytest.raises(UploadNotFound) as caught:
        await use(house, verb, upload, user)
    assert caught.value.message == UploadNotFound().message
    assert await house.record(upload) == before


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("maker", "user"), ALLOWED.values(), ids=ALLOWED)
async def test_what_is_ones_own_is_there(house, verb, maker, user):
    upload = await create(house, maker)
    if verb == "content":
        await append(house, maker, upload)
    await use(house, verb, upload, user)


async def test_the_owner_and_the_grant_are_in_the_record_for_good(house):
    upload = await create(house, ASA_BY_URL)
    await append(house, ASA_BY_URL, upload)
    record = await house.record(upload)
    assert (record.owner, record.grant) == ("åsa", "g1")


async def test_a_stranger_does_not_stop_a_running_append(house):
    upload = await create(house, ASA, length=10)
    body = FedBody(b"hello", end=None)
    running = house.start_append(upload, 0, body)
    while body.last_byte_at == 0:
        await no_op()
    with pytest.raises(UploadNotFound):
        await append(house, BEA, upload)
    with pytest.raises(UploadNotFound):
        await house.engine.terminate(upload.upload_id, request=by(BEA))
    body.feed(b"world")
    body.finish()
    assert (await running).is_complete


async def test_an_upload_about_which_the_application_is_asked_is_not_there_for_others(build):
    asked, answer = asyncio.Event(), asyncio.Event()

    async def pre_terminate(_event):
        asked.set()
        await answer.wait()

    house = await build(hooks=CallableHooks(pre_terminate=pre_terminate))
    upload = await create(house, ASA)
    ending = asyncio.create_task(use(house, "terminate", upload, ASA))
    await asked.wait()
    for verb in VERBS:
        with pytest.raises(UploadNotFound):
            await use(house, verb, upload, BEA)
    with pytest.raises(UploadLocked):
        await append(house, ASA, upload)
    answer.set()
    await ending


class RacedBook(FileGrantBook):
    """Pages between whose release and what follows it others come."""

    race = None

    @asynccontextmanager
    async def page(self, grant):
        async with super().page(grant) as page:
            yield page
        if self.race is not None:
            race, self.race = self.race, None
            await race()


async def test_a_part_is_not_taken_from_a_final_upload_that_was_made_meanwhile(house, tmp_path):
    caller = Caller(owner="åsa", grant="a" * 32, grant_ends=2e9, max_size=5)
    book = RacedBook(tmp_path)
    object.__setattr__(house.parts, "grants", book)
    part = await create(house, caller, partial=True, concat="partial")
    await create(house, caller, partial=True, concat="partial")
    made = []

    async def join():
        parts = (Part(upload_id=part.upload_id),)
        made.append(await create(house, caller, None, parts=parts, concat="final;x"))

    book.race = join  # while a third part takes the place of the first
    with pytest.raises(QuotaExceeded):
        await create(house, caller, partial=True, concat="partial")
    assert made
    await append(house, caller, part)
    assert await eventually(lambda: is_whole(house, made[0]))
    await book.close()


async def is_whole(house, upload):
    return (await house.record(upload)).is_complete


@pytest.mark.parametrize(("maker", "user"), STRANGERS.values(), ids=STRANGERS)
async def test_parts_of_others_cannot_be_joined(house, maker, user):
    part = await create(house, maker, partial=True, concat="partial")
    await append(house, maker, part)
    parts = (Part(upload_id=part.upload_id),)
    with pytest.raises(PartNotFound):
        await create(house, user, length=None, parts=parts, concat="final;x")


async def test_a_part_is_joined_by_the_credential_in_its_own_url(house):
    part = await create(house, ASA_BY_URL, partial=True, concat="partial")
    await append(house, ASA_BY_URL, part)
    parts = (Part(upload_id=part.upload_id, query="grant=x", caller=ASA_BY_URL),)
    final = await create(house, BEA, length=None, parts=parts, concat="final;x")
    assert final.owner == "bea"
    assert final.length == 5


async def test_a_caller_may_be_held_to_a_smaller_size(house):
    small = Caller(owner="åsa", max_size=4)
    with pytest.raises(MaxSizeExceeded):
        await create(house, small, length=5)
    deferred = await create(house, small, length=None)
    with pytest.raises(MaxSizeExceeded):
        await append(house, small, deferred, b"hello")
    with pytest.raises(MaxSizeExceeded):
        await append(house, small, deferred, b"", declared_length=5)
    assert (await append(house, small, deferred, b"four", declared_length=4)).is_complete


async def test_what_a_caller_may_send_without_saying_how_much_is_limited_as_well(house):
    small = Caller(owner="åsa", max_size=4)
    deferred = await create(house, small, length=None)
    command = Append(upload_id=deferred.upload_id, body_length=None)
    with pytest.raises(MaxSizeExceeded):
        await house.engine.append(command, FedBody(b"hello"), proceed=no_op, request=by(small))
    assert (await house.record(deferred)).offset <= 4


async def test_parts_together_are_held_to_the_size_too(house):
    small = Caller(owner="åsa", max_size=6)
    made = [await create(house, small, partial=True, concat="partial") for _ in range(2)]
    for part in made:
        await append(house, small, part)
    parts = tuple(Part(upload_id=part.upload_id) for part in made)
    with pytest.raises(MaxSizeExceeded):
        await create(house, small, length=None, parts=parts, concat="final;x y")
