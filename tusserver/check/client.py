"""A client that looks at answers closely (floor 5): no redirects, no retries, never for long."""

from __future__ import annotations

import asyncio
import io
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aiohttp import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientSession,
    ClientTimeout,
    ServerTimeoutError,
    TCPConnector,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from multidict import CIMultiDictProxy

    Body = bytes | AsyncIterator[bytes]

TUS = {"Tus-Resumable": "1.0.0"}
APPEND = {"Content-Type": "application/offset+octet-stream", **TUS}

_OWN_WORDS = re.compile(r"([a-z_]{3,40}): [A-Z]")
_MOST_TEXT = 10_000


class Unreachable(Exception):
    """There was no answer: one sentence says why."""


class Untrusted(Unreachable):
    """The certificate of the other side proves nothing."""


class Silent(Unreachable):
    """No answer came in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def code(self) -> str:
        """Give the code of tusserver's own error; empty if it is none."""
        match = _OWN_WORDS.match(self.text)
        return "" if match is None else match[1]

    @property
    def is_ours(self) -> bool:
        """Tell whether tusserver gave this answer, and nobody in between."""
        return "Tus-Resumable" in self.headers or "Tus-Version" in self.headers or bool(self.code)

    @property
    def offset(self) -> int | None:
        """Give `Upload-Offset`, None if there is none that is a number."""
        value = self.headers.get("Upload-Offset", "")
        return int(value) if re.fullmatch("[0-9]{1,19}", value) else None

    @property
    def shown(self) -> str:
        """Name the answer in a sentence."""
        line = self.text.strip().partition("\n")[0][:200] if self.code else ""
        server = self.headers.get("Server", "")[:40]
        who = "tusserver" if self.is_ours else server or "something in front of tusserver"
        return f"{who} answers {self.status}" + (f" ({line})" if line else "")


class Client:
    """Speaks to one server; `patience` is how long an answer may take, in seconds."""

    def __init__(
        self, headers: Mapping[str, str], *, insecure: bool = False, patience: float = 10.0
    ) -> None:
        """Send these headers with each request; `insecure`: believe any certificate."""
        self._headers = dict(headers)
        self._insecure = insecure
        self.patience = patience
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._session = ClientSession(
            connector=TCPConnector(ssl=not self._insecure, force_close=True, limit=8),
            timeout=ClientTimeout(total=None, sock_connect=self.patience),
            headers={"User-Agent": "tusserver-check", **self._headers},
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; nothing stays open."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] = TUS,
        *,
        body: Body | None = None,
        waits_for_100: bool = False,
        patience: float | None = None,
    ) -> Answer:
        """Send a request and read its answer. Raises: Unreachable."""
        if self._session is None:
            raise RuntimeError("used outside of `async with`")
        allowed = self.patience if patience is None else patience
        try:
            async with (
                asyncio.timeout(allowed),
                self._session.request(
                    method,
                    url,
                    headers=headers,
                    data=io.BytesIO(body) if isinstance(body, bytes) else body,
                    allow_redirects=False,
                    expect100=waits_for_100,
                ) as answer,
            ):
                text = b""
                with suppress(ClientPayloadError):
                    text = await answer.content.read(_MOST_TEXT)
                return Answer(answer.status, answer.headers, text.decode(errors="replace"))
        except ClientConnectorCertificateError as failure:
            raise Untrusted(str(failure.certificate_error)) from failure
        except (TimeoutError, ServerTimeoutError) as failure:
            raise Silent(f"no answer in {allowed:g} s") from failure
        except ClientConnectorError as failure:
            raise Unreachable(failure.strerror or str(failure)) from failure
        except (ClientConnectionError, ConnectionError) as failure:
            raise Unreachable("the connection was closed without an answer") from failure
        except (ClientError, ValueError, OSError) as failure:
            raise Unreachable(str(failure) or type(failure).__name__) from failure

    @asynccontextmanager
    async def streaming(
        self, url: str, first: bytes, *, length: int, in_chunks: bool = False
    ) -> AsyncIterator[asyncio.Task[Answer]]:
        """Append to an upload: send `first`, and then nothing more of the `length` bytes.

        The request is given up at the end of the block.
        """
        never = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield first
            await never.wait()

        framing = {} if in_chunks else {"Content-Length": str(length)}
        headers = {**APPEND, "Upload-Offset": "0", **framing}
        task = asyncio.create_task(self.ask("PATCH", url, headers, body=body()))
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Unreachable):
                await task
