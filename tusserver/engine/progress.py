"""What the application and receivers of events are told of a running append (floor 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tusserver.ports import Event, EventKind

if TYPE_CHECKING:
    from tusserver.engine.parts import EngineParts
    from tusserver.ports import RequestInfo
    from tusserver.upload import Upload

RECEIVE_EVENT_SECONDS = 1.0


class ProgressTeller:
    """Tells of the commits of one append: post-receive, at most once a second."""

    __slots__ = ("_parts", "_request", "_telling", "_told_at")

    def __init__(self, parts: EngineParts, request: RequestInfo | None) -> None:
        """Tell of what `request` brings."""
        self._parts = parts
        self._request = request
        self._telling = False
        self._told_at = asyncio.get_running_loop().time()

    def committed(self, upload: Upload) -> None:
        """Tell of a commit whoever wants to know of it."""
        hooks, now = self._parts.hooks, asyncio.get_running_loop().time()
        if self._parts.outbox.wants(EventKind.POST_RECEIVE):
            self._parts.outbox.progress(self._received(upload))
        if self._telling or not hooks.wants(EventKind.POST_RECEIVE):
            return
        if now - self._told_at < RECEIVE_EVENT_SECONDS:
            return
        self._told_at = now
        self._telling = True
        told = hooks.after(self._received(upload))
        self._parts.crew.start_job(told, name="post-receive hook", then=self._told)

    def _received(self, upload: Upload) -> Event:
        event_id = f"{upload.upload_id}-{upload.version}"
        return Event(EventKind.POST_RECEIVE, upload, event_id, self._request)

    def _told(self) -> None:
        self._telling = False
