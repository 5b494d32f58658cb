"""A real server on a real socket that sends an upload from real files."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from tusserver.errors import RangeNotSatisfiable, StorageFault, UploadNotFound
from tusserver.ports import Segment
from tusserver.upload import Kind, Status, Upload, UploadId
from tusserver.web.download import CHUNK, send_upload

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


async def open_reader(port, request=b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n"):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.setblocking(False)  # noqa: FBT003
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=64 * 1024)
    writer.write(request)
    return reader, writer
