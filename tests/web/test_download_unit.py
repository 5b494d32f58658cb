"""GET on a real aiohttp server, a real socket and real files."""

from __future__ import annotations

import asyncio
import http.client
import logging
import random
import shutil
import socket
import ssl
import struct
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tusserver.errors import RangeNotSatisfiable, StorageFault, UploadNotFound
from tusserver.ports import Segment
from tusserver.upload import Kind, Status, Upload, UploadId
from tusserver.web.download import CHUNK, parse_range, send_upload

UPLOAD_ID = UploadId("0123456789abcdef" * 2)
ETAG = f'"{UPLOAD_ID}"'
MIB = 1024 * 1024
STATUSES = {RangeNotSatisfiable: 416, UploadNotFound: 404, StorageFault: 500}


class Served:
    """An upload in files, and the handler that sends it."""

    def __init__(self, folder, lengths, metadata="filename YS56aXA=,filetype YXBwbGljYXRpb24vemlw"):
        self.data = random.Random(2).randbytes(sum(lengths))
        self.segments = []
        self.fresh = None
        self.reopened = 0
        self.responses = []
        self.ended = asyncio.Event()
        position = 0
        for index, length in enumerate(lengths):
            path = folder / f"part-{index}"
            # What was reserved beyond the bytes is none of the reader's business.
            path.write_bytes(self.data[position : position + length] + b"reserved")
            self.segments.append(Segment(path, length))
            position += length
        self.upload = Upload(
            upload_id=UPLOAD_ID,
            created_at=datetime.now(UTC),
            length=position,
            offset=position,
            status=Status.COMPLETE,
            kind=Kind.SINGLE,
            metadata=metadata,
        )

    async def reopen(self):
        self.reopened += 1
        if self.fresh is None:
            raise UploadNotFound
        return self.fresh

    async def handle(self, request):
        try:
            response = await send_upload(
                request,
                self.upload,
                self.segments,
                cache_control="private, no-cache",
                headers={"Tus-Resumable": "1.0.0", "Vary": "Origin"},
                reopen=self.reopen,
            )
        except tuple(STATUSES) as error:
            response = web.Response(status=STATUSES[type(error)])
        finally:
            self.ended.set()
        self.responses.append(response)
        return response


@asynccontextmanager
async def serving(served, *, ssl_context=None, handler_cancellation=False, on_prepare=None):
    app = web.Application()
    app.router.add_get("/file", served.handle, allow_head=False)
    if on_prepare is not None:
        app.on_response_prepare.append(on_prepare)
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
        port = runner.addresses[0][1]
        scheme = "https" if ssl_context else "http"
        yield SimpleNamespace(url=f"{scheme}://127.0.0.1:{port}/file", port=port, runner=runner)
    finally:
        await runner.cleanup()


async def get(url, *, ssl_context=True, **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url, headers=fields, ssl=ssl_context) as response,
    ):
        return SimpleNamespace(
            status=response.status, headers=response.headers, body=await response.read()
        )


LAYOUTS = pytest.mark.parametrize(
    "lengths",
    [[5 * MIB + 17], [MIB + 1, 0, 3 * MIB, 1, 0, CHUNK, 99], [1]],
    ids=["one file", "parts, some of them empty", "one byte"],
)


@pytest.fixture
def half_sent(monkeypatch):
    """Small socket buffers: a server can only be a little ahead of its reader."""
    make = asyncio.selector_events._SelectorSocketTransport.__init__

    def small(self, loop, sock, *args, **kwargs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        make(self, loop, sock, *args, **kwargs)

    monkeypatch.setattr(asyncio.selector_events._SelectorSocketTransport, "__init__", small)


async def open_reader(port, request=b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n"):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.setblocking(False)  # noqa: FBT003
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=64 * 1024)
    writer.write(request)
    return reader, writer


# --- whole uploads ------------------------------------------------------------------------


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


async def test_a_fast_reader_does_not_hold_up_the_loop(tmp_path):
    served = Served(tmp_path, [64 * MIB])
    calls = []
    async with serving(served) as server:
        loop = asyncio.get_running_loop()
        sendfile = loop.sendfile

        async def counted(transport, file, offset, count, **options):
            calls.append(count)
            return await sendfile(transport, file, offset, count, **options)

        loop.sendfile = counted
        assert (await get(server.url)).body == served.data
    assert max(calls) <= CHUNK
    assert sum(calls) == len(served.data)


# --- conditions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("If-None-Match", ETAG, 304),
        ("If-None-Match", f"W/{ETAG}", 304),
        ("If-None-Match", f'"a", "b,c" , {ETAG}', 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"other"', 200),
        ("If-None-Match", UPLOAD_ID, 200),
        ("If-None-Match", "", 200),
        ("If-Match", ETAG, 200),
        ("If-Match", f'"a", {ETAG}', 200),
        ("If-Match", "*", 200),
        ("If-Match", f"W/{ETAG}", 412),
        ("If-Match", '"other"', 412),
        ("If-Match", "", 412),
        ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ],
)
async def test_conditions_are_compared_with_the_entity_tag(tmp_path, header, value, status):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, **{header: value})
    assert answer.status == status
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    if status == 304:
        assert answer.body == b""
        assert answer.headers["ETag"] == ETAG
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Origin"
    if status == 200:
        assert answer.body == served.data


async def test_a_failed_precondition_goes_before_an_unchanged_upload(tmp_path):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, If_Match='"other"', If_None_Match=ETAG, Range="bytes=9999-")
        assert answer.status == 412
        answer = await get(server.url, If_None_Match=ETAG, Range="bytes=9999-")
        assert answer.status == 304


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (ETAG, 206),
        (f"W/{ETAG}", 200),
        ('"other"', 200),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
        ("*", 200),
        ("", 200),
    ],
)
async def test_if_range_gives_a_part_only_for_the_very_tag(tmp_path, value, status):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, If_Range=value, Range="bytes=10-19")
        assert answer.status == status
        assert answer.body == (served.data[10:20] if status == 206 else served.data)
        # Without a Range there is nothing to decide.
        assert (await get(server.url, If_Range=value)).status == 200


# --- ranges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=999990-", 999_990, 3_000_000),
        ("bytes=-1", 2_999_999, 3_000_000),
        ("bytes=-99999999", 0, 3_000_000),
        (f"bytes=1-{'9' * 5000}", 1, 3_000_000),
        ("bytes=999999-1000001", 999_999, 1_000_002),
        ("BYTES= 5-6 ,", 5, 7),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_range_is_sent_across_the_files(tmp_path, value, start, end):
    served = Served(tmp_path, [1_000_000, 1, 1_999_999])
    async with serving(served) as server:
        answer = await get(server.url, Range=value)
    assert answer.status == 206
    assert answer.body == served.data[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/3000000"
    assert answer.headers["Content-Length"] == str(end - start)
    assert answer.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    "value",
    ["bytes=5-3", "bytes=-", "bytes=", "bytes", "", "lines=1-2", "bytes=a-b", "bytes=+1-2",
     "bytes=1 - 2", "bytes=0-1,5-6", "bytes=1_0-20", "bytes=\u0661-", "bytes =0-5", "bytes=--5"],
)  # fmt: skip
async def test_a_range_that_is_not_understood_is_ignored(tmp_path, value):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        answer = await get(server.url, Range=value)
    assert (answer.status, answer.body) == (200, served.data)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=9999-"])
async def test_a_range_beyond_the_upload_cannot_be_satisfied(tmp_path, value):
    served = Served(tmp_path, [1000])
    async with serving(served) as server:
        assert (await get(server.url, Range=value)).status == 416


async def test_ranges_sent_in_several_lines_are_ignored(tmp_path):
    served = Served(tmp_path, [1000])
    request = b"GET /file HTTP/1.0\r\nRange: bytes=0-1\r\nRange: bytes=0-2\r\n\r\n"
    async with serving(served) as server:
        reader, writer = await open_reader(server.port, request)
        assert (await reader.read()).endswith(served.data)
        writer.close()


def test_the_end_of_nothing_is_the_whole_of_it():
    assert parse_range("bytes=-5", 0) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0)


@given(
    first=st.none() | st.integers(0, 120),
    last=st.none() | st.integers(0, 120),
    length=st.integers(0, 100),
)
def test_a_range_is_the_slice_it_says(first, last, length):
    data = bytes(range(length))
    value = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        expected = data[-last:] if last else b""
    else:
        expected = data[first : None if last is None else last + 1]
    try:
        span = parse_range(value, length)
    except RangeNotSatisfiable:
        span = (0, 0)
        assert expected == b""
    if span is None:
        assert (first is None and not (last and length)) or (last is not None and last < first)
        return
    assert data[slice(*span)] == expected
    assert expected or span == (0, 0)


@given(st.text() | st.from_regex(r"bytes=[0-9,\- ]*"))
def test_any_text_is_a_range_or_ignored_or_refused(value):
    try:
        span = parse_range(value, 50)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span[0] < span[1] <= 50


# --- other ways to send -------------------------------------------------------------------


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


# --- what goes wrong ----------------------------------------------------------------------


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
    tasks = []
    whole = served.handle

    async def within_time(request):
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(0.2):
            return await whole(request)

    served.handle = within_time
    async with serving(served) as server:
        reader, writer = await open_reader(server.port)
        await reader.readexactly(MIB)
        await asyncio.sleep(0.3)
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
