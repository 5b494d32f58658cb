"""What may be removed because it is over, and why the rest stays (floor 4).

The sweeper asks here once it has seen an upload expired for long enough, the operator at once.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from tusserver.engine.work import Work
from tusserver.errors import UploadLocked
from tusserver.protocol.rules import is_expired
from tusserver.upload import Status

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts
    from tusserver.engine.remove import Remover
    from tusserver.engine.takeover import Takeover
    from tusserver.upload import Upload, UploadId


class Fate(Enum):
    """What becomes of an upload now."""

    EXPIRED = "expired"
    """It goes."""
    MARKED = "marked"
    """It goes: a crash broke its removal off."""
    UNMADE = "unmade"
    """It goes: a crash broke its creation off."""
    IN_USE = "in use"
    """It stays: somebody holds its lease, or wants it."""
    PINNED = "pinned"
    """It stays: a final upload is being assembled from it."""
    NOT_YET = "not yet"
    """It stays: it expires later."""
    NEVER = "never"
    """It stays: it never expires."""
    GONE = "gone"
    """Nothing is left of it: somebody else removed it."""

    @property
    def goes(self) -> bool:
        """Tell whether it is to be removed."""
        return self in {Fate.EXPIRED, Fate.MARKED, Fate.UNMADE}


class Clearing:
    """Removes uploads that are over, never under somebody who uses them."""

    def __init__(self, parts: EngineParts, takeover: Takeover, remover: Remover) -> None:
        """Use the engine's parts."""
        self._parts = parts
        self._takeover = takeover
        self._remover = remover

    async def judge(self, upload: Upload) -> Fate:
        """Say what becomes of an upload if nobody is using it."""
        if upload.is_unmade:
            return Fate.UNMADE
        marked = upload.status is Status.REMOVED
        if not marked and upload.expires_at is None:
            return Fate.NEVER
        if not marked and not is_expired(upload, self._parts.now()):
            return Fate.NOT_YET
        if await self._remover.is_pinned(upload):
            return Fate.PINNED
        return Fate.MARKED if marked else Fate.EXPIRED

    async def foresee(self, upload: Upload) -> Fate:
        """Say what `clear` would do, and do nothing."""
        fate = await self.judge(upload)
        if fate.goes:
            peek = await self._parts.storage.peek(upload.upload_id)
            if peek.holder is not None:
                return Fate.IN_USE
        return fate

    async def clear(self, upload_id: UploadId) -> Fate:
        """Remove an upload if it is over and nobody uses it, judged while its lease is held."""
        parts = self._parts
        try:
            async with self._takeover.hold_if_free(Work(upload_id, chore=True)) as lease:
                upload, _ = await parts.records.load(upload_id)
                if upload is None:
                    return Fate.GONE
                fate = await self.judge(upload)
                if fate.goes:
                    await self._remover.erase(lease, upload)
                if fate is Fate.EXPIRED:
                    parts.meter.upload_expired(upload.kind)
        except UploadLocked:
            return Fate.IN_USE
        return fate
