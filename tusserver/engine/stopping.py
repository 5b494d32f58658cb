"""Uploads that a receiver of events stops (floor 4; docs/hooks.md, `StopUpload`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.engine.work import Phase, Work
from tusserver.errors import Rejected, UploadLocked
from tusserver.upload import Status

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.remove import Remover
    from tusserver.engine.takeover import Takeover
    from tusserver.ports import Decision
    from tusserver.upload import UploadId


class Stopper:
    """Ends the append that is running, if one is, and removes the upload."""

    def __init__(self, parts: EngineParts, takeover: Takeover, remover: Remover) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._remover = remover

    async def stop(self, upload_id: UploadId, decision: Decision) -> bool:
        """Stop an upload as `decision` tells its client; True once nothing is left to stop.

        What another process receives is stopped there. A finished upload stays. Raises: TusError.
        """
        upload, _ = await self._parts.records.load(upload_id)
        if upload is None or upload.status is not Status.OPEN:
            return True
        holder = self._parts.slots.holder(upload_id)
        if holder is not None:
            if holder.phase is Phase.RECEIVING:
                holder.refuse(_refusal(decision))
            return False
        work = Work(upload_id, chore=True)
        try:
            async with self._takeover.hold_if_free(work) as lease:
                upload, _ = await self._parts.records.load(upload_id)
                if upload is not None and upload.status is Status.OPEN:
                    await self._remover.discard(work, lease, upload, None)
        except UploadLocked:
            return False
        return True


def _refusal(decision: Decision) -> Rejected:
    status, text = decision.reject or (400, "The application stopped this upload.")
    headers = tuple(decision.headers.items())
    refusal = Rejected(status, text, headers=headers, body=decision.body)
    refusal.close = True  # the rest of the body is not read
    return refusal
