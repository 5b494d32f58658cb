"""HTTP receivers that are asked and told, in the manner of tusd v2 (floor 4; docs/hooks.md)."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import aiohttp

from tusserver.errors import HookFailed
from tusserver.hooks.chain import altered, join
from tusserver.hooks.payload import (
    AnswerMalformed,
    Response,
    decide,
    forwarded,
    read_response,
)
from tusserver.ports import Decision, EventKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tusserver.hooks.payload import Writer
    from tusserver.hooks.signing import Signer
    from tusserver.ports import Event

logger = logging.getLogger(__name__)

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer; a longer one is none."""
CONNECTIONS = 100
"""Connections to receivers, in one process."""
RETRY_PAUSE = 1.0
"""Seconds before a question is put again, as tusd waits."""
SERVER_ERROR = 500
_TAKEN = frozenset({"connection", "content-length", "expect", "host", "transfer-encoding"})
"""Headers of the client's request that would be wrong in ours."""
JSON = "application/json"


class DeliveryFailed(Exception):
    """A receiver did not take what it was sent; says why, for the operator.

    `passes`: trying again may help.
    """

    def __init__(self, reason: str, *, passes: bool) -> None:
        """Give the reason without anything secret in it."""
        super().__init__(reason)
        self.passes = passes


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer of a receiver."""

    body: bytes
    is_json: bool


class Receiver:
    """One receiver: sends it what happens, signed; follows no redirect and uses no proxy."""

    def __init__(self, url: str, *, signer: Signer, timeout: float) -> None:
        """Send to `url`; `timeout` is in seconds and holds for one request."""
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        self.shown = f"{parts.scheme}://{place}{parts.path}"
        """The address without what may be secret in it."""
        self._url = parts._replace(netloc=place).geturl()
        self._own_fields: dict[str, str] = {}
        if parts.username is not None:
            name, password = unquote(parts.username), unquote(parts.password or "")
            self._own_fields["Authorization"] = aiohttp.encode_basic_auth(name, password)
        self._signer = signer
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, event_id: str, body: bytes, *, fields: Sequence[tuple[str, str]] = ()
    ) -> Answer:
        """Send one message once. Raises: DeliveryFailed. Safe to cancel."""
        own = {"Content-Type": JSON, "Accept-Encoding": "identity", **self._own_fields}
        own |= self._signer.headers(event_id, body, now=time.time())
        taken = _TAKEN | {name.lower() for name in own}
        headers = [(name, value) for name, value in fields if name.lower() not in taken]
        headers += own.items()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._open_session().post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                return await self._read(response)
        except TimeoutError:
            reason = f"{self.shown} did not answer in {self._timeout:g} s"
            raise DeliveryFailed(reason, passes=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = f"{self.shown} cannot be reached ({_why(error)})"
            raise DeliveryFailed(reason, passes=True) from None

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        status = response.status
        if not 200 <= status < 300:  # noqa: PLR2004 - what 2xx means
            raise DeliveryFailed(f"{self.shown} answered {status}", passes=status >= SERVER_ERROR)
        body = b""
        while data := await response.content.read(ANSWER_LIMIT + 1 - len(body)):
            body += data
            if len(body) > ANSWER_LIMIT:
                reason = f"{self.shown} answered with more than {ANSWER_LIMIT} bytes"
                raise DeliveryFailed(reason, passes=False)
        return Answer(body, is_json=response.content_type.lower() == JSON)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _why(error: Exception) -> str:
    """Name a fault of the connection; nothing of the URL is in it."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate does not hold"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


class WebhookHooks:
    """Asks receivers before something happens, one after the other; all must agree."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        *,
        writer: Writer,
        events: Collection[str],
        forward: Sequence[str] = (),
        timeout: float,
        retries: int,
    ) -> None:
        """Ask about these events; `timeout` (seconds) holds for all tries of one question."""
        self._receivers = tuple(receivers)
        self._writer = writer
        self._asks = frozenset(
            kind for kind in EventKind if kind.value in events and kind.value.startswith("pre-")
        )
        self._forward = tuple(forward)
        self._timeout = timeout
        self._retries = retries
        self._has_warned: set[str] = set()

    def wants(self, kind: EventKind) -> bool:
        """Tell whether receivers are asked about this."""
        return kind in self._asks

    async def before(self, event: Event) -> Decision:
        """Ask the receivers in their order, each with what those before it changed.

        Raises: HookFailed when one cannot be asked, or answers what is no answer.
        """
        joined = Decision()
        if event.kind not in self._asks:
            return joined
        for receiver in self._receivers:
            decision = await self._ask(receiver, event)
            if decision.reject is not None:
                return decision
            joined, event = join(joined, decision), altered(event, decision)
        return joined

    async def after(self, event: Event) -> None:
        """Do nothing: what has happened goes through the outbox."""

    async def _ask(self, receiver: Receiver, event: Event) -> Decision:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                answer = await self._try(receiver, event)
            if not answer.is_json:
                raise AnswerMalformed(f"its type is not {JSON}")  # noqa: TRY301 - logged below
            response = read_response(answer.body)
            decision = decide(event.kind, response)
        except TimeoutError:
            self._log(event, f"{receiver.shown} did not answer in {self._timeout:g} s")
            raise HookFailed from None
        except AnswerMalformed as error:
            self._log(event, f"the answer of {receiver.shown} cannot be used: {error}")
            raise HookFailed from None
        except DeliveryFailed as error:
            self._log(event, str(error))
            raise HookFailed from None
        self._warn(receiver, response)
        return decision

    async def _try(self, receiver: Receiver, event: Event) -> Answer:
        body = self._writer.write(event)
        fields = forwarded(event.request, self._forward)
        for left in range(self._retries, -1, -1):
            try:
                return await receiver.send(event.event_id, body, fields=fields)
            except DeliveryFailed as error:
                if not (error.passes and left):
                    raise
                self._log(event, f"{error}: asked again in {RETRY_PAUSE:g} s", logging.INFO)
                await asyncio.sleep(RETRY_PAUSE)
        raise HookFailed

    def _log(self, event: Event, what: str, level: int = logging.ERROR) -> None:
        upload_id = event.upload.upload_id
        logger.log(level, "upload %s: %s failed: %s", upload_id, event.kind.value, what)

    def _warn(self, receiver: Receiver, response: Response) -> None:
        for name in response.ignored:
            if name not in self._has_warned:
                self._has_warned.add(name)
                logger.warning(
                    '%s of %s is not followed (see docs/hooks.md, "What is different"): an id '
                    "is 32 lower-case hexadecimal digits, and where files go is told by settings",
                    name,
                    receiver.shown,
                )
