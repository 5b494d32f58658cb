"""Counters and quotas on a store of their own, with SQLite and with a real Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tusserver.quota.limited import LimitedQuota
from tusserver.quota.redis import RedisCounter
from tusserver.quota.sqlite import SqliteCounter
from tusserver.state.redis import RedisState


@pytest.fixture(params=["sqlite", "redis"])
async def make_counter(request, upload_dir):
    """Make counters that count for one store, each as a process of its own would."""
    url = None
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
    async with AsyncExitStack() as stack:

        async def make(ceilings, *, minute=60.0, opened=True):
            if url is None:
                counter = SqliteCounter(upload_dir / "counts", ceilings, minute=minute)
            else:
                state = RedisState(url)
                stack.push_async_callback(state.close)
                counter = RedisCounter(state, ceilings, minute=minute)
            if opened:
                await counter.open()
            stack.push_async_callback(counter.close)
            return counter

        yield make


@pytest.fixture
async def make_quota(make_counter):
    """Make quotas for one store, each as a process of its own would."""
    async with AsyncExitStack() as stack:

        async def make(ceilings, *, empty=True, minute=60.0):
            counter = await make_counter(ceilings, minute=minute, opened=False)
            quota = LimitedQuota(counter, ceilings, is_empty=lambda: empty)
            await quota.open()
            stack.push_async_callback(quota.close)
            return quota

        yield make
