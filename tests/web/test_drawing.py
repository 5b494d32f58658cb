"""Bodies that go to the file without coming into memory: which do, and how they stop doing so."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from typing import TYPE_CHECKING

import pytest

from tests.storage.fakes import open_files
from tests.support.proxies import make_certificate
from tests.web.sites import SOCKET, drain, head, site, sized, until
from tests.web.test_socketbody import Memory, receive
from tusserver.body import BodyEnd
from tusserver.options import Ingest
from tusserver.web import drawing
from tusserver.web.drawing import LEAST, QUICK, TIMES, Pipe
from tusserver.web.socketbody import SocketBody

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.sites import Client, Site
    from tusserver.web.drawing import Draws

DATA = os.urandom(4 * LEAST)


class Drawer(Memory):
    """A sink that takes bytes from a pipe, until it was offered so many."""

    def __init__(self, *, draws: int = 2**40, most: int = 2**40) -> None:
        super().__init__(most=most)
        self._draws = draws

    @property
    def can_draw(self) -> bool:  # type: ignore[override]
        return len(self.data) < self._draws


class Broken(Drawer):
    """A sink with a fault in it."""

    def draw(self, pipe: int, count: int) -> int:
        raise ZeroDivisionError(pipe, count)


def draws_of(it: Site) -> Draws:
    connection = it.requests[0].protocol
    draws = connection.turns.draws  # type: ignore[attr-defined]
    assert isinstance(draws, drawing.Draws)
    return draws


async def begun(it: Site, data: bytes = DATA) -> tuple[Client, asyncio.Task[None], SocketBody]:
    """Begin to send a body; give what sends it, and the body."""
    client = await it.connect()
    sending = asyncio.create_task(client.send(sized(len(data)) + data))
    body = await it.body()
    assert isinstance(body, SocketBody)
    return client, sending, body


async def test_a_large_body_of_a_quick_client_is_drawn_and_the_connection_goes_on():
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        it.may_answer.set()
        client = await it.connect()
        before = open_files()
        following = head(method="HEAD").replace(b"/files/x", b"/files/y")
        sending = asyncio.create_task(client.send((sized(len(DATA)) + DATA + following) * 3))
        for _ in range(3):
            assert await receive(body := await it.body(), sink := Drawer()) == DATA
            assert body.end is BodyEnd.COMPLETE
            assert sum(sink.drawn) > len(DATA) // 2
            assert max(sink.drawn) <= sink.turn
            assert (await client.answer())[2] == "complete"
            assert await drain(await it.body()) == b""
            await client.head()
        await sending
        # The pipe stays.
        assert open_files() == before + 2


@pytest.mark.parametrize("why", ["short", "no splice wanted", "TLS", "the sink does not"])
async def test_others_come_into_memory(tmp_path: Path, why: str):
    data = DATA[: LEAST // 2] if why == "short" else DATA
    certificate = None
    if why == "TLS":
        make_certificate(certificate := tmp_path / "certificate.pem")
    ingest = Ingest.MEMORY if why == "no splice wanted" else Ingest.AUTO
    async with site(SOCKET, ingest=ingest, certificate=certificate) as it:
        it.may_answer.set()
        client, sending, body = await begun(it, data)
        sink = Drawer(draws=0 if why == "the sink does not" else 2**40)
        assert await receive(body, sink) == data
        await sending
        assert (await client.answer())[2] == "complete"
        assert sink.drawn == []


async def test_a_sink_that_draws_no_more_gets_the_rest_from_memory():
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        _, sending, body = await begun(it)
        assert await receive(body, sink := Drawer(draws=LEAST)) == DATA
        await sending
        assert LEAST <= sum(sink.drawn) < len(DATA) // 2
        assert sum(sink.offers) > 0


async def test_what_a_sink_leaves_in_the_pipe_is_offered_to_it_from_memory():
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        _, sending, body = await begun(it)
        assert await receive(body, sink := Drawer(most=100_000)) == DATA
        await sending
        assert sink.drawn
        assert sink.offers


async def test_a_client_that_becomes_slow_costs_no_second_descriptor_until_it_is_quick_again():
    quick = len(DATA) // 2
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        client = await it.connect()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA[:quick]))
        receiving = asyncio.create_task(receive(await it.body(), sink := Drawer()))
        await sending
        await until(lambda: len(sink.data) == quick)
        assert draws_of(it).count == 1
        for number in range(2 * TIMES):
            await client.send(DATA[quick + number : quick + number + 1])
            await until(lambda reached=quick + number + 1: len(sink.data) == reached)
        assert draws_of(it).count == 0
        drawn = sum(sink.drawn)
        await client.send(DATA[quick + 2 * TIMES :])
        assert await receiving == DATA
        assert sum(sink.drawn) > drawn


async def test_a_drawn_body_that_is_paused_takes_no_part_in_turns():
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        _, sending, body = await begun(it)
        sink = Drawer(most=1)
        while not sink.drawn:
            await body.pour(sink)
            sink.data += await body.read()
            await asyncio.sleep(0.02)
        await body.pour(sink)
        turns = it.requests[0].protocol.turns  # type: ignore[attr-defined]
        assert sink.drawn
        assert body.end is None
        assert turns._eager == set()
        assert DATA.startswith(sink.data)
        await receive(body, sink)
        assert sink.data == DATA
        await sending


async def test_only_so_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drawing, "MOST", 1)
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        uploads = [await begun(it) for _ in range(3)]
        sinks = [Drawer() for _ in uploads]
        found = await asyncio.gather(
            *(receive(body, sink) for (_, _, body), sink in zip(uploads, sinks, strict=True))
        )
        assert found == [DATA] * 3
        assert any(sink.offers and max(sink.offers) >= QUICK for sink in sinks)
        await asyncio.gather(*(sending for _, sending, _ in uploads))


@pytest.mark.parametrize("how", ["reset", "half", "close"])
async def test_what_came_before_the_end_of_a_connection_is_kept(how: str):
    sent = len(DATA) - 1
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        client = await it.connect()
        before = open_files()
        sending = asyncio.create_task(client.send(sized(len(DATA)) + DATA[:sent]))
        body = await it.body()
        receiving = asyncio.create_task(receive(body, sink := Drawer()))
        await sending
        await until(lambda: len(sink.data) == sent)
        if how == "reset":
            client.reset()
        elif how == "half":
            client.half_close()
        else:
            await client.close()
        assert await receiving == DATA[:sent]
        assert body.end is BodyEnd.DISCONNECTED
        assert sink.drawn
        it.may_answer.set()
        await client.close()
        await until(lambda: open_files() <= before + 2)


async def test_a_body_that_is_stopped_while_it_is_drawn_is_answered():
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        client = await it.connect()
        await client.send(sized(len(DATA)) + DATA[:500_000])
        receiving = asyncio.create_task(receive(body := await it.body(), sink := Drawer()))
        await until(lambda: len(sink.data) == 500_000)
        assert draws_of(it).count == 1
        body.stop(BodyEnd.SUPERSEDED)
        assert draws_of(it).count == 0
        assert await receiving == DATA[:500_000]
        it.may_answer.set()
        # It is read to be thrown away.
        await client.send(DATA[500_000:])
        assert (await client.answer())[2] == "superseded"


async def test_a_fault_while_one_is_drawn_leaves_nothing_to_the_next_one():
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        _, sending, body = await begun(it)
        faults = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))
        await receive(body, Broken())
        assert body.end is BodyEnd.DISCONNECTED
        assert isinstance(faults[0]["exception"], ZeroDivisionError)
        sending.cancel()
        _, sending, body = await begun(it)
        assert await receive(body, sink := Drawer()) == DATA
        assert sink.drawn
        await sending


async def test_where_sockets_have_no_splice_bodies_go_through_memory_from_then_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "not allowed")

    monkeypatch.setattr(Pipe, "fill", refuse)
    caplog.set_level(logging.INFO)
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        for _ in range(2):
            _, sending, body = await begun(it)
            assert await receive(body, sink := Drawer()) == DATA
            assert sink.drawn == []
            await sending
        assert not draws_of(it).have_room
    assert caplog.text.count("splice does not work here: [Errno 1]") == 1


async def test_a_connection_that_the_network_has_lost_says_nothing_about_splice(
    monkeypatch: pytest.MonkeyPatch,
):
    def lose(*_: object) -> int:
        raise TimeoutError(errno.ETIMEDOUT, "no answer")

    monkeypatch.setattr(Pipe, "fill", lose)
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        _, sending, body = await begun(it)
        assert DATA.startswith(await receive(body, Drawer()))
        assert body.end is BodyEnd.DISCONNECTED
        assert draws_of(it).have_room
        assert draws_of(it).count == 0
        sending.cancel()


@pytest.mark.parametrize("what", ["dup", "pipe2"])
async def test_without_a_descriptor_left_bodies_go_through_memory(
    what: str,
    monkeypatch: pytest.MonkeyPatch,
):
    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        monkeypatch.setattr(os, what, refuse)
        _, sending, body = await begun(it)
        assert await receive(body, sink := Drawer()) == DATA
        assert sink.drawn == []
        await sending
        monkeypatch.undo()
        assert draws_of(it).have_room


async def test_a_server_that_has_stopped_has_no_pipe():
    before = open_files()
    async with site(SOCKET, ingest=Ingest.AUTO) as it:
        _, sending, body = await begun(it)
        await receive(body, Drawer())
        await sending
    assert open_files() <= before
