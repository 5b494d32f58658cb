"""Settings into what is looked at before the server calls itself ready (floor 5)."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.storage.files import free_space
from tusserver.storage.layout import Places
from tusserver.upload import UploadId
from tusserver.values import LOCAL, format_size
from tusserver.web.health import Check, Readiness, Unready

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.config import Settings
    from tusserver.engine.core import UploadEngine


def build_readiness(settings: Settings, engine: UploadEngine) -> Readiness:
    """Make the checks: the directory can be written, space is left, the state store answers."""
    place = _Place(Path(settings.upload_dir).absolute(), reserve=settings.reserve)
    checks = [
        Check("directory", _Single(place.check_writable), f"look after the disk of {place.root}"),
        Check("space", _Single(place.check_space), f"look after the disk of {place.root}"),
    ]
    if settings.state != LOCAL:

        async def ask() -> None:
            await engine.parts.state.get(UploadId(secrets.token_hex(16)))

        remedy = f"start {settings.state_shown}, or correct --state"
        checks.append(Check("state store", ask, remedy))
    return Readiness(checks, is_stopping=lambda: engine.parts.slots.is_stopping)


class _Single:
    """Runs what blocks in a thread, never twice at a time: a dead disk must not eat threads."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._running: asyncio.Future[None] | None = None

    async def __call__(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().run_in_executor(None, self._look)
        await asyncio.shield(self._running)


class _Place:
    """The upload directory. Its methods block, and raise Unready."""

    def __init__(self, root: Path, *, reserve: int) -> None:
        self.root = root
        self._reserve = reserve

    def check_writable(self) -> None:
        """Write a byte, and remove it again."""
        probe = Places(self.root).run / f"ready-{os.getpid()}"
        try:
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as exc:
            reason = exc.strerror or "it cannot be used"
            is_full = exc.errno in {errno.ENOSPC, errno.EDQUOT}
            remedy = "free some space" if is_full else "make it writable for the server's user"
            raise Unready(f"{self.root} cannot be written ({reason}): {remedy}") from exc

    def check_space(self) -> None:
        """Compare what is free with what is kept back."""
        try:
            free = free_space(self.root)
        except OSError as exc:
            raise Unready(f"{self.root} cannot be looked at: {exc.strerror}") from exc
        if free <= self._reserve:
            raise Unready(
                f"{format_size(free)} are free and {format_size(self._reserve)} are never given "
                "away: free some space, or lower --reserve"
            )
