"""What would stop every request of a process for a while."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.program import Program

    Start = Callable[..., Program]

TELL = (
    "import atexit, gc; "
    "tell = lambda: print(f'left out: {gc.get_freeze_count()} of {len(gc.get_objects())}'); "
    "atexit.register(lambda: tell())"
)
LOADED = 50_000
"""Objects that the collector sees of a program that has loaded all it needs, at least."""


@pytest.mark.parametrize("workers", [1, 2])
def test_no_collection_looks_through_what_was_loaded(start: Start, workers: int):
    program = start(f"--workers={workers}", patch=TELL).ready()
    program.tus.upload(b"0123456789")
    assert program.end(signal.SIGTERM) == 0
    told = [
        tuple(map(int, found)) for found in re.findall(r"left out: (\d+) of (\d+)", program.log)
    ]
    assert told
    for frozen, seen in told:
        assert frozen > LOADED
        assert seen < frozen / 2, told
