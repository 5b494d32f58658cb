"""What clients that cannot run here send on the wire: TUSKit and tus-java-client."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.support.content import KIB, MIB, blocks
from tests.support.raw import OFFSET_STREAM, Tus, chunked

if TYPE_CHECKING:
    from tests.support.raw import Fields, Response, Wire
    from tests.support.server import TusServer

CHUNK = 500 * KIB


class TusKit:
    """TUSKit 3.8 (iOS): its own spelling of headers, PATCHes of 500 KiB, no HEAD after errors."""

    FIELDS: ClassVar[Fields] = {"Tus-Resumable": None, "TUS-Resumable": "1.0.0", "Accept": "*/*"}

    def __init__(self, url: str, data: bytes) -> None:
        self.tus = Tus(url)
        self.data = data
        name = base64.b64encode(b"IMG_0001.HEIC").decode()
        kind = base64.b64encode(b"image/heic").decode()
        answer = self.tus.post(
            {
                **self.FIELDS,
                "Upload-Extension": "creation",
                "Upload-Length": str(len(data)),
                "Upload-Metadata": f"filename {name},filetype {kind}",
            }
        )
        assert answer.status == 201
        self.target = self.tus.target(answer.get("Location") or "")

    def patch(self, wire: Wire, start: int) -> Response:
        """Send the range that begins at `start`."""
        return self.tus.patch(
            self.target, start, self._range(start), self._fields(start), wire=wire
        )

    def break_off(self, wire: Wire, start: int, *, after: int) -> None:
        """Send a part of that range and lose the connection."""
        body = self._range(start)
        fields = self._fields(start) | {"Content-Length": str(len(body))}
        wire.send(self.tus.append_message(self.target, start, body[:after], fields))
        wire.reset()

    def _range(self, start: int) -> bytes:
        return self.data[start : start + CHUNK]

    def _fields(self, start: int) -> dict[str, str | None]:
        last = start + CHUNK >= len(self.data)
        return (
            self.FIELDS
            | {"Upload-Extension": "creation"}
            | ({"Upload-Complete": "?1"} if last else {})
        )


@pytest.mark.clause("CLI-05", "CORE-PATCH-06")
def test_tuskit_sends_a_range_again_and_goes_on_where_the_server_is(server: TusServer) -> None:
    data = b"".join(blocks(3 * MIB + 17))
    kit = TusKit(server.url, data)
    offset = 0
    broken = {0, 2 * CHUNK, 5 * CHUNK + 200 * KIB}
    statuses = []
    while offset < len(data):
        if offset in broken:
            broken.discard(offset)
            with kit.tus.wire() as wire:
                kit.break_off(wire, offset, after=200 * KIB)
        with kit.tus.wire() as wire:
            answer = kit.patch(wire, offset)
        statuses.append(answer.status)
        # It does not look at the status, only at the offset.
        assert answer.offset is not None
        assert answer.offset > offset or answer.status == 409
        offset = answer.offset
    assert set(statuses) <= {204, 409}
    assert kit.tus.content(kit.target) == data


class Java:
    """tus-java-client on a desktop: POST for PATCH, Expect, chunked, one connection."""

    FIELDS: ClassVar[Fields] = {
        "User-Agent": "Java/17.0.9",
        "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "Connection": "keep-alive",
    }
    REQUEST = 10 * MIB
    PIECE = 2 * MIB

    def __init__(self, url: str) -> None:
        self.tus = Tus(url)

    def create(self, size: int) -> str:
        """Create an upload without metadata; give its path."""
        return self.tus.create(size, {**self.FIELDS, "Content-Length": "0"})

    def patch(self, wire: Wire, target: str, offset: int, body: bytes) -> Response:
        """Send the head, wait for 100 Continue, then the body in chunks."""
        fields = {
            **self.FIELDS,
            "X-HTTP-Method-Override": "PATCH",
            "Content-Type": OFFSET_STREAM,
            "Upload-Offset": str(offset),
            "Expect": "100-continue",
            "Content-Length": None,
            "Transfer-Encoding": "chunked",
        }
        wire.send(self.tus.message("POST", target, fields))
        interim = wire.interim()
        assert interim.status == 100
        pieces = [body[at : at + self.PIECE] for at in range(0, len(body), self.PIECE)]
        wire.send(chunked(*pieces))
        return wire.response("POST")


@pytest.mark.clause("CLI-04", "CORE-MO-05", "CORE-MO-01")
def test_tus_java_client_uploads_ten_mebibytes_a_request(server: TusServer) -> None:
    data = b"".join(blocks(25 * MIB + 3))
    java = Java(server.url)
    target = java.create(len(data))
    wire = java.tus.wire()
    try:
        for offset in range(0, len(data), java.REQUEST):
            body = data[offset : offset + java.REQUEST]
            answer = java.patch(wire, target, offset, body)
            assert (answer.status, answer.offset) == (204, offset + len(body))
            if answer.closes:
                wire.close()
                wire = java.tus.wire()
    finally:
        wire.close()
    assert java.tus.content(target) == data


@pytest.mark.clause("CLI-04", "CORE-MO-05", "CORE-MO-01")
def test_tus_java_client_resumes_after_a_lost_connection(server: TusServer) -> None:
    data = b"".join(blocks(6 * MIB))
    java = Java(server.url)
    target = java.create(len(data))
    fields = {
        **java.FIELDS,
        "X-HTTP-Method-Override": "PATCH",
        "Content-Type": OFFSET_STREAM,
        "Upload-Offset": "0",
        "Content-Length": None,
        "Transfer-Encoding": "chunked",
    }
    with java.tus.wire() as wire:
        wire.send(java.tus.message("POST", target, fields))
        wire.send(chunked(data[: 3 * MIB], end=False))
        wire.half_close()
    offset = java.tus.offset(target)
    assert offset == 3 * MIB
    with java.tus.wire() as wire:
        answer = java.patch(wire, target, offset, data[offset:])
        assert (answer.status, answer.offset) == (204, len(data))
    assert java.tus.content(target) == data
