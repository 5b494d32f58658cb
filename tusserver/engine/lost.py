"""Records whose data file is gone (floor 4): a power cut, or a hand that removed it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tusserver.errors import UploadLocked, UploadNotFound
from tusserver.upload import Status

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts
    from tusserver.ports import Lease
    from tusserver.upload import Upload

logger = logging.getLogger(__name__)


class Lost:
    """Decides what becomes of a record without its file."""

    def __init__(self, parts: EngineParts) -> None:
        """Use the engine's parts."""
        self._parts = parts

    async def recover(self, upload: Upload) -> Lease:
        """Give the lease of an empty file if that is the truth, else mark the upload invalid.

        A file that was never synced may be gone after a power cut (a new epoch): nothing was
        promised of it. In any other case bytes were lost that had been promised.

        Raises: UploadNotFound (now invalid), UploadLocked (somebody else made the file).
        """
        parts = self._parts
        lease = await parts.storage.revive(upload)
        if lease is None:
            raise UploadLocked
        if upload.synced == 0 and upload.epoch != parts.storage.epoch:
            return lease
        try:
            logger.error(
                "upload %s: its data file is gone although %d bytes were stored; it is marked "
                "invalid and clients will start anew: look for who deletes files in the upload "
                "directory",
                upload.upload_id,
                upload.offset,
            )
            await parts.storage.trim(lease, 0)
            await parts.records.commit(lease, upload.next(status=Status.INVALID))
        finally:
            await lease.release()
        raise UploadNotFound
