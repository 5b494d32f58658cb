"""The server that is looked at: what it announces, and the tus verbs against it."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from conformance.check import NotApplicable, Unable, Violation, expect_status
from conformance.wire import Connection, Exchange, Fields, Response, WireError, message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Lines = dict[str, str | Sequence[str] | None]

VERSION = "1.0.0"
CREATED, TOO_MANY = 201, 429
OFFSET_STREAM = "application/offset+octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a run; times are seconds."""

    timeout: float = 10.0
    """How long an answer may take."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Fields that every request carries, such as Authorization."""
    is_insecure: bool = False
    """Whether certificates are taken unseen."""
    expiry_wait: float = 0.0
    """How long a check may wait for an upload to expire; 0: such checks do not run."""
    stall_wait: float = 0.0
    """How long a check may wait for the server's own time-outs; 0: such checks do not run."""
    origin: str = "https://conformance.example"
    """The Origin of the CORS checks."""
    jobs: int = 6
    """How many checks run at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What OPTIONS on the creation URL said."""

    versions: tuple[str, ...] = ()
    extensions: frozenset[str] = frozenset()
    max_size: int | None = None
    algorithms: tuple[str, ...] = ()


class Target:
    """One server, seen through its creation URL.

    `fields` of a verb are added to what it sends anyway: another value replaces, None leaves
    out. Each verb has a connection of its own. A relative URL is resolved.
    """

    def __init__(
        self, url: str, settings: Settings | None = None, announced: Announced | None = None
    ) -> None:
        """Take the creation URL; ask what is announced, unless it is known."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise ValueError(f"{url} is not an http or https URL with a host")
        self.url = url if parts.path else url + "/"
        self.settings = settings or Settings()
        self.exchanges: list[Exchange] = []
        """Everything that this target sent and received."""
        self.announced = announced if announced is not None else self._ask()

    def fork(self) -> Target:
        """Make a target for the same server with a record of its own."""
        return Target(self.url, self.settings, self.announced)

    def has(self, extension: str) -> bool:
        """Tell whether an extension is announced."""
        return extension in self.announced.extensions

    def _ask(self) -> Announced:
        response = self.options()
        size = (response.get("Tus-Max-Size") or "").strip()
        return Announced(
            versions=_items(response, "Tus-Version"),
            extensions=frozenset(_items(response, "Tus-Extension")),
            max_size=int(size) if size.isascii() and size.isdigit() else None,
            algorithms=_items(response, "Tus-Checksum-Algorithm"),
        )

    # --- connections

    def resolve(self, url: str) -> str:
        """Make an absolute URL of a `Location`."""
        return urljoin(self.url, url)

    def path(self, url: str | None = None) -> str:
        """Give the request target of a URL: its path and query."""
        parts = urlsplit(self.url if url is None else self.resolve(url))
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @property
    def authority(self) -> str:
        """Give host and port of the creation URL, as `Host` has them."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def connect(self, url: str | None = None, *, timeout: float | None = None) -> Connection:
        """Open a connection to the server of a URL, for raw work."""
        parts = urlsplit(self.url if url is None else self.resolve(url))
        tls = self._tls() if parts.scheme == "https" else None
        try:
            return Connection(
                parts.hostname or "",
                parts.port or (443 if tls else 80),
                tls=tls,
                timeout=self.settings.timeout if timeout is None else timeout,
                record=self.exchanges,
            )
        except OSError as error:
            raise WireError(f"{parts.scheme}://{parts.netloc} takes no connection: {error}") from (
                error
            )

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.settings.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def fields(self, method: str, given: Fields | None = None) -> Lines:
        """Give the fields that a verb sends, `Host` and `Content-Length` not counted."""
        usual: Lines = {**self.settings.headers, "Tus-Resumable": VERSION}
        if method == "PATCH":
            usual["Content-Type"] = OFFSET_STREAM
        for name, value in (given or {}).items():
            for known in [known for known in usual if known.lower() == name.lower()]:
                del usual[known]
            usual[name] = value
        return usual

    def request(
        self,
        method: str,
        url: str | None = None,
        fields: Fields | None = None,
        body: bytes = b"",
        *,
        connection: Connection | None = None,
        version: str = "HTTP/1.1",
    ) -> Response:
        """Send a request with the usual fields and read its response."""
        sent = self.fields(method, fields)
        if connection is not None:
            return connection.request(method, self.path(url), sent, body, version=version)
        with self.connect(url) as own:
            return own.request(method, self.path(url), sent, body, version=version)

    # --- verbs

    def options(
        self, url: str | None = None, fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        """Send OPTIONS, without Tus-Resumable as browsers do."""
        return self.request("OPTIONS", url, {"Tus-Resumable": None, **(fields or {})}, body)

    def post(
        self, url: str | None = None, fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        """Send POST, to the creation URL unless another is given."""
        return self.request("POST", url, fields, body)

    def head(
        self, url: str | None = None, fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        """Send HEAD."""
        return self.request("HEAD", url, fields, body)

    def patch(
        self, url: str | None = None, fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        """Send PATCH; the offset is among the fields."""
        return self.request("PATCH", url, fields, body)

    def delete(
        self, url: str | None = None, fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        """Send DELETE."""
        return self.request("DELETE", url, fields, body)

    def get(
        self, url: str | None = None, fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        """Send GET."""
        return self.request("GET", url, fields, body)

    def raw(
        self,
        method: str,
        url: str | None = None,
        fields: Fields | None = None,
        body: bytes = b"",
        *,
        version: str = "HTTP/1.1",
    ) -> bytes:
        """Write a request with `Host` and the usual fields, for `Connection.send`.

        `Content-Length` is that of the body, unless the fields say otherwise.
        """
        usual: Lines = {"Host": self.authority, **self.fields(method, fields)}
        names = {name.lower() for name in fields or {}}
        if "host" in names:
            del usual["Host"]
        if not names & {"content-length", "transfer-encoding"} and (
            body or method in {"POST", "PATCH"}
        ):
            usual["Content-Length"] = str(len(body))
        return message(method, self.path(url), usual, body, version=version)

    def tidy(self) -> None:
        """Remove the uploads that were made, the last first, where the server can do that."""
        if not self.has("termination"):
            return
        made = [
            self.resolve(exchange.response.get("Location") or "")
            for exchange in self.exchanges
            if exchange.response is not None and exchange.response.status == CREATED
        ]
        apart = self.fork()
        try:
            for url in reversed(list(dict.fromkeys(made))):
                if url != self.url and urlsplit(url).netloc == urlsplit(self.url).netloc:
                    apart.delete(url)
        except (WireError, OSError):
            return  # It has other troubles.

    # --- what checks need again and again

    def create(
        self, length: int | None, fields: Fields | None = None, body: bytes | None = None
    ) -> str:
        """Create an upload, of deferred length if None; give its absolute URL."""
        self.need_room(length or 0)
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        kind = {} if body is None else {"Content-Type": OFFSET_STREAM}
        response = self.post(fields={**size, **kind, **(fields or {})}, body=body or b"")
        if response.status == TOO_MANY:
            raise Unable("the server takes no more uploads (429): run it without such a limit")
        expect_status(response, 201)
        location = response.get("Location")
        if not location:
            raise Violation("expected a Location in the 201", response)
        return self.resolve(location)

    def need_room(self, length: int) -> None:
        """Make a check moot that needs uploads of more bytes than the server takes."""
        limit = self.announced.max_size
        if limit is not None and length > limit:
            raise NotApplicable(f"the server takes at most {limit} bytes (Tus-Max-Size)")

    def append(self, url: str, offset: int, data: bytes, fields: Fields | None = None) -> Response:
        """Send PATCH with bytes for an offset."""
        self.need_room(offset + len(data))
        return self.patch(url, {"Upload-Offset": str(offset), **(fields or {})}, data)

    def upload(self, data: bytes, fields: Fields | None = None) -> str:
        """Create a finished upload; give its absolute URL."""
        url = self.create(len(data), fields)
        if data:
            expect_status(self.append(url, 0, data), 204, 200)
        return url

    def offset(self, url: str) -> int:
        """Ask for the offset."""
        response = self.head(url)
        expect_status(response, 200, 204)
        value = response.get("Upload-Offset") or ""
        if not (value.isascii() and value.isdigit()):
            raise Violation(f"expected an Upload-Offset, got {value!r}", response)
        return int(value)

    def settled_offset(self, url: str, wanted: int, *, within: float = 3.0) -> int:
        """Give the offset once it is as wanted, or what it is after a while.

        A server may need a moment to notice that a connection is lost; meanwhile it may answer
        423 or another passing error.
        """
        deadline = time.monotonic() + within
        while True:
            response = self.head(url)
            if response.get("Upload-Offset") == str(wanted) or time.monotonic() > deadline:
                return self.offset(url)
            time.sleep(0.1)

    def content(self, url: str) -> bytes | None:
        """Download; None where there is no download."""
        response = self.get(url, {"Tus-Resumable": None})
        return response.body if response.status == 200 else None  # noqa: PLR2004


def _items(response: Response, name: str) -> tuple[str, ...]:
    items = (item.strip() for item in ",".join(response.all(name)).split(","))
    return tuple(item for item in items if item)
