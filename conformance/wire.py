"""A small HTTP/1.1 client over raw sockets that sends exactly what it is told, right or wrong.

Synchronous, with a time-out on everything. What went over a connection is recorded as
exchanges, with long bodies cut, for the report. Source: RFC 9112.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    import ssl

Fields = Mapping[str, str | Sequence[str] | None]
"""Header fields: a sequence makes several lines of one field, None leaves it out."""

KEPT = 4096
"""How many bytes of what was sent, and of a body that came back, an exchange keeps."""

_LARGEST_BODY = 256 * 1024 * 1024
_BODILESS = frozenset({204, 304})
_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})


class WireError(Exception):
    """What came back is no response: closed early, nothing in time, or not HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response, with the interim (1xx) responses that came before it."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    interim: list[Response] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Give the value of a field, the first one if there are several."""
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Give every value of a field, one for each line."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def listed(self, name: str) -> set[str]:
        """Give the members of a comma list over all of its lines, in lower case."""
        return {item.strip().lower() for item in ",".join(self.all(name)).split(",")} - {""}

    @property
    def closes(self) -> bool:
        """Tell whether the server says that it closes the connection after this response."""
        tokens = self.listed("Connection")
        return "close" in tokens or (self.version == "HTTP/1.0" and "keep-alive" not in tokens)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What was sent at one go, and what came back."""

    host: str
    port: int
    is_tls: bool = False
    sent: bytes = b""
    """The first bytes, at most KEPT."""
    sent_total: int = 0
    response: Response | None = None
    fault: str = ""
    """Why there is no response."""
    ending: str = ""
    """What the client did to the connection: half-closed, reset, closed."""

    def add(self, data: bytes) -> None:
        """Note bytes that were sent."""
        self.sent += data[: KEPT - len(self.sent)]
        self.sent_total += len(data)


def message(
    method: str, target: str, fields: Fields, body: bytes = b"", *, version: str = "HTTP/1.1"
) -> bytes:
    """Write a request exactly as given; no field is added."""
    lines = [f"{method} {target} {version}"]
    for name, value in fields.items():
        values = [] if value is None else [value] if isinstance(value, str) else value
        lines.extend(f"{name}: {item}" for item in values)
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


def chunked(*pieces: bytes, trailers: Sequence[str] = (), end: bool = True) -> bytes:
    """Write a chunked body, one chunk a piece; without `end` the last chunk is missing."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    if not end:
        return body
    return body + "\r\n".join(["0", *trailers, "", ""]).encode("utf-8")


class Connection:
    """One connection to a server."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        record: list[Exchange] | None = None,
    ) -> None:
        """Connect; `record` is the list to which exchanges are added."""
        self.host = host
        self.port = port
        self.timeout = timeout
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_tls = tls is not None
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self._record = record if record is not None else []
        self._open: list[Exchange] = []
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def authority(self) -> str:
        """Give host and port as the `Host` field has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self._is_tls else 80) else f"{host}:{self.port}"

    # --- sending

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._note(data)
        self.socket.sendall(data)

    def flood(self, size: int, *, piece: bytes = bytes(65536)) -> int:
        """Send `size` bytes until the server answers or stops it; give the number sent."""
        sent = 0
        with suppress(ConnectionError, TimeoutError):
            while sent < size and not self.is_readable(0):
                count = self.socket.send(piece[: size - sent])
                self._note(piece[:count])
                sent += count
        return sent

    def trickle(self, data: bytes, *, size: int = 1, pause: float = 0.0) -> None:
        """Send bytes in pieces of a size, with a pause of seconds after each."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            time.sleep(pause)

    def request(
        self,
        method: str,
        target: str,
        fields: Fields | None = None,
        body: bytes = b"",
        *,
        version: str = "HTTP/1.1",
    ) -> Response:
        """Send a request and read its response.

        `Host` and, with a body or a method that has one, `Content-Length` are added, unless the
        fields speak of them (None leaves them out).
        """
        given = dict(fields or {})
        names = {name.lower() for name in given}
        if "host" not in names:
            given = {"Host": self.authority, **given}
        if not names & {"content-length", "transfer-encoding"} and (body or method in _WITH_BODY):
            given["Content-Length"] = str(len(body))
        try:
            self.send(message(method, target, given, body, version=version))
        except (BrokenPipeError, ConnectionResetError) as gone:
            # A refusal may have come, and the end of the connection, before the body was out.
            with suppress(WireError):
                return self.read_response(method)
            self._fault(f"the server closed the connection while it was sent to: {gone}")
        return self.read_response(method)

    def half_close(self) -> None:
        """Send FIN, and go on reading."""
        self._end("half-closed")
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection."""
        if self._open:
            self._end("closed")
        self.socket.close()

    def reset(self) -> None:
        """Close the connection with RST."""
        self._end("reset")
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- receiving

    def read_response(self, method: str = "GET", *, timeout: float | None = None) -> Response:
        """Read the response to a request of `method`.

        Raises:
            WireError: it did not come, not in time, or is not HTTP.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        interim: list[Response] = []
        while True:
            response = self._head(deadline)
            if response.status >= 200 or response.status == 101:  # noqa: PLR2004
                break
            interim.append(response)
        body = self._body(response, method, deadline)
        response = replace(response, body=body, interim=interim)
        self._answered(replace(response, body=body[:KEPT]))
        return response

    def read_interim(self, *, timeout: float | None = None) -> Response:
        """Read one interim response; a final one is a WireError."""
        response = self._head(time.monotonic() + (self.timeout if timeout is None else timeout))
        if response.status >= 200:  # noqa: PLR2004
            self._answered(response)
            raise WireError(f"a final response {response.status} came instead of an interim one")
        return response

    def is_closed(self, *, within: float = 2.0) -> bool:
        """Tell whether the server closes the connection in time, with no byte before that."""
        deadline = time.monotonic() + within
        try:
            return not self._buffer and not self._receive(deadline)
        except ConnectionError:
            return True
        except WireError:
            return False

    def is_readable(self, seconds: float) -> bool:
        """Tell whether something (or the end) comes within a time."""
        if self._buffer:
            return True
        pending = getattr(self.socket, "pending", None)
        if pending is not None and pending():
            return True
        return bool(select.select([self.socket], [], [], seconds)[0])

    def _receive(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        try:
            self.socket.settimeout(max(left, 0.001))
            data = self.socket.recv(262_144)
        except TimeoutError:
            self._fault("no answer in time")
        finally:
            self.socket.settimeout(self.timeout)
        self._buffer += data
        return bool(data)

    def _read(self, deadline: float, what: str) -> None:
        try:
            if self._receive(deadline):
                return
        except ConnectionError as lost:
            self._fault(f"the connection was reset {what}: {lost}")
        self._fault(f"the connection was closed {what}")

    def _until(self, end: bytes, deadline: float, what: str) -> bytes:
        while end not in self._buffer:
            if len(self._buffer) > 1_000_000:  # noqa: PLR2004
                self._fault(f"no end {what}")
            self._read(deadline, f"{what}, after {self._buffer[:200]!r}")
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, count: int, deadline: float) -> bytes:
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < count:
            self._buffer = b""
            self._read(deadline, f"after {have} of {count} bytes of the body")
            pieces.append(self._buffer)
            have += len(self._buffer)
        data = b"".join(pieces)
        self._buffer = data[count:]
        return data[:count]

    def _head(self, deadline: float) -> Response:
        head = self._until(b"\r\n\r\n", deadline, "before a response").decode("latin-1")
        start, *lines = head.split("\r\n")
        version, status, reason = [*start.split(" ", 2), "", ""][:3]
        if not version.startswith("HTTP/1.") or not (status.isdigit() and len(status) == 3):  # noqa: PLR2004
            self._fault(f"this is not a status line: {start[:200]!r}")
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or "\n" in line or "\r" in line:
                self._fault(f"this is not a header field: {line[:200]!r}")
            fields.append((name, value.strip(" \t")))
        return Response(version=version, status=int(status), reason=reason, fields=fields)

    def _body(self, response: Response, method: str, deadline: float) -> bytes:
        if method == "HEAD" or response.status in _BODILESS or response.status == 101:  # noqa: PLR2004
            return b""
        if "chunked" in response.listed("Transfer-Encoding"):
            return self._chunks(deadline)
        length = response.get("Content-Length")
        if length is not None:
            if not (length.isascii() and length.isdigit() and int(length) <= _LARGEST_BODY):
                self._fault(f"this is not a Content-Length: {length[:200]!r}")
            return self._exactly(int(length), deadline)
        with suppress(ConnectionError):
            while self._receive(deadline):
                pass
        body, self._buffer = self._buffer, b""
        return body

    def _chunks(self, deadline: float) -> bytes:
        pieces = []
        while True:
            line = self._until(b"\r\n", deadline, "in a chunked body")
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                self._fault(f"this is not the size of a chunk: {line[:100]!r}")
            if not size:
                break
            pieces.append(self._exactly(size, deadline))
            self._exactly(2, deadline)
        while self._until(b"\r\n", deadline, "in the trailers"):
            pass
        return b"".join(pieces)

    # --- the record

    def _note(self, data: bytes) -> None:
        if not self._open:
            self._begin()
        self._open[-1].add(data)

    def _begin(self) -> Exchange:
        exchange = Exchange(host=self.host, port=self.port, is_tls=self._is_tls)
        self._record.append(exchange)
        self._open.append(exchange)
        return exchange

    def _answered(self, response: Response) -> None:
        # Pipelined requests are one exchange; the answers after the first make further ones.
        exchange = self._open.pop(0) if self._open else self._begin()
        if exchange in self._open:
            self._open.remove(exchange)
        exchange.response = response

    def _end(self, how: str) -> None:
        if self._open:
            self._open[-1].ending = how

    def _fault(self, text: str) -> NoReturn:
        if self._open:
            self._open[-1].fault = text
        raise WireError(text)
