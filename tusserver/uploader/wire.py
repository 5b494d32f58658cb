"""The requests of tus 1.0, each sent once, and what their answers mean (floor 5)."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import re
import socket
import weakref
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import aiohttp

from tusserver.uploader.faults import (
    Refused,
    TooLarge,
    Trouble,
    UploadFault,
    Vanished,
)
from tusserver.uploader.order import check_endpoint, shown_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from aiohttp import AddrInfoType

    from tusserver.uploader.order import Order
    from tusserver.uploader.source import Source

_PASSING = {408, 409, 423, 425, 429, 460}
"""4xx that may pass: 409 is an offset that moved, 460 a checksum that did not match."""
_LASTING = {501, 505}
"""5xx that do not pass."""
_TEXT = 2000
_SHOWN = 200
_SECRET = 4
"""Shorter words are not looked for in what servers say."""
_HEADER_LIMIT = 64 * 1024
_LAST_WORDS = 0.01
"""Seconds for which the loop may notice that sockets are shut."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What a server says it can do."""

    extensions: frozenset[str]
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What HEAD tells of an upload."""

    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    reason: str
    headers: Mapping[str, str]
    text: str

    def number(self, name: str) -> int | None:
        """Give a header that is a whole number."""
        value = self.headers.get(name, "")
        return int(value) if re.fullmatch(r"[0-9]{1,19}", value) else None

    def words(self, name: str) -> list[str]:
        """Give the entries of a list."""
        return [word.strip() for word in self.headers.get(name, "").split(",") if word.strip()]


class Wire:
    """Connections to one server, open from entering to leaving."""

    def __init__(self, order: Order) -> None:
        """Know where and how; nothing is opened."""
        self._order = order
        self._endpoint, self._secrets = _credentials(order)
        self._made: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Open the session."""
        # Whether anything still moves is watched by each request: no time-out for the whole.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._order.tls, limit=0, socket_factory=self._socket
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Tus-Resumable": "1.0.0"},
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections, those too on which nothing moves."""
        if self._session is not None:
            await self._session.close()
        # A closed transport still waits until what it holds is sent, for ever if need be.
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        await asyncio.sleep(_LAST_WORDS)

    def _socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def announced(self) -> Announced:
        """Ask what the server can do. Raises: UploadFault."""
        answer = self._good(await self._ask("OPTIONS", self._endpoint), self._no_endpoint)
        extensions = frozenset(answer.words("Tus-Extension"))
        return Announced(extensions, tuple(answer.words("Tus-Checksum-Algorithm")))

    async def create(self, fields: Mapping[str, str]) -> str:
        """Make an upload; give its URL. Raises: UploadFault."""
        endpoint = self._endpoint
        answer = self._good(await self._ask("POST", endpoint, fields), self._no_endpoint)
        place = answer.headers.get("Location")
        if place is None:
            raise Refused("the server made an upload and did not say where: is it a tus server?")
        try:
            url = check_endpoint(urljoin(endpoint, place))
        except ValueError:
            raise Refused("the server gave the upload a URL that is none") from None
        if urlsplit(url).scheme != urlsplit(endpoint).scheme:
            text = f"the server calls the upload {shown_url(url)}, which is another scheme than"
            raise Refused(f"{text} that of --to: its public URL, or that of its proxy, is wrong")
        if "@" in urlsplit(url).netloc or url in self._made:  # Two would be mixed in it.
            password = "a password in its URL" if url not in self._made else "the URL of another"
            raise Refused(f"the server gave this upload {password}")
        self._made.add(url)
        return url

    async def find(self, url: str) -> Found:
        """Ask how much of an upload is there. Raises: UploadFault."""
        answer = await self._ask("HEAD", url)
        if answer.status == 403:  # noqa: PLR2004 - tus 1.0.0, "HEAD": this too says: not found
            raise Vanished("the server no longer has the upload")
        offset = self._good(answer, self._no_upload).number("Upload-Offset")
        if offset is None:
            raise Refused("the server does not tell the offset of the upload")
        return Found(offset, answer.number("Upload-Length"))

    async def append(
        self,
        url: str,
        source: Source,
        span: tuple[int, int],
        *,
        offset: int,
        fields: Mapping[str, str],
        moved: Callable[[int], None],
    ) -> int | None:
        """Send the bytes of `span`, places in the source, to `offset` of the upload.

        `moved` is told how many are on their way. Gives the new offset, None if the server does
        not tell it. Raises: UploadFault.
        """
        start, end = span
        headers = {
            **fields,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(end - start),
        }
        body = None if start == end else _Body(source, start, end, moved)
        answer = await self._ask("PATCH", url, headers, body)
        return self._good(answer, self._no_upload).number("Upload-Offset")

    async def _ask(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str] | None = None,
        body: _Body | None = None,
    ) -> _Answer:
        if self._session is None:
            raise RuntimeError("the session is not open")
        silence = self._order.silence
        # The server may send us anywhere: credentials are for the one that was named.
        secrets = self._secrets if self._is_home(url) else {}
        try:
            async with asyncio.timeout(silence) as limit:
                data = None if body is None else body.pieces(limit, silence)
                asked = self._session.request(
                    method,
                    url,
                    headers={**secrets, **(fields or {})},
                    data=data,
                    allow_redirects=False,
                )
                async with asked as answer:
                    return await self._read(answer)
        except TimeoutError:
            raise Trouble(f"nothing moved for {silence:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            if body is not None and body.fault is not None:
                raise body.fault from None
            raise _of_connection(error) from None

    def _is_home(self, url: str) -> bool:
        return _origin(urlsplit(url)) == _origin(urlsplit(self._endpoint))

    async def _read(self, answer: aiohttp.ClientResponse) -> _Answer:
        """Read no more than is shown."""
        text = await answer.content.read(_TEXT) if answer.status >= 300 else b""  # noqa: PLR2004
        plain = answer.content_type in {"text/plain", "application/json"}
        shown = self._shown(text.decode(errors="replace")) if plain else ""
        if answer.status == 401 and not self._is_home(str(answer.url)):  # noqa: PLR2004
            shown = "the upload is not on the host of --to, so it got no credentials"
        reason = self._shown(answer.reason or "")
        return _Answer(answer.status, reason, answer.headers, shown)

    def _shown(self, text: str) -> str:
        """Give the first line of what a server says, without what was sent to it in secret."""
        for value in self._secrets.values():
            for secret in (value, value.rpartition(" ")[2]):
                text = text.replace(secret, "***") if len(secret) >= _SECRET else text
        line = next(iter(text.strip().splitlines()), "")
        return "".join(c for c in line[:_SHOWN] if c.isprintable())

    def _good(self, answer: _Answer, missing: Callable[[str], UploadFault], /) -> _Answer:
        """Give an answer that says yes. Raises: UploadFault."""
        status = answer.status
        if 200 <= status < 300:  # noqa: PLR2004
            return answer
        text = f"the server answered {status} {answer.reason}".rstrip()
        text += f": {answer.text}" if answer.text else ""
        if status in {404, 410}:
            raise missing(text)
        if status == 413:  # noqa: PLR2004
            raise TooLarge(text)
        if status in _PASSING or (status >= 500 and status not in _LASTING):  # noqa: PLR2004
            raise Trouble(text, retry_after=_retry_after(answer.headers.get("Retry-After", "")))
        if 300 <= status < 400 and "Location" in answer.headers:  # noqa: PLR2004
            with suppress(ValueError):  # It is no URL.
                place = shown_url(urljoin(self._endpoint, answer.headers["Location"]))
                text += f" and points to {self._shown(place)}: if that is right, give it as --to"
        raise Refused(text)

    @staticmethod
    def _no_endpoint(text: str) -> UploadFault:
        return Refused(f"{text} (is --to the URL at which uploads are made?)")

    @staticmethod
    def _no_upload(_text: str) -> UploadFault:
        return Vanished("the server no longer has the upload")


class _Body:
    """A body on its way: keeps the reason why the source could not go on."""

    def __init__(self, source: Source, start: int, end: int, moved: Callable[[int], None]) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._moved = moved
        self.fault: UploadFault | None = None

    async def pieces(self, limit: asyncio.Timeout, silence: float) -> AsyncIterator[bytes]:
        """Give the body; each piece that was taken moves the time-out on."""
        loop = asyncio.get_running_loop()
        sent = 0
        try:
            async for block in self._source.blocks(self._start, self._end):
                yield block
                sent += len(block)
                self._moved(sent)
                with suppress(RuntimeError):  # The answer came first, and the request is over.
                    limit.reschedule(loop.time() + silence)
        except UploadFault as fault:
            self.fault = fault
            raise


def _credentials(order: Order) -> tuple[str, dict[str, str]]:
    """Give the creation URL without its user and password, and the headers that are secret."""
    parts = urlsplit(order.endpoint)
    user, at, place = parts.netloc.rpartition("@")
    secrets = dict(order.headers)
    if at:
        name, _, password = user.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}".encode()
        secrets["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return parts._replace(netloc=place).geturl(), secrets


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, parts.port or default


def _of_connection(error: aiohttp.ClientError | OSError) -> UploadFault:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Refused(
                "the certificate of the server is not trusted: name its authority by --ca-file"
            )
        case aiohttp.InvalidURL():
            return Refused("the server gave the upload a URL that is none")
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or str(error.os_error)
            return Trouble(f"the server cannot be reached: {reason}")
        case aiohttp.ClientResponseError():
            return Trouble("the server answered what is not HTTP")
        case _:
            return Trouble("the connection broke off")


def _retry_after(value: str) -> float:
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
