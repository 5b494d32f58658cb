"""Metrics of several processes as one (floor 4): prometheus_client's multiprocess mode.

Each process counts in files of its own, mapped into memory; whoever is asked adds them all
up. What is added here to the library's way: a process takes a numbered *seat*, held by a lock
that its death frees, instead of naming its files after its process id. So a process that
takes the place of a dead one goes on counting where that ended: no counter falls, and no
files pile up. The files lie in memory (tmpfs) where that can be had, with their blocks
reserved: writing to a mapped file on a full disk kills the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory of the files to processes that share it, as the library does."""
PREFIX = "tusserver-metrics-"
NEW_PREFIX = "tusserver-new-metrics-"
PARENT = "parent.lock"
SEATS = 1024
ROOM = 256 * 1024
"""Bytes reserved for each file, several times what its metrics need."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - only directories of our own are made there
_FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemin")


def shared_directory() -> Path | None:
    """Give the directory that this process is to share with others; None for one alone."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


@contextmanager
def share() -> Iterator[None]:
    """Let the processes that are forked or started in this block count together.

    For their parent, in which it blocks: makes a private directory, names it in the environment,
    and removes it in the end, and with it what parents that were killed left behind. One that
    this process's environment names already, because it replaced itself, is used on. In forked
    processes, whose block ends too, nothing happens. Raises: OSError.
    """
    parent, before = os.getpid(), _inherited()
    # Forked processes hold the same lock: it is free when the last one has died.
    directory, lock = _make() if before is None else (before, _hold(before))
    os.environ[VARIABLE] = str(directory)
    try:
        yield
    finally:
        if os.getpid() == parent:
            os.environ.pop(VARIABLE, None)
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _inherited() -> Path | None:
    """Give the directory of an earlier life of this process."""
    directory = shared_directory()
    is_ours = directory is not None and directory.name.startswith(PREFIX)
    return directory if is_ours and directory is not None and directory.is_dir() else None


def _make() -> tuple[Path, int]:
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_left(left)
    made = Path(tempfile.mkdtemp(prefix=NEW_PREFIX, dir=place))
    lock = _hold(made)
    # Only now: what has this name and is not locked, others take for left behind.
    return made.rename(place / f"{PREFIX}{made.name.removeprefix(NEW_PREFIX)}"), lock


def _hold(directory: Path) -> int:
    """Say that a directory is in use; give the descriptor that says so while it is open."""
    descriptor = os.open(directory / PARENT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _remove_if_left(directory: Path) -> None:
    """Remove a directory of our own whose parent, and all its children, have died."""
    if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
        return
    lock = _lock(directory / PARENT)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def take_seat(directory: Path) -> int:
    """Take a free seat for this process until it dies; metrics made from now on use its files.

    Call before any metric is made, in the process that counts. Blocks.

    Raises: ConfigError when the directory cannot be used.
    """
    try:
        seat = _free_seat(directory)
        # What the dead one before us was doing, nobody does any more; what it did, was done.
        mark_process_dead(seat, str(directory))  # type: ignore[no-untyped-call]
        for name in _FILES:
            _reserve(directory / f"{name}_{seat}.db")
    except OSError as error:
        reason = f"{directory} cannot be used for metrics ({error.strerror})"
        raise ConfigError(VARIABLE, directory, reason) from error
    # The library chooses this class when it is imported, by the same variable.
    values.ValueClass = values.MultiProcessValue(lambda: seat)  # type: ignore[no-untyped-call]
    return seat


def _free_seat(directory: Path) -> int:
    for seat in range(SEATS):
        if _lock(directory / f"seat-{seat}.lock") is not None:
            return seat  # The descriptor stays open, and so the lock is held, until we die.
    raise OSError(0, f"all {SEATS} seats are taken")


def _lock(path: Path) -> int | None:
    """Lock a file, made if need be; give its descriptor, None when somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _reserve(path: Path) -> None:
    """Make a file of zeros whose blocks are there; one that holds counts stays as it is."""
    if path.exists():
        return
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # Where blocks cannot be reserved, a sparse file has to do.
            os.posix_fallocate(descriptor, 0, ROOM)
        os.ftruncate(descriptor, ROOM)
    finally:
        os.close(descriptor)
    # Whoever adds up meanwhile must never find a file without a head.
    temporary.rename(path)


def collected(directory: Path) -> CollectorRegistry:
    """Give a registry that adds up the files of all processes."""
    for seat in count():
        path = directory / f"seat-{seat}.lock"
        if not path.exists():
            break
        if (lock := _lock(path)) is not None:
            # Its process died and no other has come yet: it serves no longer.
            mark_process_dead(seat, str(directory))  # type: ignore[no-untyped-call]
            os.close(lock)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    return registry
