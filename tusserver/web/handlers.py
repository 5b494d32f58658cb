"""One request through the house (floor 5): head, command, engine, result, response.

Nothing of a body is read before the checks have passed. This is the handler edge: the one
place below which no exception passes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from aiohttp import web
from aiohttp.hdrs import ORIGIN, TRANSFER_ENCODING

from tusserver.errors import InternalError, MethodNotAllowed, TusError, VersionUnsupported
from tusserver.ports import RequestInfo
from tusserver.protocol.dialect import choose_dialect
from tusserver.protocol.messages import (
    Append,
    Create,
    Describe,
    Discover,
    Discovered,
    Download,
    Head,
    Terminate,
)
from tusserver.web.access import Gate
from tusserver.web.answers import answer_at_once
from tusserver.web.arrival import Arrivals
from tusserver.web.connection import can_trail, forget_tail
from tusserver.web.cors import CorsPolicy, check_origin, preflight_headers, response_headers
from tusserver.web.download import send_upload
from tusserver.web.hosts import check_host
from tusserver.web.interim import check_expectation, send_continue
from tusserver.web.paths import base_path_of, segment_of
from tusserver.web.requestlog import REQUEST_ID, note_error, note_result
from tusserver.web.socketbody import SocketBody, pick_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Mapping
    from typing import Any

    from tusserver.account import Account
    from tusserver.engine.core import UploadEngine
    from tusserver.ports import Segment
    from tusserver.protocol.dialect import Dialect
    from tusserver.protocol.messages import Features, Reply, Result
    from tusserver.upload import UploadId
    from tusserver.web.arrival import Arrival
    from tusserver.web.stream import StreamBody

    _Worked = Append | Create | Describe | Discover | Terminate

logger = logging.getLogger(__name__)


class TusHandlers:
    """Serves the creation URL and the uploads below it."""

    def __init__(self, engine: UploadEngine) -> None:
        """Serve `engine`, with the options it carries."""
        self._engine = engine
        self._options = options = engine.parts.web
        self._gate = Gate(engine)
        self._shows_requests = engine.parts.shows_requests
        self._known_features: dict[tuple[str, bool], Features] = {}
        self._arrivals = Arrivals(options.trusted_proxies)
        self._cors = CorsPolicy(
            origins=options.cors_origins,
            credentials=options.cors_credentials,
            extra_headers=options.cors_headers,
        )

    def handle(
        self, request: web.Request, account: Account
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        """Serve any request that the router brings; see `serve`."""
        return self.serve(request, account, base_path_of(request))

    async def serve(
        self, request: web.Request, account: Account, base_path: str, *, is_direct: bool = False
    ) -> web.StreamResponse:
        """Serve any request below the base path. Never raises but when it is cancelled.

        `is_direct`: nobody but the connection will look at the answer.
        """
        head = read_head(request, base_path)
        dialect = choose_dialect(head)
        features = self._features(base_path, trailers=head.can_trail)
        arrival = self._arrivals.of(request)
        account.remote = arrival.client
        origin = request.headers.get(ORIGIN)
        cors = self._cors_headers(request, origin)
        method = account.method = dialect.method(head)
        exchange = _Exchange(
            request, account, arrival, head, method, dialect, features, cors, is_direct
        )
        try:
            check_host(request)
            if origin is not None:
                own_origin = self._own_origin(arrival)
                check_origin(self._cors, origin, method=method, own_origin=own_origin)
            return await self._serve(exchange)
        except TusError as error:
            reply = dialect.fail(error, features=features, head=head)
            note_error(account, error)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            note_error(account, InternalError())
            reply = dialect.fail(InternalError(), features=features, head=head)
        return exchange.respond(reply)

    async def _serve(self, exchange: _Exchange) -> web.StreamResponse:
        dialect, head, features = exchange.dialect, exchange.head, exchange.features
        request, account = exchange.request, exchange.account
        info = exchange.info(is_shown=self._shows_requests)
        try:
            command = dialect.parse(head, features)
        except (VersionUnsupported, MethodNotAllowed):
            raise
        except TusError:
            await self._gate.admit_faulty(head.segment, info)
            raise
        check_expectation(request)
        account.upload_id = getattr(command, "upload_id", "")
        if self._gate.is_guarded:
            command, info = await self._gate.admit(command, info)
            account.owner = info.caller.owner or ""
        if isinstance(command, Download):
            return await self._download(command, exchange, info)
        if head.content_length is None and getattr(command, "checksum", None) is None:
            forget_tail(request)
        result = await self._work(command, exchange, info)
        note_result(account, result)
        reply = dialect.reply(
            result,
            features=features,
            locate=lambda upload_id: self._locate(
                upload_id, features.base_path, info.caller.credential
            ),
            head=head,
        )
        return exchange.respond(reply)

    def _work(self, command: _Worked, exchange: _Exchange, info: RequestInfo) -> Awaitable[Result]:
        """Begin what a command asks for; await it."""
        engine = self._engine
        match command:
            case Describe():
                return engine.describe(command.upload_id, request=info)
            case Append():
                body, proceed = self._body(exchange), exchange.proceed
                return engine.append(command, body, proceed=proceed, request=info)
            case Create():
                body, proceed = self._body(exchange), exchange.proceed
                return engine.create(command, body, proceed=proceed, request=info)
            case Terminate():
                return engine.terminate(command.upload_id, request=info)
            case Discover():
                return _known(Discovered(features=exchange.features))
            case _:
                assert_never(command)

    async def _download(
        self, command: Download, exchange: _Exchange, info: RequestInfo
    ) -> web.StreamResponse:
        upload, segments = await self._engine.content(command.upload_id, request=info)

        async def reopen() -> list[Segment]:
            return (await self._engine.content(command.upload_id, request=info))[1]

        response = await send_upload(
            exchange.request,
            upload,
            segments,
            cache_control=self._options.cache_control,
            headers={"Tus-Resumable": "1.0.0", **exchange.common()},
            reopen=reopen,
        )
        if exchange.may_leak:
            response.force_close()
        return response

    def _body(self, exchange: _Exchange) -> StreamBody | SocketBody:
        body = pick_body(exchange.request, idle_timeout=self._options.body_timeout)
        exchange.account.body = body
        return body

    def _locate(self, upload_id: UploadId, base_path: str, credential: str) -> str:
        url = f"{self._options.public_url or base_path}{upload_id}"
        return f"{url}?{credential}" if credential else url

    def _own_origin(self, arrival: Arrival) -> str:
        """Give the origin of the server's own pages, as browsers name it."""
        public = self._options.public_url
        return arrival.origin if public is None else "/".join(public.split("/", 3)[:3])

    def _features(self, base_path: str, *, trailers: bool) -> Features:
        """Say what can be done here; the engine's answer stays the same."""
        key = base_path, trailers
        features = self._known_features.get(key)
        if features is None:
            features = self._engine.features(base_path=base_path, trailers=trailers)
            self._known_features[key] = features
        return features

    def _cors_headers(self, request: web.Request, origin: str | None) -> Mapping[str, str]:
        make = preflight_headers if request.method == "OPTIONS" else response_headers
        return make(self._cors, origin)


async def _known(result: Result) -> Result:
    return result


@dataclass(slots=True)
class _Exchange:
    """One request and what its answer needs."""

    request: web.Request
    account: Account
    arrival: Arrival
    head: Head
    method: str
    """The one that holds: an override counts."""
    dialect: Dialect
    features: Features
    cors: Mapping[str, str]
    is_direct: bool
    """Nobody but the connection will look at the answer."""

    def info(self, *, is_shown: bool) -> RequestInfo:
        """Describe the request, to hooks if it `is_shown` to any; else nobody asks for headers."""
        request = self.request
        return RequestInfo(
            method=self.method,
            uri=request.path_qs,
            remote=self.arrival.client,
            headers=tuple(request.headers.items()) if is_shown else (),
            context={key: request[key] for key in request} if len(request) else {},
        )

    async def proceed(self) -> None:
        """Let a waiting client send its body."""
        await send_continue(self.request)

    @property
    def may_leak(self) -> bool:
        """Tell whether a trailer of this request could become a field of the next one.

        aiohttp's C parser (3.14.5) lets it; our own connections know better. Behind a proxy, the
        next request may be that of another user.
        """
        return self.head.content_length is None and not self.head.can_trail

    def common(self) -> Mapping[str, str]:
        """Give the headers that every answer has."""
        return {**self.cors, REQUEST_ID: self.account.request_id}

    def respond(self, reply: Reply) -> web.StreamResponse:
        """Turn a reply into a response."""
        response: web.StreamResponse | None = None
        if self.is_direct:
            response = answer_at_once(
                self.request, reply, cors=self.cors, request_id=self.account.request_id
            )
        if response is None:
            response = web.Response(
                status=reply.status,
                reason=reply.reason,
                body=reply.body.encode() if reply.body else None,
                headers={**self.common(), **dict(reply.headers)},
            )
        if reply.close or self.may_leak or not self.request.content.is_eof():
            # Part of the body is unread: a client that waits for the answer learns that the
            # connection ends; one that still sends is read from for a while and can read it.
            response.force_close()
        return response


def read_head(request: web.Request, base_path: str) -> Head:
    """Give the head of a request as the dialects see it."""
    headers = request.headers
    if TRANSFER_ENCODING in headers and "chunked" in headers[TRANSFER_ENCODING].lower():
        length = None
    else:
        length = request.content_length or 0
    return Head(
        method=request.method,
        segment=segment_of(request, base_path),
        headers=headers,
        content_length=length,
        can_trail=can_trail(request),
    )
