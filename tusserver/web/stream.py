"""A request body over aiohttp's `request.content` (floor 5).

Implements `body.Body`: it ends and says why, and raises for no fault of the client. What it
adds to aiohttp's stream: bytes that had arrived before the connection broke are delivered
first, an idle time-out that counts only while somebody waits for bytes, an end from outside.

What it relies on beside documented names: `StreamReader.set_exception`, to wake a waiting read
and to lift an exception from a buffer that still holds bytes (where lifting stops working,
those bytes are lost, which the client makes good by sending them again), and `feed_eof`, so
that aiohttp does not linger on a broken body.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from tusserver.body import BodyEnd
from tusserver.web.connection import let_come, parser_gave_up, trailers_of

if TYPE_CHECKING:
    from aiohttp import StreamReader

CHUNK = 262_144
"""The most bytes that one read gives."""

LOOK_EVERY = 1.0
"""Seconds between looks at a silent chunked body on a host's runner: see `_check_idle`."""


_NOTHING = memoryview(b"")


class _Woken(Exception):
    """Ends a waiting read from outside."""


class StreamBody:
    """The body of one request; for one reader."""

    __slots__ = (
        "_content",
        "_gone",
        "_has_begun",
        "_idle_timeout",
        "_last_byte_at",
        "_length",
        "_loop",
        "_request",
        "_rest",
        "_seen",
        "_taken",
        "_then",
        "_timer",
        "_trailers",
        "_waiting_since",
    )

    def __init__(self, request: web.BaseRequest, *, idle_timeout: float) -> None:
        """End with TIMEOUT once a read has waited `idle_timeout` seconds for a byte."""
        self._request = request
        self._content: StreamReader = request.content
        self._loop = asyncio.get_running_loop()
        self._idle_timeout = idle_timeout
        self._trailers = trailers_of(request)
        self._length = _length_of(request)
        self._taken = 0
        self._seen = 0
        self._last_byte_at = self._loop.time()
        self._rest = _NOTHING
        # What `end` is once `_rest` is delivered.
        self._then: BodyEnd | None = None if request.body_exists else BodyEnd.COMPLETE
        self._gone = False
        self._has_begun = False
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def length(self) -> int | None:
        """Give the announced `Content-Length` in bytes; None for a chunked body."""
        return self._length

    @property
    def end(self) -> BodyEnd | None:
        """Tell why the body ended; None while it has not, or bytes of it are still here."""
        return None if self._rest else self._then

    @property
    def received(self) -> int:
        """Give the bytes that arrived so far, as far as they were taken."""
        return self._taken

    @property
    def last_byte_at(self) -> float:
        """Give the loop time at which the last byte was seen to have arrived.

        While its reader does something else, the client is not silent: what it sends waits for us.
        """
        self._notice()
        if not self._has_begun:
            return self._last_byte_at
        if self._waiting_since is None:
            return self._loop.time()
        return max(self._last_byte_at, self._waiting_since)

    def _notice(self) -> None:
        # Bytes that nobody has read yet are no silence either: the total grows with them.
        total = self._content.total_bytes
        if total != self._seen:
            self._seen = total
            self._last_byte_at = self._loop.time()

    async def read(self) -> bytes:
        """Wait for bytes, at most 256 KiB; b"" once the body has ended. Safe to cancel."""
        if self._rest or self._then is not None:
            return self._piece()
        let_come(self._request)
        self._start_waiting()
        try:
            data = await self._content.readany()
        except _Woken:
            data = b""
        except BaseException as error:
            if not self._is_end(error):
                raise
            if self.end is None:
                self._collect(self._why(error))
            return self._piece()
        finally:
            self._waiting_since = None
        if self.end is not None:
            # Stopped in the same moment: what was stopped takes no more bytes.
            return b""
        self._take(data)
        if self._gone:
            self._collect(BodyEnd.DISCONNECTED)
        else:
            self._settle(None if data else BodyEnd.DISCONNECTED)
        return self._piece()

    def stop(self, why: BodyEnd) -> None:
        """End the body now; a waiting `read` returns b"". Does nothing when it has ended.

        Only REFUSED replaces COMPLETE (see `Body.stop`). DISCONNECTED says that the client has
        gone: what had arrived is delivered before the end.
        """
        if self.end is not None:
            if why is BodyEnd.REFUSED and self._then is BodyEnd.COMPLETE:
                self._then = why
            return
        if why is not BodyEnd.DISCONNECTED:
            self._rest = _NOTHING
            self._close(why)
        elif self._waiting_since is None and self._then is None:
            self._collect(why)
        else:
            self._gone = True
        if self._waiting_since is not None and self._content.exception() is None:
            self._content.set_exception(_Woken())
            _lift_exception(self._content)

    def push(self, data: bytes) -> None:
        """Take bytes that somebody else has read from the stream, before the first `read`."""
        self._take(data)
        self._settle(None)

    def trailer(self, name: str) -> str | None:
        """Give the value of an announced trailer field once the body is complete."""
        trailers = self._trailers
        if trailers is None or self.end is not BodyEnd.COMPLETE:
            return None
        # Counted otherwise than the parser did: then it is not this message's trailer.
        if trailers.body_length != self._content.total_bytes:
            return None
        return trailers.get(name)

    # --- bytes

    def _piece(self) -> bytes:
        """Give the next bytes of what was taken from the stream."""
        rest = self._rest
        if len(rest) <= CHUNK:
            self._rest = _NOTHING
            whole = rest.obj
            return whole if isinstance(whole, bytes) and len(whole) == len(rest) else bytes(rest)
        self._rest = rest[CHUNK:]
        return bytes(rest[:CHUNK])

    def _take(self, data: bytes) -> None:
        if data:
            self._taken += len(data)
            self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
            self._notice()

    def _collect(self, why: BodyEnd) -> None:
        """Take what has arrived, and let the body end after it."""
        self._take(self._buffered())
        self._settle(why)

    def _buffered(self) -> bytes:
        """Take what the stream holds, also from under an exception; nothing after the answer."""
        content = self._content
        error = content.exception()
        if isinstance(error, web.PayloadAccessError):
            return b""
        if error is not None and not _lift_exception(content):
            return b""
        try:
            return content.read_nowait()
        except RuntimeError:
            # aiohttp itself reads on, after an answer that left the body unread.
            return b""
        finally:
            if error is not None:
                content.set_exception(error)

    # --- the end

    def _settle(self, why: BodyEnd | None) -> None:
        """Let the body end with `why`, if any, but COMPLETE if every byte of it was taken."""
        content = self._content
        if self._length is None:
            whole = content.is_eof() and self._taken == content.total_bytes
        else:
            whole = self._taken == self._length
        if whole:
            self._close(BodyEnd.COMPLETE)
        elif why is not None:
            self._close(why)
            if content.exception() is not None:
                # Else aiohttp would wait for the rest of it before it closes.
                content.feed_eof()

    def _close(self, why: BodyEnd) -> None:
        self._then = why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_end(self, error: BaseException) -> bool:
        """Tell whether an exception ends the body, and is none of the reader's own."""
        set_on_stream = self._content.exception()
        if isinstance(error, asyncio.CancelledError):
            # How aiohttp's server ends bodies when it stops; any other one is meant for the reader.
            return error is set_on_stream
        # Not the same one, perhaps: aiohttp's Python parser sets a second one at once. Without
        # any, a read that begins after the connection was lost raises RuntimeError.
        lost = self._request.transport is None
        return isinstance(error, Exception) and (set_on_stream is not None or lost)

    def _why(self, error: BaseException) -> BodyEnd:
        match error:
            case web.RequestPayloadError() | HttpProcessingError():
                return BodyEnd.MALFORMED
            case web.PayloadAccessError():
                return BodyEnd.REFUSED
            case asyncio.CancelledError():
                return BodyEnd.SHUTDOWN
            case _:
                return BodyEnd.DISCONNECTED

    # --- waiting

    def _start_waiting(self) -> None:
        self._has_begun = True
        self._waiting_since = self._loop.time()
        if self._timer is None:
            self._arm(self._waiting_since + self._idle_timeout)

    def _arm(self, due: float) -> None:
        if self._length is None and self._trailers is None:
            due = min(due, self._loop.time() + LOOK_EVERY)
        self._timer = self._loop.call_at(due, self._check_idle)

    def _check_idle(self) -> None:
        """End a read that waited too long; else look again when it will have.

        aiohttp's C parser tells nobody of a malformed chunk. Our own connection does; on a
        host's runner it has to be looked for.
        """
        self._timer = None
        if self._waiting_since is None or self._then is not None:
            return
        if parser_gave_up(self._request.protocol, self._content):
            self._content.set_exception(web.RequestPayloadError("malformed chunk"))
            return
        # Not by when the read began: after a stall of ours bytes may be here that it has not seen.
        due = self.last_byte_at + self._idle_timeout
        if self._loop.time() < due:
            self._arm(due)
        else:
            self.stop(BodyEnd.TIMEOUT)


def _length_of(request: web.BaseRequest) -> int | None:
    if not request.body_exists:
        return 0
    return request.content_length


def _lift_exception(content: StreamReader) -> bool:
    """Take an exception away from a stream; tell whether that worked.

    The type of the argument does not allow it, the method does: kept to this one place.
    """
    content.set_exception(cast("Any", None))
    return content.exception() is None
