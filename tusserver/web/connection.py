"""The program's own connections (floor 5): aiohttp's, with faults answered in tus's words.

Source: RFC 9112 (messages, connections), tus 1.0.0, "Checksum" (checksum-trailer). What a
connection of this class adds to aiohttp's: errors of the parser and of handlers are answered
as every other error is; the trailers of chunked bodies can be read, and do not leak into the
next request; a client that ends its sending early can still read the answer; a malformed body
ends at once; a head that dribbles and a client that never reads are cut off; the rest of a body
can be received by somebody else (see `receiving`).

Nothing here changes what aiohttp's parser sees. Beside documented names it is told by
`parser_gave_up`, which looks at a private name and does without it where that is missing, and
by `_forget_body`, which sets one and is proven to work before it is used (`rehearsal`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import InvalidURLError
from multidict import CIMultiDict, CIMultiDictProxy

from tusserver.body import BodyEnd
from tusserver.errors import InternalError, RequestMalformed
from tusserver.protocol.dialect import choose_dialect
from tusserver.protocol.messages import Features, Head
from tusserver.web.heads import HEAD_TIMEOUT, TOO_SLOW, HeadTimer
from tusserver.web.interim import refused_expectation
from tusserver.web.lingering import LastResponse, stop_hopeless
from tusserver.web.receiving import Receiving
from tusserver.web.trailers import Framing, Trailers
from tusserver.web.turns import FRONT

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.http import RawRequestMessage

    from tusserver.errors import TusError
    from tusserver.web.receiving import Taker
    from tusserver.web.turns import Turns


logger = logging.getLogger(__name__)


class TusConnection(web.RequestHandler):
    """One connection of the program's own server."""

    __slots__ = (
        "_answered",
        "_client_done",
        "_content",
        "_framing",
        "_head_timer",
        "_held",
        "_linger_for",
        "_receiving",
        "_refusing",
        "_taken",
        "_unwanted",
        "gives_sockets",
        "is_fresh",
        "trailers",
        "turns",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        lingering_time: float,
        head_timeout: float = HEAD_TIMEOUT,
        turns: Turns,
        gives_sockets: bool,
        **settings: Any,
    ) -> None:
        """Take aiohttp's own settings, and how long the head of a request may take.

        `turns` is what all connections of a loop receive into.
        """
        super().__init__(server, loop=loop, lingering_time=lingering_time, **settings)
        self._linger_for = lingering_time
        self._head_timer = HeadTimer(head_timeout, self._cut_slow_head)
        self._framing = Framing()
        self._content: StreamReader | None = None
        self._answered = True
        self._refusing = False
        self._receiving: Receiving | None = None
        self._taken = self._unwanted = 0
        self._held = False
        """Whether the transport was paused here until somebody wants the body."""
        self.gives_sockets = gives_sockets
        """Whether `give` may be asked for."""
        self.turns = turns
        self._client_done: asyncio.Future[None] | None = None
        self.is_fresh = True
        """No request has come yet."""
        self.trailers: Trailers | None = None
        """The trailers of the request that is being served; None if they cannot be had."""

    def begin(self, message: RawRequestMessage, content: StreamReader) -> RawRequestMessage:
        """Note that the next message becomes a request; give what it is made of."""
        self._content = content
        self._taken = self._unwanted = 0
        self._answered = self.is_fresh = False
        self._head_timer.end()
        if self._framing.body_left <= self.turns.small:
            self.turns.note_small(self._loop.time())
        followed = self._framing.next()
        self.trailers = None if followed is None else followed.trailers
        self._check_parser()
        # See `trailers`: what is more than was sent is the trailer of the request before.
        if followed is not None and len(message.raw_headers) > followed.fields:
            return _without_first(message, len(message.raw_headers) - followed.fields)
        return message

    @property
    def awaits_head(self) -> bool:
        """Tell whether no request is being served."""
        return self._answered

    def data_received(self, data: bytes) -> None:
        """Take bytes from the network."""
        if self._refusing:
            # Read, so that the refusal can reach a client which still sends.
            return
        if self._unwanted and data:
            self._throw_away(data)
            return
        if data:
            # What comes after an answer is a head, or the rest of a body that was refused.
            if self._answered and (self._content is None or self._content.is_eof()):
                self._head_timer.begin()
            self._framing.feed(data)
            if self._framing.is_too_long:
                # The parser counts each field by itself. It refuses a field without a name, and
                # that is answered as everything it refuses.
                super().data_received(b"\r\n:\r\n\r\n")
                self._refusing = True
                return
        super().data_received(data)
        self._check_parser()
        if self._answered and self._framing.body_left > FRONT and self.gives_sockets:
            self._hold()

    # --- bodies that somebody else receives

    def _hold(self) -> None:
        """Leave the rest of a body in the socket: most of its cost is what goes by the parser."""
        transport = self.transport
        if transport is not None and transport.is_reading():
            transport.pause_reading()
            self._held = True

    def release(self) -> None:
        """Let the rest of a body come that nobody takes from the socket."""
        if self._held:
            self._held = False
            if self.transport is not None:
                self.transport.resume_reading()

    def can_give(self, left: int) -> bool:
        """Tell whether the rest of the body that is being received is `left` bytes long.

        Only if everybody who counted agrees, nothing that follows it has been read.
        """
        can_read = self.transport is not None and not self._refusing
        return can_read and 0 < left == self._framing.body_left

    def give(self, taker: Taker, left: int, *, is_quick: bool) -> Receiving:
        """Let somebody have the rest of the body; the transport stops until they want it."""
        self._held = False
        self._receiving = Receiving(self, taker, left, is_quick=is_quick)
        return self._receiving

    def take_back(self, taken: int, *, left: int) -> None:
        """Go on after so many bytes of the body went to somebody else, who left so many."""
        self._receiving = None
        self._taken = taken
        self._unwanted = left
        self._framing.skip(taken)
        if not left:
            self._forget_body()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """End the connection; a request that runs has `timeout` seconds, and its body no more."""
        if timeout is None or not self.gives_sockets:
            await super().shutdown(timeout)
            return
        ending = self._loop.call_later(timeout, self._stop_receiving)
        try:
            await super().shutdown(timeout)
        finally:
            ending.cancel()

    def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.stop(BodyEnd.SHUTDOWN)

    def _throw_away(self, data: bytes) -> None:
        """Take what is left of a body that somebody gave back, and what stands behind it.

        The parser expects more of the body than will come: it must not see what follows.
        """
        unwanted, behind = data[: self._unwanted], data[self._unwanted :]
        self._unwanted -= len(unwanted)
        self._framing.feed(unwanted)
        super().data_received(unwanted)
        if not self._unwanted:
            self._forget_body()
            if behind:
                self.data_received(behind)

    def _forget_body(self) -> None:
        """Make the parser await a new request: it has not seen the end of this one."""
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )
        if self._content is not None:
            self._content.feed_eof()

    def _cut_slow_head(self) -> None:
        if self.transport is not None:
            logger.info("%s took too long for the head of a request", self.peername)
            self._refusing = True
            self.transport.write(TOO_SLOW)
            self.force_close()

    def _check_parser(self) -> None:
        """End the body that is being received if the parser gave it up."""
        content = self._content
        if content is not None and not content.is_eof() and parser_gave_up(self, content):
            self._refusing = True
            self._end_body(web.RequestPayloadError("malformed chunk"))

    def _end_body(self, error: Exception) -> None:
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(error)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Take the client's FIN: it may still wait for an answer (RFC 9112 section 9.6)."""
        self._end_body(ConnectionResetError("the client ended the connection"))
        self._tell_done()
        if self._answered or self.ssl_context is not None:
            return None
        self.close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take the end of the connection."""
        super().connection_lost(exc)
        self._head_timer.cancel()
        # A body that is only read to be thrown away has no request any more that aiohttp tells.
        self._end_body(ConnectionResetError("the connection was lost"))
        self._tell_done()

    def close(self) -> None:
        """Close the connection once the request that is being served has been answered."""
        super().close()
        self._tell_done()

    def _tell_done(self) -> None:
        if self._client_done is not None and not self._client_done.done():
            self._client_done.set_result(None)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of a response."""
        if self._receiving is not None:
            # Left by a handler that failed: what still comes is read, and the answer can be.
            self._receiving.stop(BodyEnd.REFUSED)
        self.release()
        if self._framing.lost and isinstance(resp, web.StreamResponse):
            # The heads that follow could not be told from what the parser made of them.
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered = True
            if self._content is not None and self._content.is_eof():
                self._content = None
                self.trailers = None
            elif self._content is not None:
                length, within = request.content_length, self._linger_for
                if length is not None:
                    length -= self._taken
                stop_hopeless(self._content, length, within=within, stop=self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused, or what no handler caught; closes the connection.

        Raises: ConnectionError when an answer has begun, or the client has gone.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        error: TusError
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.info("Malformed request from %s: %s", request.remote, _fault(exc, message))
            self._refusing = True
            error = RequestMalformed()
        elif isinstance(exc, UnicodeError) and (refusal := refused_expectation(request)):
            # aiohttp quotes it beside our paths, and fails at bytes that are no text.
            logger.info("An expectation from %s is no text", request.remote)
            error = refusal
        else:
            logger.error("%s %s failed", request.method, request.path, exc_info=exc or True)
            error = InternalError()
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: no other can be sent")
        head = Head(method=request.method, segment=None, headers=request.headers)
        reply = choose_dialect(head).fail(error, features=_NO_FEATURES, head=head)
        response = LastResponse(
            self.linger if self._refusing else None,
            status=reply.status,
            reason=reply.reason,
            headers=reply.headers,
            body=reply.body.encode() or None,
        )
        response.force_close()
        return response

    async def linger(self) -> None:
        """Say that no more is sent, and wait a while until the client sends no more either.

        Closing with unread bytes would reset the connection, and the answer could be lost.
        """
        transport = self.transport
        if transport is None or not transport.can_write_eof():
            return
        try:
            transport.write_eof()
        except OSError:  # it is gone, and nothing has told the loop so far
            return
        self._client_done = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._client_done], timeout=self._linger_for)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what aiohttp did not expect, but no client's fault."""
        if not isinstance(kw.get("exc_info"), (ConnectionError, web.RequestPayloadError)):
            super().log_exception(*args, **kw)


def can_trail(request: web.BaseRequest) -> bool:
    """Tell whether the trailers of this request would be delivered."""
    return trailers_of(request) is not None


def trailers_of(request: web.BaseRequest) -> Trailers | None:
    """Give the trailers of the request that is being served; None on a host's own runner."""
    connection = request.protocol
    return connection.trailers if isinstance(connection, TusConnection) else None


def let_come(request: web.BaseRequest) -> None:
    """Let a body come by aiohttp's stream, whose rest may have been left in the socket."""
    connection = request.protocol
    if isinstance(connection, TusConnection):
        connection.release()


def forget_tail(request: web.BaseRequest) -> None:
    """Keep no trailers of a request that needs none."""
    trailers = trailers_of(request)
    if trailers is not None:
        trailers.forget()


def parser_gave_up(connection: web.RequestHandler, content: StreamReader) -> bool:
    """Tell whether aiohttp's parser refused the rest of a body, without a word to the body.

    What follows a body is queued only after its end: anything queued before that is the
    parser's complaint. Always False where the queue cannot be seen: then silence ends the body.
    """
    return not content.is_eof() and bool(getattr(connection, "_messages", None))


def _without_first(message: RawRequestMessage, count: int) -> RawRequestMessage:
    fields = CIMultiDict(islice(message.headers.items(), count, None))
    return message._replace(
        headers=CIMultiDictProxy(fields), raw_headers=tuple(message.raw_headers[count:])
    )


_NO_FEATURES = Features(extensions=frozenset())
_FAULT = re.compile(r"[A-Z][A-Za-z0-9 ]*(?:: [A-Z][A-Za-z ]*)*")
"""The parser's own words; what it quotes stands in quotes behind them."""


def _fault(exc: BaseException | None, message: str | None) -> str:
    """Say what the parser found wrong, not what it found: that may hold credentials."""
    if isinstance(exc, InvalidURLError):  # Its message is the URL.
        return "Invalid URL"
    match = _FAULT.match(" ".join((message or "").split()))
    return "" if match is None else match[0]
