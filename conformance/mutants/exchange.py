"""HTTP/1.1 for the tiny tus server: heads, bodies, trailers and answers on one connection.

Plain blocking sockets, one thread a connection. What is malformed is refused and ends the
connection; nothing is guessed (RFC 9110, RFC 9112).
"""

from __future__ import annotations

import contextlib
import re
import socketserver
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from io import BufferedIOBase

MOST_OF_A_HEAD = 256 * 1024  # bytes
PIECE = 64 * 1024  # bytes read at once
LARGEST = 2**63 - 1
LINGER = 5.0  # seconds in which a refused client may still send and then read the refusal

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_HOST = re.compile(r"([A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[\t -~\x80-\xff]*)?\r\n")


class Lost(Exception):
    """The client is gone, or said nothing for too long."""


class Refusal(Exception):
    """A request that is answered with an error: status, a plain sentence, more fields."""

    def __init__(self, status: int, text: str, **fields: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


@dataclass
class Response:
    """An answer; `described` is the Content-Length that an answer to HEAD gives."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    described: int | None = None


@dataclass
class Fields:
    """Field lines in the order in which they came; names are compared without case."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Give the values of every line of that name."""
        return [value for known, value in self.lines if known.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Give the one value, or None. Raises: Refusal where the field came twice."""
        values = self.all(name)
        if len(values) > 1:
            raise Refusal(400, f"{name} is there more than once.")
        return values[0] if values else None

    def tokens(self, name: str) -> list[str]:
        """Give the members of a comma list, in lower case."""
        members = ",".join(self.all(name)).split(",")
        return [member.strip().lower() for member in members if member.strip()]


class Body:
    """The body of a request, read piece by piece and ended by its framing."""

    def __init__(
        self, stream: BufferedIOBase, length: int | None, begin: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.length = length  # None: chunked
        self.trailers = Fields()
        self.ended = length == 0
        self._begin = begin

    def pieces(self) -> Iterator[bytes]:
        """Give what comes. Raises: Lost when it breaks off, Refusal when it is malformed."""
        if self.ended:
            return
        self._begin()
        if self.length is None:
            while size := self._chunk_size():
                yield from self._exactly(size)
                if self._line() != b"\r\n":
                    raise Refusal(400, "A chunk is longer than it says.")
            self.trailers = read_fields(self._line)
        else:
            yield from self._exactly(self.length)
        self.ended = True

    def _chunk_size(self) -> int:
        if not (match := _CHUNK.fullmatch(self._line())):
            raise Refusal(400, "The size of a chunk is malformed.")
        return int(match[1], 16)

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            piece = read_some(self.stream, min(count, PIECE))
            count -= len(piece)
            yield piece

    def _line(self) -> bytes:
        return read_line(self.stream)


@dataclass
class Request:
    """One request: its head, and its body still to be read."""

    method: str
    target: str
    version: tuple[int, int]
    fields: Fields
    body: Body

    @property
    def stays(self) -> bool:
        """Whether the client wants the connection kept."""
        wishes = self.fields.tokens("Connection")
        return "keep-alive" in wishes if self.version == (1, 0) else "close" not in wishes


class Application(Protocol):
    """What answers the requests."""

    patience: float

    def answer(self, request: Request) -> Response:
        """Answer one request. Raises: Lost when its client is gone."""

    def answer_malformed(self, refusal: Refusal) -> Response:
        """Answer what is not a request at all."""


class Server(socketserver.ThreadingTCPServer):
    """Listens, and gives each connection a thread."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, application: Application, handler: type[Connection], host: str, port: int
    ) -> None:
        self.application = application
        super().__init__((host, port), handler)


class Connection(socketserver.StreamRequestHandler):
    """One connection: a request, its answer, and the next, in order."""

    rbufsize = PIECE
    disable_nagle_algorithm = True
    server: Server
    connection: socket.socket

    def handle(self) -> None:
        """Serve until somebody ends the connection."""
        self.connection.settimeout(self.server.application.patience)
        with contextlib.suppress(Lost, OSError):
            while self.exchange():
                pass

    def exchange(self) -> bool:
        """Serve one request; tell whether another one may follow."""
        try:
            request = self.read_request()
        except Refusal as refusal:
            self.send("GET", self.server.application.answer_malformed(refusal), stays=False)
            self.linger()
            return False
        response = self.server.application.answer(request)
        if response.status < HTTPStatus.BAD_REQUEST:
            for _ in request.body.pieces():
                pass
        stays = self.may_stay(request)
        self.send(request.method, response, stays=stays)
        if not stays and not request.body.ended:
            self.linger()
        return stays

    def may_stay(self, request: Request) -> bool:
        """Tell whether the next request follows; what was not read ends the connection."""
        return request.stays and request.body.ended

    def read_request(self) -> Request:
        """Read one head. Raises: Lost at the end of the connection, Refusal if malformed."""
        line = read_line(self.rfile)
        if line == b"\r\n":
            line = read_line(self.rfile)
        match = _REQUEST_LINE.fullmatch(line[:-2].decode("latin-1"))
        if not match or not line.endswith(b"\r\n"):
            raise Refusal(400, "The request line is malformed.")
        version = (int(match[3]), int(match[4]))
        if version[0] != 1:
            raise Refusal(505, "This server speaks HTTP/1.1.")
        fields = read_fields(lambda: read_line(self.rfile))
        self.check_host(version, fields)
        length = self.framing(version, fields)
        expects = fields.tokens("Expect") if version >= (1, 1) else []
        if expects not in ([], ["100-continue"]):
            raise Refusal(417, "Only 100-continue can be expected.")
        begin = self.say_continue if expects else _nothing
        return Request(match[1], match[2], version, fields, Body(self.rfile, length, begin))

    def check_host(self, version: tuple[int, int], fields: Fields) -> None:
        """Refuse a head without exactly one well-formed Host."""
        hosts = fields.all("Host")
        if len(hosts) > 1 or (version >= (1, 1) and not hosts):
            raise Refusal(400, "Host has to be there once.")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise Refusal(400, "Host is malformed.")

    def framing(self, version: tuple[int, int], fields: Fields) -> int | None:
        """Tell the length of the body, None if it is chunked."""
        lengths, codings = set(fields.all("Content-Length")), fields.all("Transfer-Encoding")
        if codings:
            if lengths or version < (1, 1):
                raise Refusal(400, "The length of the body is ambiguous.")
            if ",".join(codings).lower() != "chunked":
                raise Refusal(501, "Only the chunked transfer coding is known.")
            return None
        if not lengths:
            return 0
        value = lengths.pop()
        if lengths or not re.fullmatch("[0-9]{1,19}", value) or int(value) > LARGEST:
            raise Refusal(400, "Content-Length is malformed.")
        return int(value)

    def say_continue(self) -> None:
        """Ask a client that waits for its body."""
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, method: str, response: Response, *, stays: bool) -> None:
        """Send an answer; those to HEAD and those of 204 have no body."""
        fields = {"Date": formatdate(usegmt=True), **response.fields}
        length: int | None = len(response.body)
        if method == "HEAD":
            length = response.described
        if length is not None and response.status != HTTPStatus.NO_CONTENT:
            fields["Content-Length"] = str(length)
        fields["Connection"] = "keep-alive" if stays else "close"
        lines = [f"HTTP/1.1 {response.status} {reason(response.status)}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head + self.body_of(method, response))

    def body_of(self, method: str, response: Response) -> bytes:
        """Give the bytes that follow the head."""
        return b"" if method == "HEAD" else response.body

    def linger(self) -> None:
        """Let a client that still sends read the answer, instead of resetting it."""
        self.connection.shutdown(1)
        end = time.monotonic() + LINGER
        self.connection.settimeout(LINGER)
        while time.monotonic() < end and self.rfile.read1(PIECE):
            pass


def reason(status: int) -> str:
    """Give the reason phrase of a status."""
    return "Checksum Mismatch" if status == 460 else HTTPStatus(status).phrase  # noqa: PLR2004


def read_fields(next_line: Callable[[], bytes]) -> Fields:
    """Read field lines up to the empty one. Raises: Refusal."""
    fields, size = Fields(), 0
    while (line := next_line()) != b"\r\n":
        size += len(line)
        if size > MOST_OF_A_HEAD:
            raise Refusal(431, "The head of the request is too long.")
        match = _FIELD.fullmatch(line[:-2].decode("latin-1"))
        if not match or not line.endswith(b"\r\n"):
            raise Refusal(400, "A field line is malformed.")
        fields.lines.append((match[1], match[2]))
    return fields


def read_line(stream: BufferedIOBase) -> bytes:
    """Read one line with its end. Raises: Lost, Refusal when there is none to be seen."""
    try:
        line = stream.readline(MOST_OF_A_HEAD)
    except OSError as error:
        raise Lost from error
    if len(line) == MOST_OF_A_HEAD:
        raise Refusal(431, "A line is too long.")
    if not line.endswith(b"\n"):
        raise Lost
    return line


def read_some(stream: BufferedIOBase, most: int) -> bytes:
    """Read what there is, at least one byte. Raises: Lost."""
    try:
        piece = stream.read1(most)
    except OSError as error:
        raise Lost from error
    if not piece:
        raise Lost
    return piece


def _nothing() -> None:
    pass
