"""Records of uploads, and bodies, as short as tests want to write them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from tusserver.body import BodyEnd
from tusserver.upload import Upload, new_upload_id


def upload(length=None, *, owner="", **fields):
    """Make the record of a new upload."""
    return Upload(
        upload_id=new_upload_id(),
        created_at=datetime.now(UTC),
        length=length,
        owner=owner,
        **fields,
    )


class Pieces:
    """A body of given pieces, which then ends, or waits for its stop."""

    length = None

    def __init__(self, *pieces, ends=True):
        self._pieces = list(pieces)
        self._ends = ends
        self._stopped = asyncio.Event()
        self.end = None
        self.last_byte_at = 0.0

    async def read(self):
        if self._pieces and self.end is None:
            return self._pieces.pop(0)
        if self.end is None and self._ends:
            self.end = BodyEnd.COMPLETE
        if self.end is None:
            await self._stopped.wait()
        return b""

    def stop(self, why):
        if self.end is None:
            self.end = why
            self._stopped.set()

    def trailer(self, _name):
        return None
