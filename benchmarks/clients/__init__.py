"""Programs that send workloads: processes of their own, whose work is not counted.

Each reads one order, a JSON object, on its standard input and answers with one on its standard
output. They use blocking calls and prepared bytes, so that they are not what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.servers import ROOT

PATIENCE = 180.0


async def drive(module: str, order: dict[str, Any]) -> dict[str, Any]:
    """Have `benchmarks.clients.<module>` carry out an order; give its answer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"benchmarks.clients.{module}",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            answer, _ = await process.communicate(json.dumps(order).encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the client {module} has failed")
    found: dict[str, Any] = json.loads(answer)
    return found
