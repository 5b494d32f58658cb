"""Finished files under names of the operator's own (floor 4).

A hard link that never replaces anything; on another file system a copy, synced, then renamed
there, without replacing either. Directories are opened one below the other and never through a
symbolic link, so that no name leads out of the operator's directory.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import stat
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from tusserver.errors import MaxSizeExceeded, StorageFault
from tusserver.protocol.naming import fitting, published_path, split_name
from tusserver.storage.files import COPY_LIMIT, TEMPORARY, copy_range, sync_directory
from tusserver.storage.layout import Places
from tusserver.storage.pool import FilePool
from tusserver.storage.publications import (
    DONE,
    INTENT,
    NO_INODE,
    Page,
    Publication,
    PublicationBook,
)
from tusserver.storage.trouble import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tusserver.upload import Upload, UploadId

logger = logging.getLogger(__name__)

THREADS = 2
PATIENCE = 5.0
"""Seconds for which somebody else who publishes the same upload is waited for."""
PAUSE = 0.010
FOLDER_MODE = 0o755
BY_NUMBER = "number"
BY_ID = "id"
COLLISIONS = (BY_NUMBER, BY_ID)
"""What is added to a name that is taken: the next number, or the upload's id."""
MOST_NUMBERS = 1000
"""Numbers that are tried before the id is taken after all."""

# What link(2) says where there are no hard links, or not between these two places.
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})
_NO_REPLACE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class LinkPublisher:
    """A `Publisher` that links, or copies where it cannot link."""

    def __init__(
        self,
        upload_dir: Path,
        directory: Path,
        *,
        template: str,
        collision: str,
        mode: int | None,
        sync: bool,
    ) -> None:
        """Publish below `directory`; `sync`: what is published is on the disk afterwards.

        `mode` is given to the published file, and so to the upload's own where it is a link.
        """
        self._directory = directory
        self._template = template
        self._collision = collision
        self._mode = mode
        self._sync = sync
        self._book = PublicationBook(Places(upload_dir).private / "published")
        self._pool = FilePool(THREADS, "publishing")
        self._stopping = threading.Event()

    async def open(self) -> None:
        """Make the operator's directory if it is missing. Raises: StorageFault."""
        with translated(self._directory, "making"):
            await self._pool.run(self._open)

    async def publish(self, upload: Upload, data: Path) -> str:
        """Publish a finished file; see `Publisher.publish`."""
        try:
            with translated(self._directory, "publishing in"):
                return await self._wait_and_publish(upload, data)
        except MaxSizeExceeded as exc:
            # The other file system's limit: no fault of whoever finished, or removes, the upload.
            raise StorageFault from exc

    async def _wait_and_publish(self, upload: Upload, data: Path) -> str:
        deadline = time.monotonic() + PATIENCE
        while True:
            path = await self._pool.run(partial(self._publish, upload, data))
            if path is not None:
                return path
            if time.monotonic() > deadline:
                raise StorageFault("The upload is being published: try again.")
            await asyncio.sleep(PAUSE)

    async def published(self, upload_id: UploadId) -> str:
        """Tell where an upload was published; empty if it was not."""
        with translated(self._directory, "reading what was published in"):
            found = await self._pool.run(partial(self._book.read, upload_id))
        return "/".join(found.path) if found is not None and found.step == DONE else ""

    async def forget(self, upload_id: UploadId) -> None:
        """Drop the note about an upload that is removed; what was published stays."""
        with translated(self._directory, "forgetting what was published in"):
            await self._pool.run(partial(self._book.forget, upload_id))

    def stop(self) -> None:
        """Break off what takes long; it begins anew after the next start."""
        self._stopping.set()

    async def close(self) -> None:
        """Wait for what is being published."""
        self.stop()
        await self._pool.close()

    # --- in a thread ---------------------------------------------------------------------

    def _open(self) -> None:
        # Only at the start: were it made anew whenever it is missing, the files of a disk that
        # is not mounted would end below its mount point.
        if not self._directory.is_dir():
            self._directory.mkdir(parents=True, mode=FOLDER_MODE)
            sync_directory(self._directory.parent)

    def _publish(self, upload: Upload, data: Path) -> str | None:
        """Publish; None while somebody else does."""
        with self._book.page(upload.upload_id, sync=self._sync) as page:
            if page is None:
                return None
            last = page.last
            if last is None or last.step != DONE:
                path = self._settle(upload, data, page)
                if path is None:
                    return ""
                page.write(Publication(DONE, path, NO_INODE), sync=self._sync)
                logger.info("upload %s: published as %s", upload.upload_id, "/".join(path))
                return "/".join(path)
            return "/".join(last.path)

    def _settle(self, upload: Upload, data: Path, page: Page) -> tuple[str, ...] | None:
        """Give the file its name, the one that was written down if it has it already.

        None when there is no file any more: a lost upload can still be told of, and removed.
        """
        last = page.last
        if last is not None:
            with self._folder(last.path[:-1]) as folder:
                if self._let_go(upload, folder, page):
                    if self._sync:
                        os.fsync(folder)
                    return last.path
        if not data.exists():
            logger.error("upload %s: its file is gone, it cannot be published", upload.upload_id)
            if page.last is None:
                self._book.forget(upload.upload_id)
            return None
        *folders, name = published_path(self._template, upload)
        with (
            self._folder(tuple(folders)) as folder,
            self._source(upload, data, folder, page) as (temporary, inode),
        ):
            for candidate in self._candidates(upload, name):
                if _is_taken(folder, candidate):
                    continue
                path = (*folders, candidate)
                page.write(Publication(INTENT, path, inode), sync=self._sync)
                if _name(temporary, candidate, folder):
                    if self._sync:
                        os.fsync(folder)
                    return path
        raise StorageFault

    @contextmanager
    def _source(
        self, upload: Upload, data: Path, folder: int, page: Page
    ) -> Iterator[tuple[str, tuple[int, int]]]:
        """Give the file to name: the upload's own, or a copy of it beside the target."""
        temporary = _temporary(upload)
        _drop(folder, temporary)
        try:
            try:
                # Whether a link can be made is found out by making one.
                os.link(data, temporary, dst_dir_fd=folder)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                self._copy(data, temporary, folder, upload.offset)
            if self._mode is not None:
                # Before it has its name: programs may take it away as soon as it has.
                _give_mode(folder, temporary, self._mode)
            yield temporary, _inode(folder, temporary)
        finally:
            self._let_go(upload, folder, page)

    def _let_go(self, upload: Upload, folder: int, page: Page) -> bool:
        """Drop the temporary name; tell whether the file has the name that is written down.

        While it is not noted that it has not, it is kept, and with it its number.
        """
        last = page.last
        named = last is not None and _is_file(folder, last.path[-1], last.inode)
        if last is not None and last.inode != NO_INODE and not named:
            page.void(sync=self._sync)
        _drop(folder, _temporary(upload))
        return named

    def _copy(self, data: Path, temporary: str, folder: int, length: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        source = os.open(data, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            mode = stat.S_IMODE(os.fstat(source).st_mode)
            target = os.open(temporary, flags, mode, dir_fd=folder)
            try:
                done = 0
                while done < length:
                    if self._stopping.is_set():
                        raise StorageFault("The server is stopping: it is published later.")
                    room = min(COPY_LIMIT, length - done)
                    moved = copy_range(source, target, count=room, at=done, to=done)
                    if moved == 0:
                        raise OSError(errno.EIO, "the file is shorter than its record says")
                    done += moved
                if self._sync:
                    os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _candidates(self, upload: Upload, name: str) -> Iterator[str]:
        """Give the names to try, in their order."""
        yield name
        given = split_name(name)
        if self._collision == BY_NUMBER:
            for number in range(2, MOST_NUMBERS + 1):
                yield str(fitting(given, tail=f" ({number})"))
        yield str(fitting(given, tail=f"-{upload.upload_id}"))
        for number in count(2):
            yield str(fitting(given, tail=f"-{upload.upload_id} ({number})"))

    @contextmanager
    def _folder(self, components: tuple[str, ...]) -> Iterator[int]:
        """Open a directory below the operator's, made where it is missing."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        current = os.open(self._directory, flags)
        try:
            for component in components:
                with suppress(FileExistsError):
                    os.mkdir(component, FOLDER_MODE, dir_fd=current)
                    if self._sync:
                        os.fsync(current)
                below = os.open(component, flags | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)


def _give_mode(folder: int, name: str, mode: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _temporary(upload: Upload) -> str:
    return f".{upload.upload_id}{TEMPORARY}"


def _name(temporary: str, name: str, folder: int) -> bool:
    """Give a file its final name beside the temporary one; False if that is taken by now."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return _rename(temporary, name, folder)
    return True


def _rename(temporary: str, name: str, folder: int) -> bool:
    """Rename without replacing, where the file system has no hard links (renameat2(2))."""
    done = _libc.renameat2(
        folder, os.fsencode(temporary), folder, os.fsencode(name), ctypes.c_uint(_NO_REPLACE)
    )
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    raise OSError(number, os.strerror(number))


def _inode(folder: int, name: str) -> tuple[int, int]:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return found.st_dev, found.st_ino


def _is_file(folder: int, name: str, inode: tuple[int, int]) -> bool:
    try:
        return _inode(folder, name) == inode
    except FileNotFoundError:
        return False


def _is_taken(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _drop(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
