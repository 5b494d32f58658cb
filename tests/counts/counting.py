"""Counts of what the server does: the same on every machine, as times are not.

Nothing is replaced: it is the program's own server, on a real store, asked over real connections.
What is counted is what the thread of the event loop does.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

import tusserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType, FrameType

    Trace = Callable[[FrameType, str, Any], Any]

OURS = str(Path(tusserver.__file__).parent)
THEIRS = str(Path(aiohttp.__file__).parent)
HOPS = frozenset({ThreadPoolExecutor.submit.__code__})
"""What hands a call to a thread."""
FILLED = "buffer_updated"
"""Tells a protocol how many bytes its buffer got (asyncio.BufferedProtocol)."""
SMALL = 1024
"""Bytes below which a buffer holds no part of a body that matters."""


@contextmanager
def traced(begin: Trace) -> Iterator[None]:
    """Have `begin` called for each function that begins, or goes on, in this thread."""
    sys.settrace(begin)
    try:
        yield
    finally:
        sys.settrace(None)


class Instructions:
    """Counts instructions of the interpreter in our own code, and calls handed to threads."""

    def __init__(self) -> None:
        self._is_ours: dict[CodeType, bool] = {}
        self.by_function: Counter[str] = Counter()
        self.hops = 0

    @property
    def total(self) -> int:
        return self.by_function.total()

    def counted(self) -> Any:
        """Count in a block."""
        return traced(self._begin)

    def _begin(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code in HOPS:
            self.hops += 1
        is_ours = self._is_ours.get(code)
        if is_ours is None:
            is_ours = self._is_ours[code] = code.co_filename.startswith(OURS)
        if not is_ours:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            code = frame.f_code
            place = Path(code.co_filename).relative_to(OURS)
            self.by_function[f"{place}:{code.co_firstlineno} {code.co_name}"] += 1
        return self._step


class Buffers:
    """Follows the bytes of a body from object to object, between the socket and the file.

    Every function of ours and of aiohttp's shows what it was given, keeps and gives. Each `bytes`
    was filled once: their sizes together are the bytes that were copied, the first time out of the
    kernel. A buffer that is filled again and again is counted where a protocol is told of it.
    """

    def __init__(self) -> None:
        self._kept: dict[int, bytes] = {}
        self._filled = 0

    @property
    def copied(self) -> int:
        return self._filled + sum(map(len, self._kept.values()))

    def counted(self) -> Any:
        """Follow in a block."""
        return traced(self._begin)

    def _begin(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith((OURS, THEIRS)):
            return None
        if frame.f_code.co_name == FILLED:
            self._filled += sum(v for v in frame.f_locals.values() if isinstance(v, int))
        frame.f_trace_lines = False
        self._note(frame.f_locals.values())
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "return":
            self._note((*frame.f_locals.values(), argument))
        return self._step

    def _note(self, values: Iterable[object]) -> None:
        for value in values:
            whole = value.obj if isinstance(value, memoryview) else value
            if isinstance(whole, bytes) and len(whole) >= SMALL:
                self._kept[id(whole)] = whole  # Kept, so that no other one gets its number.
