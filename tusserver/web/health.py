"""Whether the server is alive, and whether it can take uploads (floor 5): two plain paths.

`/healthz` is for who restarts it: it is answered as long as the event loop turns. `/readyz` is for
who sends it traffic: 503 names each thing that stands in the way, and what to do about it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.errors import TusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

logger = logging.getLogger(__name__)

ALIVE = "/healthz"
READY = "/readyz"
CHECK_SECONDS = 2.0
"""How long one check may take."""
FRESH_SECONDS = 1.0
"""How long an outcome is told again before the checks run anew."""


class Unready(Exception):
    """A check found something in the way: the text says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be right."""

    name: str
    look: Callable[[], Awaitable[None]]
    """Raises Unready or TusError if it is not; safe to cancel."""
    remedy: str
    """What to do when it cannot be looked at."""


class Readiness:
    """Runs the checks, once a second at most, however many ask."""

    def __init__(self, checks: Sequence[Check], *, is_stopping: Callable[[], bool]) -> None:
        """Take the checks."""
        self._checks = checks
        self._is_stopping = is_stopping
        self._running: asyncio.Task[list[str]] | None = None
        self._found: list[str] = []
        self._found_at = -FRESH_SECONDS

    async def troubles(self) -> list[str]:
        """Name what is in the way, one line each; nothing if uploads can be taken."""
        if self._is_stopping():
            return ["server: it is stopping, or starting anew"]
        if asyncio.get_running_loop().time() - self._found_at >= FRESH_SECONDS:
            if self._running is None:
                self._running = asyncio.create_task(self._look(), name="readiness")
            # One who goes away must not end what others wait for.
            return await asyncio.shield(self._running)
        return self._found

    async def _look(self) -> list[str]:
        try:
            outcomes = await asyncio.gather(*map(_outcome, self._checks))
            found = [line for line in outcomes if line]
            if found != self._found:
                logger.log(
                    logging.WARNING if found else logging.INFO,
                    "readiness: %s",
                    "; ".join(found) or "everything is right again",
                )
            self._found = found
            self._found_at = asyncio.get_running_loop().time()
        finally:
            self._running = None
        return found


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check.look()
    except TimeoutError:
        return f"{check.name}: no answer in {CHECK_SECONDS:.0f} s; {check.remedy}"
    except Unready as exc:
        return f"{check.name}: {exc}"
    except TusError as exc:
        return f"{check.name}: {exc.message} {check.remedy}"
    return ""


def health_routes(readiness: Readiness) -> list[web.RouteDef]:
    """Make the routes beside the base path."""

    async def alive(_request: web.Request) -> web.Response:
        return _answer(HTTPStatus.OK, "ok\n")

    async def ready(_request: web.Request) -> web.Response:
        found = await readiness.troubles()
        if not found:
            return _answer(HTTPStatus.OK, "ready\n")
        return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{line}\n" for line in found))

    # GET answers HEAD too.
    return [web.get(ALIVE, alive), web.get(READY, ready)]


def _answer(status: HTTPStatus, text: str) -> web.Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, text=text, headers=headers)
