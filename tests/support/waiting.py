"""Waiting for something that happens soon."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Late(AssertionError):
    """Something took too long, or a test came too late itself to tell: it is run again.

    What is slow by a defect is slow each time; a busy machine is not.
    """


USUAL, LONGEST = 3.0, 10.0
"""Seconds within which things happen, and after which they are given up, where nobody says else."""


def eventually(condition: Callable[[], bool], *, within: float | None = None) -> bool:
    """Ask until the answer is yes, or time is up.

    Without `within` it is to come in three seconds. Raises: Late when it comes after them.
    """
    begun = asked = time.monotonic()
    limit = LONGEST if within is None else within
    while not (answer := condition()) and time.monotonic() - begun < limit:
        time.sleep(0.02)
        asked = time.monotonic()
    if answer and within is None:
        check_time(asked - begun, USUAL)
    return answer


def check_time(took: float, limit: float) -> None:
    """Check that something took less than so many seconds. Raises: Late."""
    if took >= limit:
        raise Late(f"it took {took:.2f} s, not less than {limit} s")


@contextmanager
def soon(limit: float = 1.0) -> Iterator[None]:
    """Let a block take less than `limit` seconds. Raises: Late."""
    start = time.monotonic()
    yield
    check_time(time.monotonic() - start, limit)
