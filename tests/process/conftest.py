"""Programs that end with their test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.process.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(upload_dir: Path) -> Iterator[Callable[..., Program]]:
    """Start the program: `start(*flags, activated=, **variables)`, its log is in `.log`."""
    with ExitStack() as stack:
        yield lambda *words, **more: stack.enter_context(
            Program(*words, directory=upload_dir, **more)
        )
