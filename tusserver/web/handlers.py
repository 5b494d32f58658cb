"""One request through the house (floor 5): head, command, engine, result, response.

Nothing of a body is read before the checks have passed. This is the handler edge: the one
place below which no exception passes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from aiohttp import web

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
    Headers,
    Terminate,
)
from tusserver.web.access import Gate
from tusserver.web.arrival import Arrivals
from tusserver.web.connection import can_trail, forget_tail
from tusserver.web.cors import CorsPolicy, check_origin, preflight_headers, response_headers
from tusserver.web.download import send_upload
from tusserver.web.hosts import check_host
from tusserver.web.interim import check_expectation, send_continue
from tusserver.web.paths import base_path_of, segment_of
from tusserver.web.requestlog import (
    identified,
    note_body,
    note_command,
    note_error,
    note_method,
    note_result,
)
from tusserver.web.socketbody import SocketBody, pick_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tusserver.engine.core import UploadEngine
    from tusserver.ports import Segment
    from tusserver.protocol.dialect import Dialect
    from tusserver.protocol.messages import Command, Features, Reply, Result
    from tusserver.upload import UploadId
    from tusserver.web.arrival import Arrival
    from tusserver.web.stream import StreamBody

logger = logging.getLogger(__name__)


class TusHandlers:
    """Serves the creation URL and the uploads below it."""

    def __init__(self, engine: UploadEngine) -> None:
        """Serve `engine`, with the options it carries."""
        self._engine = engine
        self._options = options = engine.parts.web
        self._gate = Gate(engine)
        self._known_features: dict[tuple[str, bool], Features] = {}
        self._arrivals = Arrivals(options.trusted_proxies)
        self._cors = CorsPolicy(
            origins=options.cors_origins,
            credentials=options.cors_credentials,
            extra_headers=options.cors_headers,
        )

    def handle(self, request: web.Request) -> Awaitable[web.StreamResponse]:
        """Serve any request that the router brings; see `serve`."""
        return self.serve(request, base_path_of(request))

    async def serve(self, request: web.Request, base_path: str) -> web.StreamResponse:
        """Serve any request below the base path. Never raises but when it is cancelled."""
        head = read_head(request, base_path)
        dialect = choose_dialect(head)
        features = self._features(base_path, trailers=head.can_trail)
        arrival = self._arrivals.of(request)
        origin = request.headers.get("Origin")
        cors = {**self._cors_headers(request, origin), **identified()}
        method = dialect.method(head)
        note_method(method)
        exchange = _Exchange(request, arrival, head, method, dialect, features, cors)
        try:
            check_host(request)
            if origin is not None:
                own_origin = self._own_origin(arrival)
                check_origin(self._cors, origin, method=method, own_origin=own_origin)
            command = await self._parse(exchange)
            check_expectation(request)
            return await self._serve(command, exchange)
        except TusError as error:
            reply = dialect.fail(error, features=features, head=head)
            note_error(error)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            note_error(InternalError())
            reply = dialect.fail(InternalError(), features=features, head=head)
        return exchange.respond(reply)

    async def _parse(self, exchange: _Exchange) -> Command:
        try:
            return exchange.dialect.parse(exchange.head, exchange.features)
        except (VersionUnsupported, MethodNotAllowed):
            raise
        except TusError:
            await self._gate.admit_faulty(exchange.head.segment, exchange.info)
            raise

    async def _serve(self, command: Command, exchange: _Exchange) -> web.StreamResponse:
        info = exchange.info
        note_command(command, info)
        command, admitted = await self._gate.admit(command, info)
        if admitted is not info:
            info = admitted
            note_command(command, info)
        if isinstance(command, Download):
            return await self._download(command, exchange, info)
        if not (isinstance(command, Append | Create) and command.checksum is not None):
            forget_tail(exchange.request)
        result = await self._execute(command, exchange, info)
        note_result(result)
        reply = exchange.dialect.reply(
            result,
            features=exchange.features,
            locate=lambda upload_id: self._locate(
                upload_id, exchange.features.base_path, info.caller.credential
            ),
            head=exchange.head,
        )
        return exchange.respond(reply)

    async def _execute(self, command: Command, exchange: _Exchange, info: RequestInfo) -> Result:
        engine, request = self._engine, exchange.request
        match command:
            case Discover():
                return Discovered(features=exchange.features)
            case Create():
                return await engine.create(
                    command,
                    self._body(request),
                    proceed=exchange.proceed,
                    request=info,
                )
            case Append():
                return await engine.append(
                    command,
                    self._body(request),
                    proceed=exchange.proceed,
                    request=info,
                )
            case Describe():
                return await engine.describe(command.upload_id, request=info)
            case Terminate():
                return await engine.terminate(command.upload_id, request=info)
            case Download():
                raise InternalError
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
            headers={"Tus-Resumable": "1.0.0", **exchange.cors},
            reopen=reopen,
        )
        if exchange.may_leak:
            response.force_close()
        return response

    def _body(self, request: web.Request) -> StreamBody | SocketBody:
        body = pick_body(request, idle_timeout=self._options.body_timeout)
        note_body(body)
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


@dataclass(slots=True)
class _Exchange:
    """One request and what its answer needs."""

    request: web.Request
    arrival: Arrival
    head: Head
    method: str
    """The one that holds: an override counts."""
    dialect: Dialect
    features: Features
    cors: Mapping[str, str]

    @property
    def info(self) -> RequestInfo:
        """Describe the request to hooks."""
        request = self.request
        return RequestInfo(
            method=self.method,
            uri=request.path_qs,
            remote=self.arrival.client,
            headers=tuple(request.headers.items()),
            context={key: request[key] for key in request},
        )

    @property
    def proceed(self) -> Callable[[], Awaitable[None]]:
        """Give what lets a waiting client send its body."""
        return lambda: send_continue(self.request)

    @property
    def may_leak(self) -> bool:
        """Tell whether a trailer of this request could become a field of the next one.

        aiohttp's C parser (3.14.5) lets it; our own connections know better. Behind a proxy, the
        next request may be that of another user.
        """
        return self.head.content_length is None and not self.head.can_trail

    def respond(self, reply: Reply) -> web.Response:
        """Turn a reply into aiohttp's response."""
        response = web.Response(
            status=reply.status,
            reason=reply.reason,
            body=reply.body.encode() if reply.body else None,
            headers={**self.cors, **dict(reply.headers)},
        )
        if reply.close or self.may_leak or not self.request.content.is_eof():
            # Part of the body is unread: a client that waits for the answer learns that the
            # connection ends; one that still sends is read from for a while and can read it.
            response.force_close()
        return response


def read_head(request: web.Request, base_path: str) -> Head:
    """Give the head of a request as the dialects see it."""
    chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    return Head(
        method=request.method,
        segment=segment_of(request, base_path),
        headers=Headers(request.headers.items()),
        content_length=None if chunked else request.content_length or 0,
        can_trail=can_trail(request),
    )
