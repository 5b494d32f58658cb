"""GET of a finished upload: conditions, one range, and its bytes by sendfile (floor 5).

An upload never changes once it is complete, so its id is a strong entity tag. Readers share
nothing and take no lease. Source: RFC 9110 sections 8.8.3 (ETag), 13 (conditions), 14
(ranges); tus 1.0.0 leaves GET to the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from bisect import bisect_right
from contextlib import ExitStack
from itertools import accumulate
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.account import note_sent
from tusserver.errors import RangeNotSatisfiable, StorageFault, TusError, UploadNotFound
from tusserver.protocol.headers import parse_metadata
from tusserver.upload import MAX_INTEGER
from tusserver.web.disposition import content_disposition, content_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from io import FileIO
    from pathlib import Path

    from tusserver.ports import Segment
    from tusserver.upload import Upload

logger = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes that are fetched from the disk, or waited for the socket with, at a time."""
TURN = 4 * CHUNK
"""Bytes that one turn of the loop sends: a reader as fast as the kernel would hold the loop for
100 ms and more if a single call could send everything."""
READ_AHEAD = 16 * CHUNK

_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_MAX_DIGITS = len(str(MAX_INTEGER))


async def send_upload(
    request: web.Request,
    upload: Upload,
    segments: Sequence[Segment],
    *,
    cache_control: str,
    headers: Mapping[str, str],
    reopen: Callable[[], Awaitable[Sequence[Segment]]],
) -> web.StreamResponse:
    """Answer GET with the bytes of a complete upload, which `segments` hold end to end.

    `headers` are added to the answer. `reopen` names the segments anew when a file is gone: parts
    are deleted once they have been assembled. It is asked once; the bytes go on where they were.
    Safe to cancel. Once the head is out nothing is raised: what cannot be sent whole ends with an
    aborted connection, never with a body that looks whole.

    Raises: RangeNotSatisfiable; UploadNotFound when the files are gone; StorageFault.
    """
    etag = f'"{upload.upload_id}"'
    common = {
        **headers,
        "ETag": etag,
        "Cache-Control": cache_control,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }
    if not _may_proceed(request, etag):
        text = "The upload is not the one that was asked for.\n"
        return web.Response(status=412, text=text, headers=common)
    if _is_unchanged(request, etag):
        return web.Response(status=304, headers=common)
    length = upload.offset
    span = parse_range(_asked_range(request, etag), length)
    start, end = span or (0, length)
    metadata = parse_metadata(upload.metadata)
    response = web.StreamResponse(
        status=206 if span else 200,
        headers={
            **common,
            "Accept-Ranges": "bytes",
            "Content-Type": content_type(metadata),
            "Content-Disposition": content_disposition(metadata),
            # RFC 9530 section 3: of the whole, also where a range is sent.
            **({"Repr-Digest": upload.digest} if upload.digest else {}),
        },
    )
    response.content_length = end - start
    if span:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
    source = _Source(segments, reopen=reopen)
    try:
        if start < end:
            await source.seek(start)
        await _transmit(request, response, source, start=start, end=end)
    finally:
        await source.close()
    return response


# --- conditions and ranges ----------------------------------------------------------------


def _may_proceed(request: web.Request, etag: str) -> bool:
    # RFC 9110 section 13.1.1: strong comparison; a tag that is sent as weak never matches.
    tags = request.headers.getall("If-Match", None)
    return tags is None or _names(",".join(tags), {etag})


def _is_unchanged(request: web.Request, etag: str) -> bool:
    # RFC 9110 section 13.1.2: weak comparison.
    tags = request.headers.getall("If-None-Match", ())
    return _names(",".join(tags), {etag, f"W/{etag}"})


def _names(value: str, tags: set[str]) -> bool:
    """Tell whether a list names one of these tags, or is a star.

    Others' tags may hold commas and come apart here; ours has none, and no tag holds quotes.
    """
    items = {item.strip(" \t") for item in value.split(",")}
    return items == {"*"} or not tags.isdisjoint(items)


def _asked_range(request: web.Request, etag: str) -> str | None:
    """Give the `Range` that is to be looked at, if any."""
    ranges = request.headers.getall("Range", [])
    if len(ranges) != 1:
        return None
    # RFC 9110 section 13.1.5: a strong match or the whole. A date never matches, for no
    # `Last-Modified` is sent.
    conditions = request.headers.getall("If-Range", [etag])
    return ranges[0] if [item.strip(" \t") for item in conditions] == [etag] else None


def parse_range(value: str | None, length: int) -> tuple[int, int] | None:
    """Read a `Range` against an upload of `length` bytes: first byte, and the one after the last.

    None, the whole upload, for what RFC 9110 section 14.2 lets a server ignore: other units,
    malformed ranges, several ranges, and the end of nothing. Raises: RangeNotSatisfiable.
    """
    unit, _, listed = (value or "").partition("=")
    specs = [spec for item in listed.split(",") if (spec := item.strip(" \t"))]
    if unit.lower() != "bytes" or len(specs) != 1:
        return None
    match = _RANGE.fullmatch(specs[0])
    if match is None or not any(match.groups()):
        return None
    if not match[1]:
        return _suffix(_position(match[2]), length)
    first = _position(match[1])
    last = _position(match[2]) if match[2] else MAX_INTEGER
    if last < first:
        return None
    if first >= length:
        raise RangeNotSatisfiable(length)
    return first, min(last + 1, length)


def _suffix(count: int, length: int) -> tuple[int, int] | None:
    if not count:
        raise RangeNotSatisfiable(length)
    # Satisfiable by RFC 9110 section 14.1.2, but no Content-Range can say so.
    return (max(0, length - count), length) if length else None


def _position(digits: str) -> int:
    """Read digits; more of them than any upload has bytes are as good as the largest number."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _MAX_DIGITS else MAX_INTEGER


# --- the bytes ----------------------------------------------------------------------------


class _Source:
    """The bytes of an upload in files laid end to end, one of them open at a time."""

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        reopen: Callable[[], Awaitable[Sequence[Segment]]],
    ) -> None:
        self._reopen: Callable[[], Awaitable[Sequence[Segment]]] | None = reopen
        self._file: FileIO | None = None
        self._start = self._end = 0
        self._lay(segments)

    def _lay(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._ends = list(accumulate(segment.length for segment in segments))

    async def seek(self, position: int) -> tuple[FileIO, int, int]:
        """Give the file that holds a byte, the byte's offset in it, and the bytes from there on.

        Raises: UploadNotFound, StorageFault, and what `reopen` raises.
        """
        while self._file is None or not self._start <= position < self._end:
            await self.close()
            # The first that ends beyond the position: empty segments are passed over.
            index = bisect_right(self._ends, position)
            if index == len(self._ends):
                raise StorageFault("The files hold fewer bytes than the record says.")
            segment = self._segments[index]
            try:
                self._file = await _open(segment.path, segment.length)
            except FileNotFoundError as exc:
                if self._reopen is None:
                    raise UploadNotFound from exc
                reopen, self._reopen = self._reopen, None
                self._lay(await reopen())
                continue
            except OSError as exc:
                raise StorageFault(f"{segment.path.name} cannot be read: {exc.strerror}") from exc
            self._start, self._end = self._ends[index] - segment.length, self._ends[index]
        return self._file, position - self._start, self._end - position

    async def close(self) -> None:
        """Close the open file; one that was deleted in a thread: its blocks are freed then."""
        file, self._file = self._file, None
        if file is None:
            return
        if os.fstat(file.fileno()).st_nlink:
            file.close()
        else:
            closing = asyncio.get_running_loop().run_in_executor(None, file.close)
            await asyncio.shield(closing)


async def _open(path: Path, length: int) -> FileIO:
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, _open_file, path, length)

    def close_unused(opened: asyncio.Future[FileIO]) -> None:
        if opened.exception() is None:
            _ = loop.run_in_executor(None, opened.result().close)

    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(close_unused)
        raise


def _open_file(path: Path, length: int) -> FileIO:
    """Open a file that must hold `length` bytes. Blocks: call in a thread."""
    with ExitStack() as on_failure:
        file = on_failure.enter_context(path.open("rb", buffering=0))
        if os.fstat(file.fileno()).st_size < length:
            raise StorageFault(f"{path.name} is shorter than the record says.")
        os.posix_fadvise(file.fileno(), 0, length, os.POSIX_FADV_SEQUENTIAL)
        on_failure.pop_all()
    return file


async def _transmit(
    request: web.Request,
    response: web.StreamResponse,
    source: _Source,
    *,
    start: int,
    end: int,
) -> None:
    """Send head and bytes; abort the connection when they do not get out whole."""
    transport = request.transport
    is_whole = False
    try:
        await response.prepare(request)
    except ConnectionError:
        _abort(response, transport)
        return
    try:
        await _send(request, response, source, start=start, end=end)
        await response.write_eof()
        is_whole = True
    except (ConnectionError, TimeoutError):
        logger.debug("GET %s: the client went away", request.path)
    except (TusError, OSError) as exc:
        logger.error("GET %s: broke off, the connection was aborted: %s", request.path, exc)  # noqa: TRY400
    finally:
        # Also when cancelled: nobody may write an error, or another answer, after half a body.
        if not is_whole:
            _abort(response, transport)


def _abort(response: web.StreamResponse, transport: asyncio.Transport | None) -> None:
    response.force_close()
    if transport is not None:
        transport.abort()


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    source: _Source,
    *,
    start: int,
    end: int,
) -> None:
    by_kernel = True
    position = start
    while position < end:
        file, offset, available = await source.seek(position)
        count = min(TURN, available, end - position)
        sent = await _splice(request, file, offset=offset, count=count) if by_kernel else None
        if sent is None:
            by_kernel = False
            data = await asyncio.to_thread(_read, file, offset, min(count, CHUNK))
            await response.write(data)
            sent = len(data)
        if not sent:
            raise StorageFault("A file became shorter than the record says.")
        position += sent
        note_sent(sent)
        if position < end:
            await asyncio.sleep(0)


async def _splice(request: web.Request, file: FileIO, *, offset: int, count: int) -> int | None:
    """Send a turn's bytes by sendfile and give how many; None if that cannot be done here."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("connection lost")
    if not _is_cached(file.fileno(), offset, count):
        count = min(count, CHUNK)
        await asyncio.to_thread(_read, file, offset, count)
    sent = _send_now(transport, file, offset=offset, count=count)
    if sent < count:
        left = min(count - sent, CHUNK)
        loop = asyncio.get_running_loop()
        try:
            sent += await loop.sendfile(transport, file, offset + sent, left, fallback=False)
        except RuntimeError:
            # TLS, another loop (NotImplementedError), a file system without sendfile
            # (SendfileNotAvailableError), or a closing transport, which write() will tell: in
            # each case nothing more of this was sent.
            if not sent:
                return None
    request.writer.output_size += sent  # what the access log shows
    return sent


def _send_now(transport: asyncio.Transport, file: FileIO, *, offset: int, count: int) -> int:
    """Put into the socket what it takes at once; 0 where that is not known to be right.

    The loop's own way begins and ends with the transport, which costs more than 256 KiB do. It is
    right beside the transport while that has nothing to write, and nobody else writes before the
    answer has ended. What is wrong with the socket or the file is found again by that way.
    """
    if transport.is_closing() or transport.get_write_buffer_size():
        return 0
    end = transport.get_extra_info("socket")
    is_plain = end is not None and transport.get_extra_info("sslcontext") is None
    if not is_plain or not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        return 0
    try:
        return os.sendfile(end.fileno(), file.fileno(), offset, count)
    except OSError:
        return 0


def _is_cached(descriptor: int, offset: int, count: int) -> bool:
    """Tell whether bytes are likely in memory, so that sendfile will not wait for the disk.

    Never waits itself. Where the file system cannot tell, they are not.
    """
    byte = [bytearray(1)]
    try:
        for place in (*range(offset, offset + count, CHUNK), offset + count - 1):
            if not os.preadv(descriptor, byte, place, os.RWF_NOWAIT):
                return False
    except OSError:
        return False
    return True


def _read(file: FileIO, offset: int, count: int) -> bytes:
    """Read a chunk, and have the kernel fetch what follows. Blocks: call in a thread."""
    os.posix_fadvise(file.fileno(), offset, READ_AHEAD, os.POSIX_FADV_WILLNEED)
    return os.pread(file.fileno(), count, offset)
