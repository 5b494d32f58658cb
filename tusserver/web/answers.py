"""Answers that are written at once, past aiohttp's own way of preparing them (floor 5).

aiohttp makes an answer in a dozen steps, so that middlewares, signals and applications can change
it on its way. Where nobody looks at it (see `dispatch`), what has no body and nothing of an
application's in it is put together here: the same bytes, for a fraction of the work.
"""

from __future__ import annotations

import string
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE

from tusserver.protocol.headers import imf_fixdate
from tusserver.web.cors import FOR_ALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from tusserver.protocol.messages import Reply

_OPENINGS = {
    200: b"HTTP/1.1 200 OK\r\n",
    201: b"HTTP/1.1 201 Created\r\n",
    204: b"HTTP/1.1 204 No Content\r\n",
}
_NO_LENGTH = frozenset({204})
"""Statuses whose answers name no length (RFC 9110 section 8.6)."""
_PRINTABLE = (string.ascii_letters + string.digits + string.punctuation + " \t").encode()


class Answer(web.StreamResponse):
    """An answer whose head is written already.

    Of aiohttp's class it has what the connection asks for, and none of the state: nobody can
    change it but by `force_close`.
    """

    def __init__(self, status: int, head: bytes) -> None:
        """Send this head, which lacks the end: whether the connection goes on is not in it."""
        self._code = status
        self._head = head
        self._keeps: bool | None = None
        self._is_sent = False

    @property
    def status(self) -> int:
        """Give the status."""
        return self._code

    @property
    def prepared(self) -> bool:
        """Tell whether it was sent."""
        return self._is_sent

    @property
    def keep_alive(self) -> bool | None:
        """Tell whether the connection goes on; None before that is known."""
        return self._keeps

    def force_close(self) -> None:
        """End the connection with this answer."""
        self._keeps = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send it, whole. Raises: ConnectionError."""
        writer = request.writer
        if not self._is_sent:
            self._is_sent = True
            if self._keeps is None:
                self._keeps = request.keep_alive
            end = b"\r\n" if self._keeps else b"Connection: close\r\n\r\n"
            await writer.write_eof(self._head + end)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: it was sent whole."""


def answer_at_once(
    request: web.BaseRequest, reply: Reply, *, cors: Mapping[str, str], request_id: str
) -> Answer | None:
    """Write a reply that has no body; None for one that has to take aiohttp's way.

    `cors` are the headers for pages of other origins; `request_id` is plain.
    """
    opening = _OPENINGS.get(reply.status)
    if opening is None or not reply.is_bare or request.version != HttpVersion11:
        return None
    headers = reply.headers
    text = f"X-Request-ID: {request_id}\r\n" + "\r\n".join(map(": ".join, headers))
    if not text.isascii():
        return None
    lines = text.encode()
    # aiohttp's way refuses what would end a line.
    if len(lines.translate(None, _PRINTABLE)) != 2 * len(headers):
        return None
    has_length = request.method != "HEAD" and reply.status not in _NO_LENGTH
    ending = (_ending_with_length if has_length else _ending)(int(time.time()))
    return Answer(reply.status, b"".join((opening, _written(cors), lines, ending)))


@lru_cache(maxsize=4)
def _ending(seconds: int) -> bytes:
    """Write the lines that end each head at this second, in seconds since 1970."""
    return f"\r\nDate: {imf_fixdate(seconds)}\r\nServer: {SERVER_SOFTWARE}\r\n".encode()


@lru_cache(maxsize=4)
def _ending_with_length(seconds: int) -> bytes:
    return b"\r\nContent-Length: 0" + _ending(seconds)


def _written(fields: Mapping[str, str]) -> bytes:
    """Write header fields as lines; those that most answers have, once."""
    if fields is FOR_ALL:
        return _FOR_ALL_LINES
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode()


_FOR_ALL_LINES = "".join([f"{name}: {value}\r\n" for name, value in FOR_ALL.items()]).encode()
