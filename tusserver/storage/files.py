"""System calls on files, one function each (floor 4).

Everything here blocks: call it in a thread, except where `pool.TimedWriter` says otherwise.
Only OSError is raised. Sources: fallocate(2), flock(2), copy_file_range(2), fsync(2),
sync_file_range(2), proc(5) "mountinfo".
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

DATA_MODE = 0o640
DIRECTORY_MODE = 0o750
PRIVATE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700
COPY_LIMIT = 32 * 1024 * 1024
"""Bytes that one step of a copy moves at most."""
READ_SIZE = 16 * 1024
TEMPORARY = ".tmp"
"""How the name of a file ends that is not under its final name yet."""

_NO_FALLOCATE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_NO_COPY_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_SYNC_RANGE = frozenset(
    {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ESPIPE}
)
_SYNC_FILE_RANGE_WRITE = 2
_SYNC_FILE_RANGE_ALL = 7

_libc = ctypes.CDLL(None, use_errno=True)
# glibc names the call with 64-bit offsets apart; musl has 64-bit offsets only.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_fallocate.restype = ctypes.c_int
_sync_file_range = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    _sync_file_range.restype = ctypes.c_int


def allocate(descriptor: int, offset: int, count: int) -> bool:
    """Reserve blocks for `count` bytes from `offset` on; the file grows to hold them.

    Gives False where the file system cannot: never the emulation that writes zeros.
    """
    while _fallocate(descriptor, 0, offset, count) != 0:
        number = ctypes.get_errno()
        if number == errno.EINTR:
            continue
        if number in _NO_FALLOCATE:
            return False
        raise OSError(number, os.strerror(number))
    return True


def lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file description if nobody else has; never wait."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Give the lock back, also for duplicates of the descriptor that are still open."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_locked(path: Path | str) -> bool:
    """Tell whether somebody holds the exclusive lock of a file; False if there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path | str) -> bool:
    """Tell whether the path still names the open file."""
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, whatever the kernel takes at a time."""
    written = os.pwrite(descriptor, data, offset)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        offset += written
        written = os.pwrite(descriptor, rest, offset)
        if written == 0:
            raise OSError(errno.EIO, "the kernel wrote nothing")
        rest = rest[written:]


def copy_range(source: int, target: int, *, count: int, at: int, to: int) -> int:
    """Copy up to `count` bytes inside the kernel; give the number, 0 at the end of the source.

    Moves the target's file position where copy_file_range is missing.
    """
    try:
        return os.copy_file_range(source, target, count, at, to)
    except OSError as exc:
        if exc.errno not in _NO_COPY_RANGE:
            raise
    os.lseek(target, to, os.SEEK_SET)
    return os.sendfile(target, source, at, count)


def sync_data(path: Path, descriptor: int) -> None:
    """Sync an open file's data and close it; open it first if `descriptor` is below 0."""
    if descriptor < 0:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def start_writing(descriptor: int, offset: int, count: int) -> bool:
    """Have the kernel begin to write bytes to the disk; give False where that cannot be had.

    Promises nothing, and what fails is not told here: the sync that follows sees it, as it sees
    what the kernel writes by itself. Waits where the queue of the disk is full.
    """
    if _sync_file_range is None:
        return False
    if _sync_file_range(descriptor, offset, count, _SYNC_FILE_RANGE_WRITE) == 0:
        return True
    return ctypes.get_errno() not in _NO_SYNC_RANGE


def finish_writing(descriptor: int, offset: int, count: int) -> None:
    """Have bytes reach the disk and wait for it, without a sync; do nothing where that cannot be.

    Promises nothing either: neither the file's blocks nor the disk's own memory are seen to.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, count, _SYNC_FILE_RANGE_ALL)


def open_locked(path: Path) -> int | None:
    """Open and lock a file that only serves as a lock; None if somebody else has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, PRIVATE_MODE)
    if lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def close(descriptor: int | None) -> None:
    """Close a file, if it is one."""
    if descriptor is not None:
        os.close(descriptor)


def sync_directory(path: Path | str) -> int:
    """Put the names in a directory on the disk; give the directory's inode."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, mode: int) -> None:
    """Make a directory under one that is there, durably; do nothing if it is there."""
    while True:
        try:
            path.mkdir(mode=mode)
        except FileExistsError:
            if path.is_dir():
                return
            if os.path.lexists(path):
                raise
            continue  # It was removed since.
        sync_directory(path.parent)
        return


def write_temporary(path: Path, data: bytes, *, mode: int, sync: bool) -> Path:
    """Write a new file beside `path`, to be renamed to it; leave nothing behind on failure."""
    temporary = _beside(path)
    os.close(_write_new(temporary, data, mode=mode, sync=sync))
    return Path(temporary)


def put_file(path: Path | str, data: bytes, *, mode: int, sync: bool) -> int:
    """Put a whole file in the place of `path` at once, and give it, open for reading and writing.

    Readers see the old or the new one.
    """
    temporary = _beside(path)
    descriptor = _write_new(temporary, data, mode=mode, sync=sync)
    try:
        os.rename(temporary, path)  # noqa: PTH104 - a Path takes longer to make
    except BaseException:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        raise
    return descriptor


def write_file(path: Path, data: bytes, *, mode: int, sync: bool) -> None:
    """Put a whole file in the place of `path` at once; readers see the old or the new one."""
    os.close(put_file(path, data, mode=mode, sync=sync))


def _beside(path: Path | str) -> str:
    return f"{path}.{secrets.token_hex(4)}{TEMPORARY}"


def _write_new(name: str, data: bytes, *, mode: int, sync: bool) -> int:
    """Write a new file and give it open; leave nothing behind on failure."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, mode)
    try:
        write_all(descriptor, data, 0)
        if sync:
            os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 - a Path takes longer to make
        raise
    return descriptor


def read_file(path: Path | str) -> bytes | None:
    """Read a small file; None if there is none."""
    # Half the time of Path.read_bytes, and this is what every request begins with.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.read(descriptor, READ_SIZE)
        while more := os.read(descriptor, READ_SIZE):
            data += more
    finally:
        os.close(descriptor)
    return data


def remove_directory(path: Path) -> None:
    """Remove a directory of plain files; do nothing if it is gone."""
    with suppress(FileNotFoundError):
        for entry in path.iterdir():
            entry.unlink(missing_ok=True)
        path.rmdir()


def free_space(path: Path) -> int:
    """Give the bytes that an ordinary user can still write on the path's file system."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
