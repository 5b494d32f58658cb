"""Sends files, one after the other, each in one part or in several at once (floor 5)."""

from __future__ import annotations

import asyncio
import enum
import mimetypes
import os
import sys
import threading
from contextlib import closing, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.protocol.headers import format_metadata
from tusserver.uploader.bookmarks import Part, bookmark
from tusserver.uploader.faults import Refused, Trouble, Unsupported, UploadFault, Vanished
from tusserver.uploader.order import ANY_ALGORITHM
from tusserver.uploader.patience import Patience
from tusserver.uploader.sending import WITH_CHECKSUM, Sender
from tusserver.uploader.source import CHECKSUMS, FileSource, MemorySource
from tusserver.uploader.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.uploader.bookmarks import Bookmark
    from tusserver.uploader.order import Order
    from tusserver.uploader.reporting import Reporter
    from tusserver.uploader.wire import Announced

STDIN = "-"
BEGINNINGS = 3
"""How often an upload is begun that the server loses."""
WINDOW = 8 * 1024 * 1024
"""Bytes of standard input that are held until the server has them, unless told."""


class Outcome(enum.Enum):
    """How one file ended."""

    DONE = "done"
    LATER = "later"
    """What kept it may pass; the next run goes on."""
    FAILED = "failed"


async def upload_all(order: Order, names: Sequence[str], reporter: Reporter) -> list[Outcome]:
    """Send files in their order; give how each ended.

    Raises: Unsupported, before anything is sent, if the server does not do what is asked for.
    Safe to cancel: another run goes on.
    """
    async with Wire(order) as wire:
        run = _Run(order, wire, reporter)
        try:
            await run.prepare(stdin=STDIN in names)
        except Unsupported:
            raise
        except UploadFault as fault:
            return [run.failed(name, fault) for name in names]
        return [await run.send(name) for name in names]


class _Run:
    """What all files of one run share."""

    def __init__(self, order: Order, wire: Wire, reporter: Reporter) -> None:
        self._order = order
        self._wire = wire
        self._reporter = reporter
        self._algorithm: str | None = None
        self._gave_up = False
        """Whether patience has ended: it is not had again for each of many files."""

    async def prepare(self, *, stdin: bool) -> None:
        """Find out whether the server can do what is asked for. Raises: UploadFault."""
        order = self._order
        if order.parts > 1 or order.algorithm is not None or stdin:
            announced = await self._patience().until_done(self._wire.announced)
            if order.parts > 1 and "concatenation" not in announced.extensions:
                raise Unsupported(
                    "--parallel: the server does not announce concatenation; leave it away"
                )
            if stdin and "creation-defer-length" not in announced.extensions:
                raise Unsupported(
                    "-: the server does not announce creation-defer-length, which standard input "
                    "needs; send a file"
                )
            if order.algorithm is not None:
                self._algorithm = _algorithm(order.algorithm, announced)

    async def send(self, name: str) -> Outcome:
        """Send one file, and tell how it ended."""
        try:
            url = await (self._send_stdin() if name == STDIN else self._send_file(name))
        except UploadFault as fault:
            return self.failed(name, fault)
        except OSError as error:
            reason = f"{error.filename or self._order.folder}: {error.strerror}"
            return self.failed(name, Refused(reason))
        self._gave_up = False
        self._reporter.finished(name, url)
        return Outcome.DONE

    def failed(self, name: str, fault: UploadFault) -> Outcome:
        """Tell that a file was not sent."""
        passing = isinstance(fault, Trouble)
        self._gave_up = passing
        self._reporter.failed(name, str(fault), passing=passing)
        return Outcome.LATER if passing else Outcome.FAILED

    def _patience(self) -> Patience:
        return Patience(0.0 if self._gave_up else self._order.patience, self._reporter.waits)

    # --- a file ---------------------------------------------------------------------------

    async def _send_file(self, name: str) -> str:
        path, order = Path(name), self._order
        with (
            closing(FileSource(path)) as source,
            bookmark(order.folder, path, order.endpoint, source.found) as mark,
        ):
            self._reporter.starts(name, mark.size)
            if mark.changed:
                self._reporter.notes("the file has changed since an earlier run: begins anew")
            if not mark.parts:
                mark.parts = _split(mark.size, order.parts)
            fields = {"Upload-Length": str(mark.size)} | self._metadata(path)
            url = await _Transfer(self, mark, source, fields).run()
            mark.forget()
            return url

    def _metadata(self, path: Path | None) -> dict[str, str]:
        known: dict[str, str] = {}
        if path is not None:
            # Bytes that are no text become question marks, which UTF-8 can tell.
            known["filename"] = os.fsencode(path.name).decode(errors="replace")
            kind = mimetypes.guess_type(path.name)[0]
            known |= {} if kind is None else {"filetype": kind}
        known |= self._order.metadata
        text = format_metadata({key: value.encode() for key, value in known.items()})
        return {"Upload-Metadata": text} if text else {}

    def sender(self, url: str, source: FileSource | MemorySource, patience: Patience) -> Sender:
        """Make what fills an upload."""
        chunk = self._order.chunk
        return Sender(
            wire=self._wire,
            patience=patience,
            url=url,
            source=source,
            chunk=WITH_CHECKSUM if chunk is None and self._algorithm is not None else chunk,
            algorithm=self._algorithm,
            at=self._reporter.at,
        )

    # --- standard input -------------------------------------------------------------------

    async def _send_stdin(self) -> str:
        self._reporter.starts(STDIN, None)
        patience, size = self._patience(), self._order.chunk or WINDOW
        fields = {"Upload-Defer-Length": "1"} | self._metadata(None)
        url = await patience.until_done(partial(self._wire.create, fields))
        patience.progress()
        self._reporter.created(url, parts=1)
        place, more = 0, True
        try:
            while more:
                data = await _read_stdin(size)
                more = len(data) == size
                sender = self.sender(url, MemorySource(place, data), patience)
                sender.kept_from = place
                await sender.fill(place, place + len(data), declare=not more)
                place += len(data)
        except Vanished as fault:
            raise Refused(f"{fault}, and what came from a pipe cannot be sent again") from None
        except Trouble as trouble:  # There is nothing to go on with for another run.
            raise Refused(f"{trouble}; what came from a pipe cannot be sent again") from None
        return url

    @property
    def wire(self) -> Wire:
        """Give the connections."""
        return self._wire

    @property
    def reporter(self) -> Reporter:
        """Give what is told of the progress."""
        return self._reporter

    def new_patience(self) -> Patience:
        """Give the patience for one part."""
        return self._patience()


class _Transfer:
    """One file on its way, in parts that are sent at the same time."""

    def __init__(
        self, run: _Run, mark: Bookmark, source: FileSource, fields: dict[str, str]
    ) -> None:
        self._run = run
        self._mark = mark
        self._source = source
        self._fields = fields
        self._places = [0] * len(mark.parts)

    async def run(self) -> str:
        """Send it; give the URL of the whole. Raises: UploadFault."""
        parts = self._mark.parts
        tasks = [asyncio.create_task(self._send(number)) for number in range(len(parts))]
        try:
            urls = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if len(urls) == 1:
            return urls[0]
        fields = {name: text for name, text in self._fields.items() if name != "Upload-Length"}
        fields["Upload-Concat"] = f"final;{' '.join(urls)}"
        create = partial(self._run.wire.create, fields)
        return await self._run.new_patience().until_done(create)

    async def _send(self, number: int) -> str:
        part = self._mark.parts[number]
        for _ in range(BEGINNINGS):
            try:
                return await self._go_on(number, part)
            except Vanished as fault:
                # Kept on disk until another is made: whoever may not see it now may do so later.
                part.url = None
                self._at(number, 0)
                self._run.reporter.notes(f"{fault}: begins anew")
        raise Refused("the server keeps losing the upload")

    async def _go_on(self, number: int, part: Part) -> str:
        patience, length, offset = self._run.new_patience(), part.end - part.start, 0
        if part.url is None:
            part.url = await patience.until_done(partial(self._run.wire.create, self._asked(part)))
            patience.progress()
            self._mark.save()
            self._run.reporter.created(part.url, parts=len(self._mark.parts))
        else:
            found = await patience.until_done(partial(self._run.wire.find, part.url))
            if found.length not in {None, length} or found.offset > length:
                raise Vanished("what the server has there is another upload")
            offset = found.offset
            self._run.reporter.resumes(part.url, offset, parts=len(self._mark.parts))
        self._at(number, offset)
        sender = self._run.sender(part.url, self._source, patience)
        sender.start = part.start
        sender.at = partial(self._at, number)
        await sender.fill(offset, length)
        return part.url

    def _asked(self, part: Part) -> dict[str, str]:
        if len(self._mark.parts) == 1:
            return self._fields
        return {"Upload-Concat": "partial", "Upload-Length": str(part.end - part.start)}

    def _at(self, number: int, place: int) -> None:
        self._places[number] = place
        self._run.reporter.at(sum(self._places))


def _split(size: int, count: int) -> list[Part]:
    """Cut a file into parts of about the same length, none of them empty."""
    count = max(1, min(count, size))
    edges = [size * number // count for number in range(count + 1)]
    return [Part(start, end) for start, end in pairwise(edges)]


def _algorithm(wanted: str, announced: Announced) -> str:
    there = announced.algorithms if "checksum" in announced.extensions else ()
    usable = [name for name in CHECKSUMS if name in there]
    if wanted == ANY_ALGORITHM and usable:
        return usable[0]
    if wanted in usable:
        return wanted
    offer = f"; there is {', '.join(usable)}" if usable else ""
    named = "a checksum that is known here" if wanted == ANY_ALGORITHM else wanted
    raise Unsupported(f"--checksum: the server does not announce {named}{offer}")


async def _read_stdin(size: int) -> bytes:
    """Read so many bytes of standard input, fewer only at its end. Raises: Refused."""
    if sys.stdin is None:  # It was closed; its number may be that of something else now.
        raise Refused("there is no standard input")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes | OSError) -> None:
        if done.cancelled():
            return
        if isinstance(data, OSError):
            done.set_exception(Refused(f"it cannot be read: {data.strerror}"))
        else:
            done.set_result(data)

    def read() -> None:
        try:
            data: bytes | OSError = _read_fully(sys.stdin.fileno(), size)
        except OSError as error:
            data = error
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(settle, data)

    # Not one of the loop's own threads: those are waited for at the end, and whoever writes into
    # the pipe may never do so again.
    threading.Thread(target=read, daemon=True).start()
    return await done


def _read_fully(fd: int, size: int) -> bytes:
    # Not through sys.stdin: the interpreter cannot end while a thread waits inside it.
    data = bytearray()
    while len(data) < size and (piece := os.read(fd, size - len(data))):
        data += piece
    return bytes(data)
