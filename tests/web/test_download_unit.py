"""GET of whole uploads: bytes, headers, connections, ways to send."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import ssl
import subprocess
from collections import Counter

import pytest

from tests.web.downloads import (
    ETAG,
    LAYOUTS,
    MIB,
    Served,
    get,
    open_reader,
    serving,
)
from tusserver.web.download import CHUNK, TURN


@LAYOUTS
async def test_the_bytes_arrive_as_they_lie_in_the_files(tmp_path, lengths):
    served = Served(tmp_path, lengths)
    async with serving(served) as server:
        answer = await get(server.url)
    assert answer.status == 200
    assert answer.body == served.data
    assert answer.headers["Content-Length"] == str(len(served.data))


async def test_an_answer_carries_what_browsers_and_caches_need(tmp_path):
    served = Served(tmp_path, [10])
    async with serving(served) as server:
        answer = await get(server.url, Accept_Encoding="gzip, deflate")
    for name, value in {
        "ETag": ETAG,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Content-Type": "application/zip",
        "Content-Disposition": 'attachment; filename="a.zip"',
        "Tus-Resumable": "1.0.0",
        "Vary": "Origin",
    }.items():
        assert answer.headers[name] == value
    assert not {"Content-Encoding", "Transfer-Encoding", "Last-Modified"} & set(answer.headers)


@pytest.mark.clause("META-08")
async def test_hostile_metadata_adds_no_header(tmp_path):
    # filename: `a\r\nX-Evil: 1`, filetype: `text/html\r\nX-Evil: 1`
    metadata = "filename YQ0KWC1FdmlsOiAx,filetype dGV4dC9odG1sDQpYLUV2aWw6IDE="
    served = Served(tmp_path, [10], metadata)
    async with serving(served) as server:
        answer = await get(server.url)
    assert answer.body == served.data
    assert "X-Evil" not in answer.headers
    assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_an_empty_upload_is_an_empty_answer(tmp_path):
    served = Served(tmp_path, [0])
    async with serving(served) as server:
        answer = await get(server.url)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == "0"


async def test_a_connection_is_kept_for_the_next_request(tmp_path):
    served = Served(tmp_path, [2 * MIB])
    async with serving(served) as server:

        def twice():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            bodies = []
            for headers in ({}, {"Range": "bytes=7-"}, {"If-None-Match": ETAG}, {}):
                connection.request("GET", "/file", headers=headers)
                source = connection.sock
                bodies.append((source, connection.getresponse().read()))
            connection.close()
            return bodies

        bodies = await asyncio.to_thread(twice)
    assert len({sock for sock, _ in bodies}) == 1
    assert [body for _, body in bodies] == [served.data, served.data[7:], b"", served.data]


@pytest.mark.parametrize("keep", [False, True], ids=["close", "keep-alive"])
async def test_http_1_0_gets_a_length_and_its_way_with_the_connection(tmp_path, keep):
    served = Served(tmp_path, [MIB])
    request = b"GET /file HTTP/1.0\r\nHost: h\r\n" + b"Connection: keep-alive\r\n" * keep + b"\r\n"
    async with serving(served) as server:
        reader, writer = await open_reader(server.port, request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"Content-Length: {MIB}\r\n".encode() in head
        assert (b"connection: keep-alive" in head.lower()) is keep
        assert await reader.readexactly(MIB) == served.data
        if not keep:
            assert await reader.read() == b""
        writer.close()


async def test_many_readers_at_once_each_get_their_own_bytes(tmp_path):
    served = Served(tmp_path, [MIB, 2 * MIB])
    starts = range(0, 3 * MIB, 157_001)
    async with serving(served) as server:
        answers = await asyncio.gather(
            *(get(server.url, Range=f"bytes={start}-") for start in starts)
        )
    assert all(
        answer.body == served.data[start:] for start, answer in zip(starts, answers, strict=True)
    )


async def test_a_fast_reader_does_not_hold_up_the_loop(tmp_path, monkeypatch):
    served = Served(tmp_path, [64 * MIB])
    turns, sent = 0, Counter()
    sendfile = os.sendfile

    def counted(*args):
        count = sendfile(*args)
        sent[turns] += count
        return count

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(served) as server:
        monkeypatch.setattr(os, "sendfile", counted)
        turning = asyncio.create_task(turn())
        assert (await get(server.url)).body == served.data
        turning.cancel()
    assert sum(sent.values()) == len(served.data)
    assert max(sent.values()) <= TURN + CHUNK


async def test_a_reader_that_is_slow_gets_every_byte_once(tmp_path, half_sent):
    served = Served(tmp_path, [3 * MIB + 5, 2 * MIB])
    async with serving(served) as server:
        reader, writer = await open_reader(server.port)
        await reader.readuntil(b"\r\n\r\n")
        got = bytearray()
        while len(got) < len(served.data):
            got += await reader.readexactly(min(99_991, len(served.data) - len(got)))
            await asyncio.sleep(0)
        writer.close()
    assert got == served.data


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is needed to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


@LAYOUTS
async def test_the_bytes_arrive_over_tls(tmp_path, certificate, lengths):
    served = Served(tmp_path, lengths)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.crt", certificate)
    trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
    async with serving(served, ssl_context=context) as server:
        answer = await get(server.url, ssl_context=trusting)
        assert answer.body == served.data
        answer = await get(server.url, ssl_context=trusting, Range="bytes=-1")
        assert answer.body == served.data[-1:]


def test_the_bytes_arrive_on_a_loop_without_sendfile(tmp_path):
    class OtherLoop(asyncio.SelectorEventLoop):
        async def sendfile(self, *args, **options):  # as uvloop has it
            raise NotImplementedError

    async def run():
        served = Served(tmp_path, [MIB + 1, 2 * MIB])
        async with serving(served) as server:
            assert (await get(server.url)).body == served.data
            assert (await get(server.url, Range="bytes=5-")).body == served.data[5:]

    with asyncio.Runner(loop_factory=OtherLoop) as runner:
        runner.run(run())


async def test_bytes_that_are_not_in_memory_are_fetched_in_a_thread(tmp_path, monkeypatch):
    served = Served(tmp_path, [MIB])
    # A file system that cannot tell (RWF_NOWAIT) counts as a disk that has to be waited for.
    monkeypatch.setattr("tusserver.web.download.os.preadv", _cannot_tell)
    read = []
    monkeypatch.setattr(asyncio, "to_thread", _noting(asyncio.to_thread, read))
    async with serving(served) as server:
        assert (await get(server.url)).body == served.data
    assert len(read) == MIB // CHUNK


def _cannot_tell(*args):
    raise OSError(95, "Operation not supported")


def _noting(function, calls):
    def noted(*args):
        calls.append(args)
        return function(*args)

    return noted
