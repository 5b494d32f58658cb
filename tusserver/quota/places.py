"""Places for new uploads that this process holds, so that each need not be asked for (floor 4).

Where only the number of unfinished uploads is limited, and much of it is free, a process that makes
many holds some places of the number ahead. Who takes one asks nobody, and a small upload that is
finished before the counter was told of it gives its place back without ever having been counted.
What is held counts for all processes, so that there are never more than there may be; near the
limit nobody holds any.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tusserver.quota.counter import Holding
    from tusserver.upload import Upload, UploadId

PLACES = 64
FEW = 16
"""Left so many, more are asked for."""
MANY = 4
"""Uploads since the last look from which on it is worth while to hold places."""
HELD_SECONDS = 0.25
"""For how long the others may not know of what was made and ended here."""
REST_SECONDS = 1.0
"""For how long nothing is held once there was too little room."""


class Places:
    """The places of one process, and the uploads that took one."""

    def __init__(self, *, lapse: float, clock: Callable[[], float]) -> None:
        """Begin with none; what is held is good for `lapse` seconds."""
        self._lapse = lapse
        self._clock = clock
        self._began = self._good_until = -math.inf
        self._made: dict[UploadId, Upload] = {}
        self._seen = 0
        self._rests_until = -math.inf
        self.held = 0
        """How many the counter holds for this process, or more."""

    @property
    def are_untold(self) -> bool:
        """Tell whether there are uploads that the counter does not know of."""
        return bool(self._made)

    @property
    def are_few(self) -> bool:
        """Tell whether it is time to ask for more."""
        return self.held - len(self._made) < FEW and self.wanted > 0

    @property
    def wanted(self) -> int:
        """Give how many should be held from now on."""
        return PLACES if self._seen >= MANY and self._clock() >= self._rests_until else 0

    def see(self) -> None:
        """Note that an upload is to be made."""
        self._seen += 1

    def take(self, upload: Upload) -> bool:
        """Give a new upload one of the places, if there is any."""
        if len(self._made) >= self.held or self._clock() >= self._good_until:
            return False
        self._made[upload.upload_id] = upload
        return True

    def give_back(self, upload_id: UploadId) -> bool:
        """Take the place of an upload that ended; False if the counter knows of it."""
        return self._made.pop(upload_id, None) is not None

    # --- telling the counter ---------------------------------------------------------------

    def begin(self, wanted: int) -> dict[UploadId, Upload]:
        """Give what the counter is to be told of; until its answer no more are taken than last."""
        told, self._made = self._made, {}
        self.held = max(0, min(self.held - len(told), wanted))
        self._seen = 0
        self._began = self._clock()
        return told

    def end(self, holding: Holding) -> None:
        """Go on with what the counter gave."""
        self.held = holding.places
        self._good_until = self._began + self._lapse
        if not holding.is_ample:
            self._rests_until = self._clock() + REST_SECONDS

    def fail(self, told: Mapping[UploadId, Upload]) -> None:
        """Tell of these again: nobody knows whether they were counted, or what is held."""
        self._made.update(told)
        self.held = 0
