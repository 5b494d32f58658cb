"""A receiver of webhooks on a real socket, which can misbehave in many ways."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.hosted import hosted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Got:
    """One message as it came."""

    body: bytes
    headers: dict[str, str]

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        return self.message["Type"]

    @property
    def upload_id(self) -> str:
        return self.message["Tusserver"]["UploadID"]

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is JSON unless it is told otherwise."""

    value: Any = None
    status: int = 200
    headers: dict[str, str] | None = None
    content_type: str = "application/json"

    def response(self) -> web.Response:
        is_raw = isinstance(self.value, bytes)
        return web.Response(
            body=self.value if is_raw else json.dumps(self.value or {}).encode(),
            status=self.status,
            headers=self.headers,
            content_type=self.content_type,
        )


class HookReceiver:
    """Notes what comes; `answer` may be changed at any time."""

    def __init__(self) -> None:
        self.port = 0
        self._lock = threading.Lock()
        self._got: list[Got] = []
        self.answer: Callable[[Got], Reply | float | None] = lambda _got: None
        """Gives the answer; a number hangs for so many seconds, None agrees."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def got(self) -> list[Got]:
        with self._lock:
            return list(self._got)

    def of(self, *kinds: str, upload_id: str | None = None) -> list[Got]:
        """Give what came, of these kinds (or all), of one upload (or all)."""
        return [
            got
            for got in self.got
            if (not kinds or got.kind in kinds) and upload_id in {None, got.upload_id}
        ]

    def kinds(self, upload_id: str | None = None) -> list[str]:
        return [got.kind for got in self.of(upload_id=upload_id)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        got = Got(await request.read(), {k.lower(): v for k, v in request.headers.items()})
        with self._lock:
            self._got.append(got)
        answer = self.answer(got)
        if isinstance(answer, int | float):
            await asyncio.sleep(answer)
            answer = None
        return (answer or Reply()).response()

    def make(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook", self._handle)
        return app


@contextmanager
def receiving() -> Iterator[HookReceiver]:
    receiver = HookReceiver()
    with hosted(receiver.make) as port:
        receiver.port = port
        yield receiver
