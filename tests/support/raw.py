"""A small HTTP/1.1 client over raw sockets, and the tus verbs on top of it.

It sends exactly what it is told to, right or wrong, and shows exactly what came back,
interim responses included. `Wire` is one connection; `Tus` speaks to one server.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Fields = Mapping[str, str | Sequence[str] | None]

OFFSET_STREAM = "application/offset+octet-stream"
NO_BODY = frozenset({204, 304})
MOVING = frozenset({"Date", "Upload-Expires", "X-Request-ID"})


class WireError(Exception):
    """What came back is not a response: closed early, or not HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response, with the interim responses that came before it."""

    version: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    interim: tuple[Response, ...] = ()

    def all(self, name: str) -> list[str]:
        """Give every value of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Give the only value of a field, None if there is none; twice is an error."""
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None

    def listed(self, name: str) -> set[str]:
        """Give the members of a comma list, in lower case."""
        return {item.strip().lower() for item in ",".join(self.all(name)).split(",")} - {""}

    @property
    def offset(self) -> int | None:
        """Give `Upload-Offset`."""
        value = self.get("Upload-Offset")
        return None if value is None else int(value)

    @property
    def code(self) -> str:
        """Give the code of an error: what stands before the colon in its body."""
        return self.body.decode().partition(":")[0]

    @property
    def closes(self) -> bool:
        """Tell whether the server said that it closes the connection."""
        return "close" in self.listed("Connection") or (
            self.version == "HTTP/1.0" and "keep-alive" not in self.listed("Connection")
        )


def message(
    method: str, target: str, fields: Fields, body: bytes = b"", *, version: str = "HTTP/1.1"
) -> bytes:
    """Write a request: a list makes several lines of one field, None leaves it away."""
    lines = [f"{method} {target} {version}"]
    for name, value in fields.items():
        values = [] if value is None else [value] if isinstance(value, str) else value
        lines.extend(f"{name}: {item}" for item in values)
    return "\r\n".join([*lines, "", ""]).encode() + body


def kept(answer: Response, wire: Wire) -> Wire | None:
    """Give the connection of an answer for another request, unless the server closes it."""
    return None if answer.closes else wire


def chunked(*pieces: bytes, trailers: Sequence[str] = (), end: bool = True) -> bytes:
    """Write a chunked body, one chunk a piece; without `end` the last chunk is missing."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    if not end:
        return body
    return body + "\r\n".join(["0", *trailers, "", ""]).encode()


class Wire:
    """One connection."""

    def __init__(self, host: str, port: int, *, timeout: float = 10.0) -> None:
        """Connect."""
        self.socket = socket.create_connection((host, port), timeout)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.socket.close()
            raise
        self._timeout = timeout
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- sending

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def flood(self, size: int, *, piece: bytes = bytes(65536)) -> int:
        """Send `size` bytes until the server stops it or answers; give the number sent."""
        sent = 0
        with suppress(ConnectionError, TimeoutError):
            while sent < size and not self._readable(0):
                sent += self.socket.send(piece[: size - sent])
        return sent

    def trickle(self, data: bytes, *, size: int = 1, pause: float = 0.0) -> None:
        """Send bytes in pieces of a size, with a pause after each."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            time.sleep(pause)

    def half_close(self) -> None:
        """Send FIN, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def reset(self) -> None:
        """Close the socket with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- receiving

    def response(self, to: str = "GET", *, timeout: float | None = None) -> Response:
        """Read one final response to a request of method `to`."""
        deadline = time.monotonic() + (timeout or self._timeout)
        interim: list[Response] = []
        while True:
            response = self._head(deadline)
            if response.status >= 200:
                break
            interim.append(response)
        body = self._body(response, to, deadline)
        return replace(response, body=body, interim=tuple(interim))

    def interim(self, *, timeout: float | None = None) -> Response:
        """Read one interim response."""
        response = self._head(time.monotonic() + (timeout or self._timeout))
        if response.status >= 200:
            raise WireError(f"a final response instead of an interim one: {response}")
        return response

    def is_closed(self, *, within: float = 2.0) -> bool:
        """Tell whether the server closes the connection in time, with no byte before that."""
        deadline = time.monotonic() + within
        try:
            if self._buffer or self._receive(deadline):
                raise WireError(f"bytes instead of the end: {self._buffer[:200]!r}")
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def is_silent(self, *, for_: float = 0.2) -> bool:
        """Tell whether nothing at all comes for a while."""
        return not self._buffer and not self._readable(for_)

    def _readable(self, seconds: float) -> bool:
        # Unlike select, it knows descriptors beyond 1024.
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _receive(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if not self._readable(max(left, 0.0)):
            raise TimeoutError("no answer in time")
        data = self.socket.recv(262_144)
        self._buffer += data
        return bool(data)

    def _until(self, end: bytes, deadline: float) -> bytes:
        while end not in self._buffer:
            if not self._receive(deadline):
                raise WireError(f"closed after {self._buffer[:200]!r}")
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, count: int, deadline: float) -> bytes:
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < count:
            self._buffer = b""
            if not self._receive(deadline):
                raise WireError(f"closed after {have} of {count} bytes of the body")
            pieces.append(self._buffer)
            have += len(self._buffer)
        data = b"".join(pieces)
        self._buffer = data[count:]
        return data[:count]

    def _head(self, deadline: float) -> Response:
        head = self._until(b"\r\n\r\n", deadline).decode("latin-1")
        start, *lines = head.split("\r\n")
        version, status, *reason = start.split(" ", 2)
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise WireError(f"not a status line: {start!r}")
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or "\n" in line or "\r" in line:
                raise WireError(f"not a header field: {line!r}")
            fields.append((name, value.strip(" \t")))
        return Response(
            version=version, status=int(status), reason="".join(reason), fields=tuple(fields)
        )

    def _body(self, response: Response, to: str, deadline: float) -> bytes:
        if to == "HEAD" or response.status in NO_BODY:
            return b""
        if "chunked" in response.listed("Transfer-Encoding"):
            return self._chunks(deadline)
        length = response.get("Content-Length")
        if length is not None:
            return self._exactly(int(length), deadline)
        while self._receive(deadline):
            pass
        body, self._buffer = self._buffer, b""
        return body

    def _chunks(self, deadline: float) -> bytes:
        pieces = []
        while size := int(self._until(b"\r\n", deadline).split(b";")[0], 16):
            pieces.append(self._exactly(size, deadline))
            self._exactly(2, deadline)
        while self._until(b"\r\n", deadline):
            pass
        return b"".join(pieces)


class Tus:
    """The tus verbs against one server, each on a connection of its own unless one is given.

    `fields` of a verb are added to the usual ones: another value replaces, None leaves away.
    """

    def __init__(self, url: str) -> None:
        """Take the creation URL."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url} names no host and port")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port
        self.path = parts.path
        self.authority = f"{self.host}:{self.port}"

    def wire(self, *, timeout: float = 10.0) -> Wire:
        """Open a connection."""
        return Wire(self.host, self.port, timeout=timeout)

    def target(self, location: str) -> str:
        """Resolve a `Location` to a path."""
        absolute = urlsplit(urljoin(self.url, location))
        assert absolute.netloc == self.authority, location
        return absolute.path

    # --- requests

    def message(
        self,
        method: str,
        target: str | None = None,
        fields: Fields | None = None,
        body: bytes = b"",
        *,
        version: str = "HTTP/1.1",
    ) -> bytes:
        """Write a request with the usual fields."""
        usual: dict[str, str | Sequence[str] | None] = {
            "Host": self.authority,
            "Tus-Resumable": "1.0.0",
        }
        if body or method in {"POST", "PATCH"}:
            usual["Content-Length"] = str(len(body))
        return message(
            method,
            self.path if target is None else target,
            usual | dict(fields or {}),
            body,
            version=version,
        )

    def append_message(
        self, target: str, offset: int, body: bytes = b"", fields: Fields | None = None
    ) -> bytes:
        """Write a PATCH with the usual fields."""
        return self.message("PATCH", target, _append_fields(offset, fields), body)

    def request(
        self,
        method: str,
        target: str | None = None,
        fields: Fields | None = None,
        body: bytes = b"",
        *,
        wire: Wire | None = None,
        version: str = "HTTP/1.1",
    ) -> Response:
        """Send a request and read its response."""
        data = self.message(method, target, fields, body, version=version)
        if wire is not None:
            wire.send(data)
            return wire.response(method)
        with self.wire() as own:
            own.send(data)
            return own.response(method)

    def post(
        self, fields: Fields | None = None, body: bytes = b"", *, wire: Wire | None = None
    ) -> Response:
        """Send a POST to the creation URL."""
        return self.request("POST", None, fields, body, wire=wire)

    def patch(
        self,
        target: str,
        offset: int,
        body: bytes = b"",
        fields: Fields | None = None,
        *,
        wire: Wire | None = None,
    ) -> Response:
        """Send a PATCH."""
        return self.request("PATCH", target, _append_fields(offset, fields), body, wire=wire)

    def head(
        self, target: str, fields: Fields | None = None, *, wire: Wire | None = None
    ) -> Response:
        """Send a HEAD."""
        return self.request("HEAD", target, fields, wire=wire)

    def get(self, target: str, fields: Fields | None = None) -> Response:
        """Send a GET."""
        return self.request("GET", target, fields)

    def delete(self, target: str, fields: Fields | None = None) -> Response:
        """Send a DELETE."""
        return self.request("DELETE", target, fields)

    def options(self, target: str | None = None, fields: Fields | None = None) -> Response:
        """Send an OPTIONS, without Tus-Resumable as browsers do."""
        return self.request("OPTIONS", target, {"Tus-Resumable": None, **(fields or {})})

    # --- what tests need again and again

    @property
    def extensions(self) -> set[str]:
        """Ask for the announced extensions."""
        return self.options().listed("Tus-Extension")

    def create(self, length: int | None, fields: Fields | None = None, body: bytes = b"") -> str:
        """Create an upload, of deferred length if None; give its path."""
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        kind = {"Content-Type": OFFSET_STREAM} if body else {}
        response = self.post({**size, **kind, **(fields or {})}, body)
        assert response.status == 201, response
        location = response.get("Location")
        assert location, response
        return self.target(location)

    def upload(self, data: bytes, fields: Fields | None = None) -> str:
        """Create a finished upload; give its path."""
        target = self.create(len(data), fields)
        if data:
            response = self.patch(target, 0, data)
            assert response.status == 204, response
        return target

    def offset(self, target: str) -> int:
        """Ask for the offset."""
        response = self.head(target)
        assert response.status == 200, response
        assert response.offset is not None, response
        return response.offset

    def settle(self, target: str, offset: int) -> int:
        """Give the offset once it is `offset`, or whatever it is after a while."""
        eventually(lambda: self.offset(target) == offset, within=3.0)
        return self.offset(target)

    def content(self, target: str) -> bytes:
        """Download a finished upload."""
        response = self.get(target)
        assert response.status == 200, response
        return response.body

    def snapshot(self, target: str) -> object:
        """Give all that clients can see of an upload, to compare it before and after."""
        head = self.head(target)
        fields = sorted(field for field in head.fields if field[0] not in MOVING)
        return head.status, fields, self.get(target).body


def _append_fields(offset: int, fields: Fields | None) -> Fields:
    return {"Upload-Offset": str(offset), "Content-Type": OFFSET_STREAM, **(fields or {})}
