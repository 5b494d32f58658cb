"""How many descriptors the process may open (floor 5; setrlimit(2))."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

KEPT = 100
"""Descriptors for what is neither a connection nor its files; `web/drawing.py` takes up to 34."""
PER_CONNECTION = 3
"""A connection that receives has its socket, the file it writes and the record beside it."""


ENOUGH = 1000
"""Connections with which nobody has to be told at each start that there could be more."""


def raise_descriptor_limit() -> int:
    """Raise the limit as far as this user may; give it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard


def connections_within(descriptors: int, wanted: int) -> int:
    """Give how many connections may be open at once; a limit that binds is logged."""
    possible = max(1, (descriptors - KEPT) // PER_CONNECTION)
    if descriptors > 0 and possible < wanted:
        level = logging.DEBUG if possible >= ENOUGH else logging.INFO
        logger.log(
            level,
            "at most %d connections at once instead of %d: the process may open %d files; raise "
            "that (LimitNOFILE= of the unit, ulimit -Hn) or lower --max-connections",
            possible,
            wanted,
            descriptors,
        )
        return possible
    return wanted
