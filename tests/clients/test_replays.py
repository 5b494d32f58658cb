"""What clients send on the wire that cannot run here: TUSKit, tus-android-client.

And tus-java-client, so that its ways are seen where there is no Java.
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

from tests.support.content import KIB, MIB, blocks
from tests.support.proxy import ANSWER, FIN, RST, seeded_cuts
from tests.support.raw import OFFSET_STREAM, Tus, WireError, chunked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.raw import Fields, Response, Wire
    from tests.support.server import TusServer
    from tests.support.ways import Way

CHUNK = 500 * KIB
CUTS = 6


class Lost(Exception):
    """The connection was lost before the answer."""


class TusKit:
    """TUSKit 3.8 (iOS): its own spelling of headers, PATCHes of 500 KiB, no HEAD after errors."""

    FIELDS: ClassVar[Fields] = {"Tus-Resumable": None, "TUS-Resumable": "1.0.0", "Accept": "*/*"}
    TRIES = 3
    """How often it sends before it tells the application, which then says `retry`."""

    def __init__(self, tus: Tus, data: bytes, *, ios: Fields) -> None:
        """Create the upload; `ios` is what URLSession adds to each upload task."""
        self.tus = tus
        self.data = data
        self.statuses: list[int] = []
        self.repeated = 0
        self._ios = dict(ios)
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

    def run(self) -> Self:
        """Send everything."""
        offset = errors = 0
        while offset < len(self.data):
            try:
                answer = self.patch(offset)
            except Lost:
                answer = None
            # It does not look at the status, only at the offset; one that stands still is an error.
            if answer is not None and answer.offset not in {None, offset}:
                offset = answer.offset
                continue
            errors += 1
            self.repeated += 1
            if errors == self.TRIES:
                offset, errors = self._status(), 0
        return self

    def patch(self, start: int) -> Response:
        """Send the range that begins at `start`."""
        body = self.data[start : start + CHUNK]
        with _losing():
            answer = self.tus.patch(self.target, start, body, self.FIELDS | self._ios)
        self.statuses.append(answer.status)
        return answer

    def break_off(self, start: int, *, after: int) -> None:
        """Send a part of that range, have it arrive, and lose the connection."""
        body = self.data[start : start + CHUNK]
        fields = self.FIELDS | self._ios | {"Content-Length": str(len(body))}
        with self.tus.wire() as wire:
            wire.send(self.tus.append_message(self.target, start, body[:after], fields))
            assert self.tus.settle(self.target, start + after) == start + after
            wire.reset()

    def _status(self) -> int:
        while True:
            with suppress(Lost), _losing():
                answer = self.tus.head(self.target, self.FIELDS)
                # It needs both.
                assert (answer.status, answer.get("Upload-Length")) == (200, str(len(self.data)))
                assert answer.offset is not None
                return answer.offset


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except (WireError, OSError) as error:
        raise Lost from error


IOS = {
    "iOS 16": {},
    "iOS 17": {"Upload-Incomplete": "?0", "Upload-Draft-Interop-Version": "3"},
    "iOS 18": {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"},
}


@pytest.mark.clause("CLI-05", "CORE-PATCH-06")
@pytest.mark.parametrize("ios", IOS.values(), ids=IOS)
def test_tuskit_sends_a_range_again_and_goes_on_where_the_server_is(
    server: TusServer, ios: Fields
) -> None:
    data = b"".join(blocks(3 * MIB + 17))
    kit = TusKit(Tus(server.url), data, ios=ios)
    kit.break_off(0, after=200 * KIB)
    kit.run()
    # The range that had been cut off is refused, with the true offset.
    assert kit.statuses[0] == 409
    assert kit.statuses[1:] == [204] * 6
    assert kit.tus.content(kit.target) == data


@pytest.mark.timeout(60)
@pytest.mark.clause("CLI-05")
def test_tuskit_arrives_through_cuts_lost_answers_and_half_open_connections(way: Way) -> None:
    data = b"".join(blocks(5 * MIB + 17))
    cuts = seeded_cuts(8, count=CUTS, mean=600 * KIB, kinds=[FIN, RST, ANSWER])
    with way.network(cuts=cuts, rate=8 * MIB) as network:
        kit = TusKit(way.tus(network), data, ios=IOS["iOS 18"])
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(kit.run)
            network.wait_until_forwarded(4 * MIB)
            network.lose()
            done.result()
        assert network.cuts_made >= CUTS - 1
        assert kit.repeated >= 3
        # The range is sent again as a whole, and all of it is read before a proxy's refusal.
        assert network.forwarded - len(data) <= 2 * (CUTS + 1) * CHUNK
    assert set(kit.statuses) <= {204, 409}
    assert Tus(way.server.url).content(kit.target) == data


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


class Android:
    """tus-android-client: tus-java-client over Android's own HTTP, which knows PATCH.

    It flushes each KiB as a chunk of its own, sends `Expect` and does not wait, and asks for the
    offset before each run. What is neither 5xx nor 423 ends it.
    """

    FIELDS: ClassVar[Fields] = {
        "User-Agent": "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UQ1A.240205.002)",
        "Connection": "Keep-Alive",
        "Accept-Encoding": "gzip",
    }
    REQUEST = 10 * MIB
    PIECE = KIB

    def __init__(self, tus: Tus, data: bytes) -> None:
        """Create the upload."""
        self.tus = tus
        self.data = data
        name = base64.b64encode(b"VID_20260101.mp4").decode()
        fields = {**self.FIELDS, "Upload-Metadata": f"filename {name}", "Content-Length": "0"}
        self.target = tus.create(len(data), fields)
        self.runs = 0

    def work(self) -> Self:
        """Let the worker run until it has succeeded."""
        offset = 0
        while offset < len(self.data):
            self.runs += 1
            with suppress(Lost), _losing():
                offset = self._run()
        return self

    def stopped(self, size: int) -> int:
        """Run, and be stopped by the system after so many bytes: the request ends in good order."""
        return self._run(size)

    def _run(self, size: int = REQUEST) -> int:
        answer = self.tus.head(self.target, self.FIELDS)
        if answer.status >= 500 or answer.status == 423:
            return 0
        assert answer.status == 200
        offset = answer.offset
        assert offset is not None
        while offset < len(self.data):
            body = self.data[offset : offset + size]
            answer = self._append(offset, body)
            if answer.status >= 500 or answer.status == 423:
                return 0
            assert (answer.status, answer.offset) == (204, offset + len(body))
            offset += len(body)
            if size < self.REQUEST:
                break
        return offset

    def _append(self, offset: int, body: bytes) -> Response:
        fields = {
            **self.FIELDS,
            "Expect": "100-continue",
            "Content-Length": None,
            "Transfer-Encoding": "chunked",
        }
        pieces = [body[at : at + self.PIECE] for at in range(0, len(body), self.PIECE)]
        with self.tus.wire() as wire:
            head = self.tus.append_message(self.target, offset, b"", fields)
            wire.send(head + chunked(*pieces))
            return wire.response("PATCH")


def test_tus_android_goes_on_after_the_system_stopped_it(server: TusServer) -> None:
    data = b"".join(blocks(20 * MIB + 1))
    phone = Android(Tus(server.url), data)
    assert phone.stopped(3 * MIB + 7) == 3 * MIB + 7
    phone.work()
    assert phone.runs == 1
    assert phone.tus.content(phone.target) == data


@pytest.mark.timeout(60)
@pytest.mark.clause("CORE-PATCH-17")
def test_tus_android_arrives_through_cuts_and_half_open_connections(way: Way) -> None:
    data = b"".join(blocks(11 * MIB + 5))
    cuts = seeded_cuts(9, count=CUTS, mean=MIB)
    with way.network(cuts=cuts, rate=16 * MIB) as network:
        phone = Android(way.tus(network), data)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(phone.work)
            network.wait_until_forwarded(8 * MIB)
            network.lose()
            done.result()
        assert network.cuts_made == CUTS
        # Frames of chunks are 9 bytes a KiB.
        assert network.forwarded - len(data) <= len(data) // 64 + (CUTS + 1) * CHUNK
    assert phone.runs >= CUTS + 1
    assert Tus(way.server.url).content(phone.target) == data
