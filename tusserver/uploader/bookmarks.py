"""Where unfinished uploads are, so that another run goes on with them (floor 5).

One small file for each pair of file and creation URL, in the user's state directory, readable by
the user only. Its lock is held while the file is sent, so that two runs do not take the upload
from each other; the kernel frees it when a run dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tusserver.uploader.faults import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIFE = 90 * 86_400
"""Seconds after which an upload that nobody went on with is forgotten."""
_LARGEST = 1 << 24


@dataclass(slots=True)
class Part:
    """One upload resource that holds bytes of a file, from `start` up to `end`."""

    start: int
    end: int
    url: str | None = None


@dataclass(slots=True)
class Bookmark:
    """What is known of the upload of one file; lives as long as its lock."""

    fd: int
    path: Path
    size: int
    mtime: int
    ctime: int
    """Tells what keeps the time of the last change: another file that is put in its place."""
    parts: list[Part] = field(default_factory=list)
    changed: bool = False
    """Whether an earlier run sent another version of the file."""

    def save(self) -> None:
        """Write it down. Blocks, shortly."""
        parts = [[part.start, part.end, part.url] for part in self.parts]
        told = {"size": self.size, "mtime_ns": self.mtime, "ctime_ns": self.ctime, "parts": parts}
        text = json.dumps(told).encode()
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))

    def forget(self) -> None:
        """Remove it: the upload is finished, or of no use."""
        self.parts = []
        self.path.unlink(missing_ok=True)

    def begin_anew(self) -> None:
        """Forget the URLs, and keep the lock."""
        self.parts = []
        self.save()


def state_folder(environ: Mapping[str, str]) -> Path:
    """Give the user's folder for what programs remember (XDG base directories)."""
    given = Path(environ.get("XDG_STATE_HOME", ""))
    root = given if given.is_absolute() else Path.home() / ".local" / "state"
    return root / "tusserver" / "uploads"


@contextmanager
def bookmark(folder: Path, file: Path, endpoint: str, found: os.stat_result) -> Iterator[Bookmark]:
    """Open what is kept about a file and hold its lock. Raises: Trouble, OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _prune(folder)
    named = json.dumps([str(file.resolve()), endpoint]).encode()
    path = folder / f"{hashlib.sha256(named).hexdigest()}.json"
    fd = _locked(path)
    try:
        mark = Bookmark(fd, path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        _read(mark)
        yield mark
    finally:
        if os.fstat(fd).st_size == 0:
            path.unlink(missing_ok=True)
        os.close(fd)


def _locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise Trouble("another run is sending this file to the same place") from None
        if os.fstat(fd).st_nlink:  # Nobody removed it before it was locked.
            return fd
        os.close(fd)


def _read(mark: Bookmark) -> None:
    """Take over what an earlier run wrote, if it is about this version of the file."""
    with suppress(ValueError, KeyError, TypeError):  # Something else, or torn by a power cut.
        told: Any = json.loads(os.pread(mark.fd, _LARGEST, 0))
        if not told["parts"]:
            return
        version = told["size"], told["mtime_ns"], told["ctime_ns"]
        if version != (mark.size, mark.mtime, mark.ctime):
            mark.changed = True
            return
        parts = [Part(int(start), int(end), url) for start, end, url in told["parts"]]
        ends = [0, *(part.end for part in parts)]
        if [part.start for part in parts] == ends[:-1] and ends[-1] == mark.size:
            mark.parts = parts


def _prune(folder: Path) -> None:
    limit = time.time() - LIFE
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if path.stat().st_mtime < limit:
                path.unlink()
