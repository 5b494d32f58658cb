"""HEAD, and what GET needs to know (floor 4; tus 1.0.0, "HEAD"). Neither takes a lease."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tusserver.engine.takeover import LOOK_LIMIT
from tusserver.errors import StorageFault, UploadNotFound
from tusserver.protocol.messages import Described
from tusserver.protocol.rules import check_visible
from tusserver.upload import Kind

if TYPE_CHECKING:
    from tusserver.caller import Caller
    from tusserver.engine.concat import Concatenation
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import Segment
    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)


class Describer:
    """Serves HEAD and finds the bytes for GET."""

    def __init__(
        self, parts: EngineParts, takeover: Takeover, concatenation: Concatenation
    ) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._concatenation = concatenation

    async def describe(self, upload_id: UploadId, caller: Caller) -> Described:
        """Tell where an upload is, so that a PATCH at that offset will succeed.

        Raises: UploadNotFound, UploadLocked, StateUnavailable, StorageFault.
        """
        slots = self._parts.slots
        # A client whose connection broke asks at once: what it sent before comes first, be it
        # still on its way through the checks.
        await slots.wait_for_earlier(upload_id, timeout=LOOK_LIMIT)
        upload, holder = await self._takeover.find(upload_id)
        check_visible(upload, caller)
        if upload.is_complete:
            served = upload.length if "download" in self._parts.extensions else None
            return Described(
                upload=upload, offset=upload.offset, length=upload.length, content_length=served
            )
        if upload.kind is Kind.FINAL:
            return await self._describe_waiting(upload)
        was_held = holder is not None or slots.holder(upload_id) is not None
        sight = await self._takeover.offset_for_head(upload, holder)
        if sight.offset is not None:
            return Described(upload=upload, offset=sight.offset, length=upload.length)
        if was_held or slots.holder(upload_id) is not None:
            upload, _ = await self._takeover.find(upload_id)
        return Described(upload=upload, offset=upload.offset, length=upload.length)

    async def _describe_waiting(self, final: Upload) -> Described:
        """Describe a final upload that waits for parts: no offset, the length once known."""
        length = final.length
        if length is None:
            length = 0
            for part in await self._concatenation.load_parts(final):
                if part is None or part.length is None:
                    return Described(upload=final, offset=None, length=None)
                length += part.length
        return Described(upload=final, offset=None, length=length)

    async def content(self, upload_id: UploadId, caller: Caller) -> tuple[Upload, list[Segment]]:
        """Find the bytes of a finished upload, in one file or still in its parts.

        Raises: UploadNotFound, also for an upload that is not finished.
        """
        upload, _ = await self._takeover.find(upload_id)
        check_visible(upload, caller)
        if not upload.is_complete:
            raise UploadNotFound("The upload is not finished yet.")
        storage = self._parts.storage
        if upload.assembled:
            return upload, [storage.segment(upload_id, upload.offset)]
        segments = []
        for part in await self._concatenation.load_parts(upload):
            if part is None or not part.is_complete:
                return await self._content_assembled(upload_id)
            segments.append(storage.segment(part.upload_id, part.offset))
        return upload, segments

    async def _content_assembled(self, upload_id: UploadId) -> tuple[Upload, list[Segment]]:
        """Find the bytes of a final upload whose assembly was finished in this moment."""
        upload, _ = await self._takeover.find(upload_id)
        if not upload.assembled:
            logger.error(
                "final upload %s: a part of it is gone before the parts were joined; look for who "
                "deletes files in the upload directory",
                upload_id,
            )
            raise StorageFault
        return upload, [self._parts.storage.segment(upload_id, upload.offset)]
