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


def eventually(condition: Callable[[], bool], *, within: float = 10.0) -> bool:
    """Ask until the answer is yes, or time is up."""
    deadline = time.monotonic() + within
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
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
