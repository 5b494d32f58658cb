"""What a limit that is reached means for the client and for the operator (floor 4)."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from tusserver.errors import (
    QuotaExceeded,
    StoreExhausted,
    TooManyAppends,
    TooManyRequests,
    TooManyUploads,
)
from tusserver.quota.counter import Limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.errors import TusError
    from tusserver.quota.ceilings import Ceilings
    from tusserver.quota.counter import Refusal

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
COUNTING_WAIT = 5

_UNWRITTEN = "Too much is still missing of the owner's unfinished uploads: finish some first."
_COUNTING = "The server is still counting what it stores: try again in a moment."


class Refusals:
    """Makes errors of refusals, and tells the operator which setting it was, now and then."""

    def __init__(
        self, ceilings: Ceilings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Know the limits by their values."""
        self._ceilings = ceilings
        self._monotonic = monotonic
        self._told: dict[tuple[Limit, bool], float] = {}
        self._untold: dict[tuple[Limit, bool], int] = {}

    def error(self, refusal: Refusal, *, owner: str, least: int = 0) -> TusError:
        """Make the error for a client that asked for `least` bytes."""
        self._log(refusal, owner)
        ceiling = self._ceilings.owner if refusal.of_owner else self._ceilings.all
        error: TusError
        match refusal.limit:
            case Limit.UNCOUNTED:
                error = TooManyRequests(_COUNTING)
                error.retry_after = COUNTING_WAIT
            case Limit.OPEN:
                error = TooManyUploads()
            case Limit.CREATIONS:
                error = TooManyRequests()
            case Limit.APPENDS:
                error = TooManyAppends()
            case Limit.UNWRITTEN if refusal.of_owner and least <= (ceiling.unwritten or 0):
                # It will fit once others are finished.
                error = TooManyUploads(_UNWRITTEN)
            case Limit.STORED | Limit.UNWRITTEN:
                error = QuotaExceeded() if refusal.of_owner else StoreExhausted()
        if refusal.wait is not None:
            error.retry_after = max(1, math.ceil(refusal.wait))
        return error

    def _log(self, refusal: Refusal, owner: str) -> None:
        if refusal.limit is Limit.UNCOUNTED:
            return  # Whoever counts says so.
        kind = (refusal.limit, refusal.of_owner)
        now = self._monotonic()
        if now - self._told.get(kind, -math.inf) < SECONDS_BETWEEN_LINES:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._told[kind] = now
        ceiling = self._ceilings.owner if refusal.of_owner else self._ceilings.all
        name = f"{'owner-' if refusal.of_owner else ''}max-{refusal.limit.value}"
        logger.warning(
            "a request of owner %r was refused: --%s is %s; raise it, or find out who sends so "
            "much (%d more refusals since the last line)",
            owner,
            name,
            getattr(ceiling, refusal.limit.value),
            self._untold.pop(kind, 0),
        )
