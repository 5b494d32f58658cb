"""Bodies from the socket: into a sink as they arrive, and the connection goes on after them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.proxies import make_certificate
from tests.web.sites import SOCKET, drain, head, site, sized
from tusserver.body import BodyEnd
from tusserver.options import Ingest
from tusserver.web import proof
from tusserver.web.connection import TusConnection
from tusserver.web.drawing import Pipe
from tusserver.web.proof import find_way
from tusserver.web.socketbody import SocketBody, pick_body
from tusserver.web.stream import StreamBody
from tusserver.web.turns import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tusserver.body import Lender

DATA = os.urandom(3_000_000)


class Memory:
    """A sink that takes only so many bytes of each offer, and so many in all."""

    is_full = False
    resume: Callable[[], None] | None = None
    can_draw = False

    def __init__(self, *, most: int = 2**40, room: int = 2**40, turn: int = 2**20) -> None:
        self.drawn: list[int] = []
        self.data = bytearray()
        self.offers: list[int] = []
        self.turn = turn
        self.room = room
        self._most = most

    @property
    def position(self) -> int:
        return len(self.data)

    def draw(self, pipe: int, count: int) -> int:
        assert self.can_draw
        count = min(count, self._most, self.room - len(self.data))
        drawn = os.read(pipe, count)
        self.drawn.append(len(drawn))
        self.data += drawn
        return len(drawn)

    def put(self, data: memoryview, lender: Lender) -> int:
        del lender
        self.offers.append(len(data))
        count = min(len(data), self._most, self.room - len(self.data))
        self.data += data[:count]
        return count


@pytest.fixture(params=[False, True], ids=["memory", "drawn"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Have sinks take bytes from memory only, or from a pipe where they may."""
    monkeypatch.setattr(Memory, "can_draw", request.param)
    return bool(request.param)


class Keeper(Memory):
    """A sink that keeps the memory in which bytes arrived, and looks into it later."""

    can_draw = False

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[memoryview, Lender]] = []
        self.most_kept = 0
        self.drained = asyncio.Event()
        self.drained.set()

    @property
    def is_full(self) -> bool:
        return len(self.kept) >= 2

    def put(self, data: memoryview, lender: Lender) -> int:
        lender.lend(data)
        self.kept.append((data, lender))
        self.drained.clear()
        self.most_kept = max(self.most_kept, len(self.kept))
        asyncio.get_running_loop().call_later(0.01, self.take)
        return len(data)

    def take(self) -> None:
        data, lender = self.kept.pop(0)
        self.data += data
        lender.take_back(data)
        if not self.kept:
            self.drained.set()
        if self.resume is not None:
            self.resume()


async def receive(body: SocketBody | StreamBody, sink: Memory) -> bytes:
    """Take a body as the storage does."""
    async with asyncio.timeout(10):
        while True:
            if isinstance(body, SocketBody):
                await body.pour(sink)
            if not (data := await body.read()):
                return bytes(sink.data)
            sink.data += data


async def test_bytes_that_are_kept_for_a_while_stay_as_they_are_and_no_more_come_than_fit():
    async with site(SOCKET) as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA))
        body = await it.body()
        assert isinstance(body, SocketBody)
        sink = Keeper()
        async with asyncio.timeout(10):
            while body.end is None:
                await body.pour(sink)
                await sink.drained.wait()
                sink.data += await body.read()
        await sending
        assert bytes(sink.data) == DATA
        assert body.end is BodyEnd.COMPLETE
        assert sink.most_kept <= 2


@pytest.mark.parametrize("most", [2**40, 1000, 0], ids=["all", "a little", "nothing"])
async def test_every_byte_arrives_in_order_whatever_the_sink_takes(most: int, *, each_way: bool):
    async with site(SOCKET) as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA))
        body = await it.body()
        assert await receive(body, sink := Memory(most=most)) == DATA
        assert isinstance(body, SocketBody)
        assert body.is_direct
        assert body.end is BodyEnd.COMPLETE
        assert body.received == len(DATA)
        assert max(*sink.offers, *sink.drawn, 0) <= sink.turn
        assert (sum(sink.drawn) > 0) is (each_way and most > 0)
        if each_way and most > len(DATA):
            assert sum(sink.drawn) > len(DATA) // 2
        await sending
        it.may_answer.set()
        assert (await client.answer())[2] == "complete"


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("step", [1, 7, 1460])
async def test_requests_that_follow_in_one_stream_are_found(step: int):
    """Heads and bodies split at odd places; nothing behind a body is taken for its own."""
    length = 5000 if step == 1 else 200_000
    bodies = [os.urandom(length) for _ in range(4)]
    async with site(SOCKET) as it:
        it.may_answer.set()
        client = await it.connect()
        stream = b"".join(
            sized(length) + data + head(method="HEAD").replace(b"/files/x", b"/files/y")
            for data in bodies
        )

        async def send() -> None:
            for at in range(0, 20 * step, step):
                await client.send(stream[at : at + step])
                await asyncio.sleep(0)
            await client.send(stream[20 * step :])

        sending = asyncio.create_task(send())
        for data in bodies:
            assert await receive(await it.body(), Memory()) == data
            status, _, _ = await client.answer()
            assert "200" in status
            assert await drain(await it.body()) == b""
            status, _ = await client.head()
            assert "200" in status
        await sending


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("most", [2**40, 1000], ids=["all", "a little"])
async def test_with_tls_it_is_the_same(tmp_path: Path, most: int):
    make_certificate(certificate := tmp_path / "certificate.pem")
    async with site(SOCKET, certificate=certificate) as it:
        it.may_answer.set()
        client = await it.connect()
        small = sized(5) + b"hello"
        sending = asyncio.create_task(client.send((sized(len(DATA)) + DATA + small) * 3))
        for _ in range(3):
            body = await it.body()
            assert await receive(body, Memory(most=most)) == DATA
            assert isinstance(body, SocketBody)
            assert body.is_direct
            assert (await client.answer())[2] == "complete"
            assert await drain(await it.body()) == b"hello"
            assert (await client.answer())[2] == "complete"
        await sending


@pytest.mark.usefixtures("each_way")
async def test_bytes_before_a_reset_are_kept():
    async with site(SOCKET) as it:
        client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        sink = Memory()
        receiving = asyncio.create_task(receive(body, sink))
        await asyncio.sleep(0.1)
        client.reset()
        assert await receiving == DATA[:100_000]
        assert body.end is BodyEnd.DISCONNECTED


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("half", [True, False], ids=["FIN", "close"])
async def test_a_client_that_ends_early_is_a_lost_one(*, half: bool):
    async with site(SOCKET) as it:
        client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        receiving = asyncio.create_task(receive(body, Memory()))
        await asyncio.sleep(0.1)
        if half:
            client.half_close()
        else:
            await client.close()
        assert await receiving == DATA[:100_000]
        assert body.end is BodyEnd.DISCONNECTED
        if half:
            it.may_answer.set()
            assert (await client.answer())[2] == "disconnected"


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("why", [BodyEnd.SUPERSEDED, BodyEnd.SHUTDOWN, BodyEnd.REFUSED])
async def test_a_stopped_body_takes_no_more_and_is_answered(why: BodyEnd):
    async with site(SOCKET) as it:
        client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        sink = Memory()
        receiving = asyncio.create_task(receive(body, sink))
        await asyncio.sleep(0.1)
        body.stop(why)
        await client.send(DATA[100_000:200_000])
        assert await receiving == DATA[:100_000]
        assert body.end is why
        it.may_answer.set()
        assert (await client.answer())[2] == why.value
        assert body.received == 100_000
        # What is left of it is read to its end, and no further.
        await client.send(DATA[200_000:] + sized(5) + b"hello")
        assert await drain(await it.body()) == b"hello"
        assert (await client.answer())[2] == "complete"


@pytest.mark.usefixtures("each_way")
async def test_silence_ends_a_body_only_while_somebody_waits_for_it():
    async with site(SOCKET, idle_timeout=1.5) as it:
        client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        await asyncio.sleep(1.8)
        receiving = asyncio.create_task(receive(body, Memory()))
        for at in range(100_000, 190_000, 10_000):
            await asyncio.sleep(0.2)
            await client.send(DATA[at : at + 10_000])
        assert not receiving.done()
        assert await receiving == DATA[:190_000]
        assert body.end is BodyEnd.TIMEOUT


async def test_a_client_whose_bytes_wait_for_us_is_not_silent():
    async with site(SOCKET) as it:
        client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        loop = asyncio.get_running_loop()
        await body.read()
        await asyncio.sleep(0.3)
        assert loop.time() - body.last_byte_at < 0.1
        reading = asyncio.create_task(drain(body))
        await asyncio.sleep(0.3)
        assert loop.time() - body.last_byte_at > 0.2
        await client.send(DATA[100_000:])
        await reading


@pytest.mark.usefixtures("each_way")
async def test_a_server_that_stops_ends_bodies_after_their_time():
    async with site(SOCKET, shutdown_timeout=0.2) as it:
        _, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        receiving = asyncio.create_task(receive(body, Memory()))
        await asyncio.sleep(0.1)
        connection = it.requests[0].protocol
        stopping = asyncio.create_task(connection.shutdown(0.2))
        assert await receiving == DATA[:100_000]
        assert body.end is BodyEnd.SHUTDOWN
        it.may_answer.set()
        await stopping


async def test_nothing_is_read_while_nobody_wants_it():
    async with site(SOCKET) as it:
        client = await it.connect()
        data = DATA * 10
        sending = asyncio.create_task(client.send(sized(len(data)) + data))
        body = await it.body()
        await body.read()
        await asyncio.sleep(0.2)
        assert body.received < 2_500_000
        assert not sending.done()
        assert len(await drain(body)) + 262_144 >= len(data) - 262_144
        await sending


@pytest.mark.usefixtures("each_way")
async def test_a_cancelled_reader_loses_nothing():
    async with site(SOCKET) as it:
        client, body = await it.upload(sized(len(DATA)) + DATA[:100_000])
        sink = Memory()
        assert isinstance(body, SocketBody)
        first = asyncio.create_task(receive(body, sink))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await client.send(DATA[100_000:])
        assert await receive(body, sink) == DATA
        assert body.end is BodyEnd.COMPLETE


async def test_what_is_small_or_chunked_stays_with_the_stream():
    picked: list[bool] = []

    async def handler(request: web.Request) -> web.Response:
        body = pick_body(request, idle_timeout=5)
        picked.append(isinstance(body, SocketBody))
        while await body.read():
            pass
        return web.Response()

    async with site(SOCKET, handler=handler, ingest=Ingest.AUTO) as it:
        client = await it.connect()
        for message in (
            sized(SMALL) + bytes(SMALL),
            head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
            sized(SMALL + 1) + bytes(SMALL + 1),
        ):
            await client.send(message)
            await client.answer()
        assert picked == [False, False, True]


async def test_connections_that_give_no_sockets_use_the_stream():
    async with site(SOCKET, ingest=Ingest.PORTABLE) as it:
        client, body = await it.upload(sized(200_000) + DATA[:200_000])
        assert isinstance(body, StreamBody)
        assert await drain(body) == DATA[:200_000]
        del client


# --- the trial


@pytest.mark.parametrize("wanted", [Ingest.AUTO, Ingest.MEMORY, Ingest.SOCKET])
async def test_the_trial_finds_that_it_works(wanted: Ingest, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    assert await find_way(wanted) is wanted
    assert caplog.text == ""


@pytest.mark.parametrize("fault", ["refused", "lies", "no pipe", "unknown"])
async def test_the_trial_finds_a_machine_without_splice(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    if fault == "unknown":
        monkeypatch.delattr(os, "splice")
    else:
        broken = {"refused": refuse, "lies": lambda *_: 5, "no pipe": refuse}[fault]
        name = "__init__" if fault == "no pipe" else "fill"
        monkeypatch.setattr(Pipe, name, broken)
    monkeypatch.setattr(proof, "SECONDS", 3)
    caplog.set_level(logging.INFO)
    # Where nothing but the pipe is refused a body gives it up by itself.
    assert await find_way(Ingest.AUTO) is (Ingest.MEMORY if fault == "lies" else Ingest.AUTO)
    assert ("through memory" in caplog.text) is (fault != "unknown")
    assert "WARNING" not in caplog.text


def refuse(*_: object) -> int:
    raise PermissionError(errno.EPERM, "not allowed")


@pytest.mark.parametrize("fault", ["old parser", "no parser", "hangs"])
async def test_the_trial_finds_another_aiohttp(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def keep(self: TusConnection) -> None:
        if fault == "no parser":
            raise TypeError("unexpected keyword argument")
        if fault == "old parser" and self._content is not None:
            self._content.feed_eof()

    monkeypatch.setattr(TusConnection, "_forget_body", keep)
    monkeypatch.setattr(proof, "SECONDS", 0.5)
    assert await find_way(Ingest.AUTO) is Ingest.PORTABLE
    assert "portable way" in caplog.text
