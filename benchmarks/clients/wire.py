"""As much HTTP as a client of the benchmarks needs: prepared requests, answers by their ends."""

from __future__ import annotations

import socket
from typing import NamedTuple
from urllib.parse import urlsplit

METADATA = "filename aG9saWRheS5qcGc=,filetype aW1hZ2UvanBlZw=="
TYPED = {"Content-Type": "application/offset+octet-stream"}
CONTINUES = 100
FINAL = 200


class Answer(NamedTuple):
    """What a server has answered."""

    status: int
    headers: dict[str, str]
    """With names in lower case."""


def head(verb: str, path: str, host: str, headers: dict[str, str]) -> bytes:
    """Give the head of a request as a client of tus sends it."""
    fields = {
        "Host": host,
        "User-Agent": "tus-bench/1",
        "Accept": "*/*",
        "Tus-Resumable": "1.0.0",
    } | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def connect(place: tuple[str, int], patience: float = 120.0) -> socket.socket:
    """Connect as clients do, small packets sent at once."""
    connection = socket.create_connection(place, patience)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read(connection: socket.socket, *, bodyless: bool = False) -> Answer:
    """Read one answer to its end and throw its body away."""
    while True:
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _some(connection, data)
        answer = parse(bytes(data[:end]))
        rest = len(data) - end - 4
        if answer.status >= FINAL:
            break
    if bodyless or answer.status in {204, 304}:
        return answer
    if "chunked" in answer.headers.get("transfer-encoding", ""):
        while not data.endswith(b"0\r\n\r\n"):
            data += _some(connection, data)
        return answer
    left = int(answer.headers.get("content-length", 0)) - rest
    while left > 0:
        left -= len(_some(connection, data, min(left, 1 << 20)))
    return answer


def parse(text: bytes) -> Answer:
    """Read the head of an answer."""
    first, *lines = text.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields})


def _some(connection: socket.socket, before: bytearray, most: int = 65_536) -> bytes:
    if not (data := connection.recv(most)):
        raise ConnectionError(f"the server has closed the connection after {bytes(before)!r}")
    return data


def check(answer: Answer, *right: int) -> Answer:
    """Raise unless the status is one of these."""
    if answer.status not in right:
        raise RuntimeError(f"{answer.status} {answer.headers}")
    return answer


def location(answer: Answer) -> str:
    """Give the path of what was created."""
    parts = urlsplit(answer.headers["location"])
    return parts.path + (f"?{parts.query}" if parts.query else "")


def create(place: tuple[str, int], path: str, length: int) -> str:
    """Create an upload on a connection of its own; give its path."""
    host = f"{place[0]}:{place[1]}"
    fields = {"Upload-Length": str(length), "Upload-Metadata": METADATA, "Content-Length": "0"}
    with connect(place) as connection:
        connection.sendall(head("POST", path, host, fields))
        return location(check(read(connection), 201))
