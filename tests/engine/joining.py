"""Ways to make final uploads and their parts."""

from __future__ import annotations

from tests.engine.conftest import FedBody, eventually
from tests.support.files import pins_of


async def part(house, data):
    upload = await house.create(len(data), partial=True)
    return await house.append(upload, 0, FedBody(data))


async def finals(house):
    return [upload for upload in await house.parts.storage.scan(None, 100) if upload.parts]


async def settled(house):
    """Sweep until all finals are assembled and no part is pinned; give the finals."""

    async def done():
        await house.engine.sweeper.sweep()
        found = await finals(house)
        return all(final.assembled for final in found) and not pins_of(house.directory)

    assert await eventually(done)
    return await finals(house)
