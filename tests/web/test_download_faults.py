"""GET when files, clients or hosts do what they should not."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import pytest
from aiohttp import web

from tests.web.downloads import (
    MIB,
    Served,
    get,
    open_reader,
    serving,
)
from tusserver.ports import Segment


async def test_a_missing_file_is_an_unknown_upload(tmp_path):
    served = Served(tmp_path, [1000, 1000])
    served.segments[0].path.unlink()
    async with serving(served) as server:
        assert (await get(server.url)).status == 404
    assert served.reopened == 1


async def test_parts_deleted_before_the_first_byte_are_read_from_the_assembled_file(tmp_path):
    served = Served(tmp_path, [1000, 1000])
    assembled = tmp_path / "assembled"
    assembled.write_bytes(served.data)
    served.fresh = [Segment(assembled, 2000)]
    served.segments[0].path.unlink()
    async with serving(served) as server:
        assert (await get(server.url)).body == served.data


async def test_parts_deleted_while_they_are_sent_are_read_from_the_assembled_file(
    tmp_path, half_sent
):
    served = Served(tmp_path, [4 * MIB, 4 * MIB + 3, 17])
    assembled = tmp_path / "assembled"
    async with serving(served) as server:
        reader, writer = await open_reader(server.port)
        head = await reader.readuntil(b"\r\n\r\n")
        got = await reader.readexactly(1000)
        assembled.write_bytes(served.data)
        served.fresh = [Segment(assembled, len(served.data))]
        for segment in served.segments:
            segment.path.unlink()
        got += await reader.readexactly(len(served.data) - 1000)
        writer.close()
    assert f"Content-Length: {len(served.data)}\r\n".encode() in head
    assert got == served.data
    assert served.reopened == 1


@pytest.mark.parametrize("damage", ["part gone", "part cut", "open file cut"])
async def test_a_body_that_cannot_be_sent_whole_never_looks_whole(
    tmp_path, half_sent, caplog, damage
):
    served = Served(tmp_path, [4 * MIB, 4 * MIB])
    async with serving(served) as server:
        reader, writer = await open_reader(server.port)
        await reader.readuntil(b"\r\n\r\n")
        first, second = (segment.path for segment in served.segments)
        if damage == "part gone":
            second.unlink()
        else:
            with (second if damage == "part cut" else first).open("r+b") as file:
                file.truncate(3 * MIB)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(8 * MIB)
        writer.close()
    (record,) = [record for record in caplog.records if record.name.startswith("tusserver")]
    assert record.levelno == logging.ERROR
    assert record.exc_info is None


async def test_a_file_that_is_too_short_is_a_fault_of_the_storage(tmp_path):
    served = Served(tmp_path, [1000])
    served.segments = [Segment(served.segments[0].path, 5000)]
    async with serving(served) as server:
        assert (await get(server.url)).status == 500


async def test_files_that_hold_too_little_are_a_fault_of_the_storage(tmp_path):
    served = Served(tmp_path, [1000, 1000])
    served.segments = served.segments[:1]
    async with serving(served) as server:
        assert (await get(server.url, Range="bytes=1500-")).status == 500


@pytest.mark.parametrize("handler_cancellation", [False, True])
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_client_that_goes_away_leaves_no_trace_in_the_log(
    tmp_path, half_sent, caplog, how, handler_cancellation
):
    served = Served(tmp_path, [32 * MIB])
    caplog.set_level(logging.INFO)
    async with serving(served, handler_cancellation=handler_cancellation) as server:
        reader, writer = await open_reader(server.port)
        await reader.readexactly(MIB)
        if how == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        async with asyncio.timeout(5):
            await served.ended.wait()
    worst = [record for record in caplog.records if record.levelno > logging.INFO]
    assert [record for record in worst if record.name != "asyncio"] == []
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_cancelled_answer_ends_with_its_connection(tmp_path, half_sent):
    served = Served(tmp_path, [32 * MIB])
    tasks, limits = [], []
    whole = served.handle

    async def within_time(request):
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            return await whole(request)

    served.handle = within_time
    async with serving(served) as server:
        reader, writer = await open_reader(server.port)
        await reader.readexactly(MIB)
        limits[0].reschedule(asyncio.get_running_loop().time())
        await asyncio.sleep(0.1)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(31 * MIB + 100)
        writer.close()
    assert tasks


async def test_shutting_down_does_not_wait_for_a_reader_that_stands_still(tmp_path, half_sent):
    served = Served(tmp_path, [32 * MIB])
    async with serving(served) as server:
        reader, writer = await open_reader(server.port)
        await reader.readexactly(MIB)
    writer.close()
    assert served.responses == []


async def test_a_failing_signal_of_the_host_is_answered_as_usual(tmp_path):
    served = Served(tmp_path, [1000])

    async def refuse(request, response):
        if isinstance(response, web.StreamResponse) and response.status == 200:
            raise web.HTTPConflict

    async with serving(served, on_prepare=refuse) as server:
        assert (await get(server.url)).status == 409


async def test_the_access_log_counts_the_bytes_that_were_sent(tmp_path):
    served = Served(tmp_path, [MIB])
    async with serving(served) as server:
        await get(server.url)
    assert MIB < served.responses[0].body_length < MIB + 2000
