"""Which path each finished upload was published at, written down before and after (floor 4).

`.tusserver/published/<id>`: lines of JSON, each with its CRC; the last whole one holds. `intent`
is durable before a name is made, `done` follows it: so a crash in between leaves one path, never
two. The file's lock keeps two processes from publishing one upload at the same time. All of this
blocks: call it in a thread.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.storage.files import (
    PRIVATE_DIRECTORY_MODE,
    close,
    is_at,
    make_directory,
    open_locked,
    sync_directory,
    write_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tusserver.upload import UploadId

INTENT = "intent"
DONE = "done"
NO_INODE = (0, 0)
MAX_BYTES = 256 * 1024
"""Far more than all lines of one upload take."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is written down of one upload."""

    step: str
    """`intent` or `done`."""
    path: tuple[str, ...]
    """The components below the operator's directory."""
    inode: tuple[int, int]
    """Device and number of the file that is to get, or got, that name: proof that it is ours."""


class Page:
    """The locked page of one upload."""

    def __init__(self, descriptor: int) -> None:
        """Read what stands there."""
        self._descriptor = descriptor
        data = os.pread(descriptor, MAX_BYTES, 0)
        self._end = len(data)
        self.last = _last(data)
        """The last whole entry, if there is any."""

    def write(self, publication: Publication, *, sync: bool) -> None:
        """Add an entry; with `sync` it is on the disk."""
        fields = {
            "step": publication.step,
            "path": publication.path,
            "inode": publication.inode,
        }
        line = json.dumps(fields, separators=(",", ":")).encode("ascii")
        # A line of its own also after a torn one.
        entry = b"\n%s crc=%08x\n" % (line, zlib.crc32(line))
        write_all(self._descriptor, entry, self._end)
        self._end += len(entry)
        if sync:
            os.fdatasync(self._descriptor)
        self.last = publication

    def void(self, *, sync: bool) -> None:
        """Say that the file which was to get the last name has not got it, and goes.

        Its number will be another file's: that one must not be taken for ours.
        """
        if self.last is not None and self.last.step == INTENT:
            self.write(Publication(INTENT, self.last.path, NO_INODE), sync=sync)


class PublicationBook:
    """The pages of a store."""

    def __init__(self, folder: Path) -> None:
        """Keep them in this folder, made with the first page."""
        self._folder = folder

    @contextmanager
    def page(self, upload_id: UploadId, *, sync: bool) -> Iterator[Page | None]:
        """Hold the page of an upload; None while another process holds it."""
        make_directory(self._folder, mode=PRIVATE_DIRECTORY_MODE)
        path = self._folder / upload_id
        descriptor = open_locked(path)
        try:
            if descriptor is None or not is_at(descriptor, path):
                yield None  # Taken, or forgotten in this moment: who asks comes again.
                return
            if sync:
                sync_directory(self._folder)
            yield Page(descriptor)
        finally:
            close(descriptor)

    def read(self, upload_id: UploadId) -> Publication | None:
        """Give the last entry of an upload's page without holding it."""
        try:
            descriptor = os.open(self._folder / upload_id, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return Page(descriptor).last
        finally:
            os.close(descriptor)

    def forget(self, upload_id: UploadId) -> None:
        """Drop the page of an upload that is removed; what was published stays."""
        (self._folder / upload_id).unlink(missing_ok=True)


def _last(data: bytes) -> Publication | None:
    for line in reversed(data.split(b"\n")):
        text, mark, crc = line.rpartition(b" crc=")
        if mark and crc == b"%08x" % zlib.crc32(text):
            fields = json.loads(text)
            device, number = fields["inode"]
            return Publication(fields["step"], tuple(fields["path"]), (device, number))
    return None
