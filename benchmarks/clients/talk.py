"""Clients that stay: each word that they are told is answered before the next one is said.

A client reads its order as the first line of its standard input, then words, a JSON value a line,
and answers each with one line. It ends when nobody says anything any more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.servers import ROOT

Say = Callable[..., Any]
LONGEST = 1 << 24
"""Bytes that an answer may have."""
PATIENCE = 300.0


class Talk:
    """One client that stays."""

    def __init__(self, process: asyncio.subprocess.Process, module: str) -> None:
        """Speak to this process."""
        self._process = process
        self._module = module

    async def say(self, word: str, **more: Any) -> dict[str, Any]:
        """Say a word and what belongs to it; give the answer."""
        writer, reader = self._process.stdin, self._process.stdout
        if writer is None or reader is None:
            raise RuntimeError("the client cannot be spoken to")
        writer.write(json.dumps({"word": word, **more}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
            line = await reader.readline()
        if not line:
            raise RuntimeError(f"the client {self._module} has failed at {word}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def talking(module: str, order: dict[str, Any]) -> AsyncIterator[Talk]:
    """Start `benchmarks.clients.<module>` with an order; it ends with this block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"benchmarks.clients.{module}",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST,
    )
    try:
        if process.stdin is None:
            raise RuntimeError("the client cannot be spoken to")
        process.stdin.write(json.dumps(order).encode() + b"\n")
        yield Talk(process, module)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def obey(make: Callable[[dict[str, Any]], dict[str, Callable[..., dict[str, Any]]]]) -> None:
    """Be such a client: `make` gives for an order what each word does."""
    words = make(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        said = json.loads(line)
        answer = words[said.pop("word")](**said)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
