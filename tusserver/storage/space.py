"""Space on the disk: reserved before bytes arrive, and never all of it (floor 4; fallocate(2))."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

from tusserver.errors import MaxSizeExceeded, StorageFull
from tusserver.storage.files import allocate, free_space, write_temporary
from tusserver.upload import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from tusserver.upload import Upload

logger = logging.getLogger(__name__)

SMALL = 1024 * 1024
"""Bytes that every file system can address, and whose reservation takes no time to speak of."""
AHEAD = 64 * 1024 * 1024
"""Bytes reserved ahead of an upload whose length is not known."""

_TOO_LONG = frozenset({errno.EFBIG, errno.EINVAL})


def first_reservation(upload: Upload, max_size: int | None = None) -> int:
    """Give the bytes to reserve for a new upload, which may hold at most `max_size`."""
    if upload.length is not None:
        return upload.length
    # What a final upload of unknown length needs is known when its parts are complete.
    if upload.kind is Kind.FINAL:
        return 0
    return AHEAD if max_size is None else min(AHEAD, max_size)


class Space:
    """The free space of one store's file system. Its methods block and raise OSError too."""

    def __init__(self, root: Path, *, reserve: int, file_system: str) -> None:
        """Keep `reserve` bytes free; `file_system` is its name in messages."""
        self._root = root
        self._reserve = reserve
        self._file_system = file_system
        self.can_allocate = True
        """Whether blocks can be reserved; found out by trying."""

    def probe(self, directory: Path) -> None:
        """Find out whether blocks can be reserved, by a small file that is removed again."""
        temporary = write_temporary(directory / "probe", b"", mode=0o600, sync=False)
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._allocate(descriptor, 0, 1)
            except OSError as exc:
                # A full disk is told to who asks for space, not to who starts the server.
                logger.warning("%s: no space could be reserved: %s", directory, exc.strerror)
            finally:
                os.close(descriptor)
        finally:
            temporary.unlink(missing_ok=True)

    def check(self, needed: int) -> None:
        """Raise StorageFull if `needed` more bytes would touch the reserve."""
        free = free_space(self._root)
        if free - needed < self._reserve:
            logger.warning(
                "%s: %d bytes are asked for, %d are free and %d of them are never given away: "
                "free some space or lower the reserve",
                self._root,
                needed,
                free,
                self._reserve,
            )
            raise StorageFull

    def reserve_new(self, descriptor: int, length: int) -> None:
        """Reserve a new file's bytes; the file is `length` bytes long then.

        Raises: MaxSizeExceeded (more than the file system can address), StorageFull.
        """
        if self.can_allocate and 0 < length <= SMALL:
            # Any file system can address that, and the file grows as its blocks are reserved.
            self._take(descriptor, 0, length, size=0)
            return
        try:
            # Needs no space, so it tells "can never be" apart from "not at the moment".
            os.ftruncate(descriptor, length)
        except (OSError, OverflowError) as exc:
            if isinstance(exc, OSError) and exc.errno not in _TOO_LONG:
                raise
            raise MaxSizeExceeded(None) from exc
        self.extend(descriptor, 0, length)

    def extend(self, descriptor: int, reserved: int, end: int) -> None:
        """Reserve the bytes from `reserved` to `end`; nothing of them on failure.

        Raises: StorageFull.
        """
        if end > reserved:
            self._take(descriptor, reserved, end, size=os.fstat(descriptor).st_size)

    def _take(self, descriptor: int, reserved: int, end: int, *, size: int) -> None:
        self.check(end - reserved)
        try:
            if not self._allocate(descriptor, reserved, end - reserved):
                os.ftruncate(descriptor, max(size, end))
            # Whoever reserved at the same time may have passed the same check.
            self.check(0)
        except BaseException:
            os.ftruncate(descriptor, reserved)
            raise

    def _allocate(self, descriptor: int, offset: int, count: int) -> bool:
        if not self.can_allocate:
            return False
        if allocate(descriptor, offset, count):
            return True
        self.can_allocate = False
        logger.warning(
            "%s: the file system %s cannot reserve space (fallocate): a disk that fills up is "
            "noticed while an upload arrives, not at its creation; ext4, xfs, btrfs and tmpfs can",
            self._root,
            self._file_system,
        )
        return False
