"""Requests that come in one order and are looked at in another."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tests.support.waiting import soon
from tusserver.body import BodyEnd
from tusserver.errors import AppendSuperseded, RequestMalformed
from tusserver.storage.local import LocalStorage


class SlowToPeek(LocalStorage):
    """A storage whose next looks at a record can be made slow."""

    slow_looks = 0
    gate = None

    async def peek(self, upload_id):
        if self.slow_looks > 0:
            self.slow_looks -= 1
            await (self.gate.wait() if self.gate else asyncio.sleep(0.1))
        return await super().peek(upload_id)


@pytest.mark.clause("CORE-HEAD-10", "CORE-PATCH-17")
@pytest.mark.usefixtures("quick_disk")
async def test_head_tells_what_an_append_brought_that_came_before_it(build):
    house = await build()
    upload = await house.create(10)
    append = house.start_append(upload, 0, FedBody(b"01234", end=BodyEnd.DISCONNECTED))
    await asyncio.sleep(0)
    assert (await house.head(upload)).offset == 5
    with pytest.raises(RequestMalformed):
        await append
    assert (await house.append(upload, 5, FedBody(b"56789"))).is_complete


async def test_head_does_not_wait_long_for_an_append_that_cannot_begin(build):
    house = await build(storage=SlowToPeek)
    upload = await house.create(10)
    house.parts.storage.slow_looks = 200
    append = house.start_append(upload, 0, FedBody(b"01234", end=None))
    await asyncio.sleep(0)
    with soon(2):
        assert (await house.head(upload)).offset in {0, 5}
    house.parts.storage.slow_looks = 0
    assert (await house.append(upload, (await house.head(upload)).offset, FedBody())).offset == 5
    with pytest.raises(AppendSuperseded):
        await append


@pytest.mark.usefixtures("quick_disk")
async def test_an_append_that_was_overtaken_on_its_way_does_not_stop_the_newer_one(build):
    house = await build(storage=SlowToPeek)
    upload = await house.create(10)
    house.parts.storage.slow_looks = 1
    house.parts.storage.gate = asyncio.Event()
    older = house.start_append(upload, 0, FedBody(b"abc", end=None))
    await eventually(lambda: house.parts.storage.slow_looks == 0)
    body = FedBody(end=None)
    newer = house.start_append(upload, 0, body)
    await house.receiving(upload)
    house.parts.storage.gate.set()
    with pytest.raises(AppendSuperseded):
        await older
    body.feed(b"0123456789")
    body.finish()
    assert (await newer).is_complete
    assert await house.content(upload) == b"0123456789"
