"""What a failing disk means (floor 4): errno to our errors, with a log line and a remedy.

Every OSError that leaves this folder goes through here, so that each one is logged once, with
the path it happened on and what the operator can do about it.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from tusserver.errors import MaxSizeExceeded, StorageFault, StorageFull, TusError
from tusserver.storage.ledger import LedgerError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tusserver.ports import Holder
    from tusserver.upload import UploadId

logger = logging.getLogger(__name__)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_REMEDIES = {
    errno.EIO: "the disk or its connection fails: check the kernel's log and the disk's health",
    errno.EROFS: "the file system is read-only: it was mounted so, or an error made it so",
    errno.EACCES: "give the server's user the right to read and write there",
    errno.EPERM: "give the server's user the right to read and write there",
    errno.EMFILE: "the process has too many open files: raise its limit (ulimit -n)",
    errno.ENFILE: "the machine has too many open files: raise fs.file-max",
    errno.ESTALE: "the network file system lost the file: mount it again",
    errno.ENOENT: "it was removed by another program: look for who deletes files there",
    errno.ELOOP: "a symbolic link stands where a file of ours belongs: remove it",
}


def translate(exc: OSError, path: Path | str, doing: str) -> TusError:
    """Give our error for the kernel's, and log what happened to which path."""
    if exc.errno in FULL:
        logger.warning(
            "no space for %s %s (%s): free some, raise the quota or use a larger disk",
            doing,
            path,
            exc.strerror,
        )
        return StorageFull()
    if exc.errno == errno.EFBIG:
        logger.warning("%s %s: larger than its file system or the process may make it", doing, path)
        return MaxSizeExceeded(None)
    remedy = _REMEDIES.get(exc.errno or 0, "check the disk and the kernel's log")
    logger.error("%s %s failed (%s): %s", doing, path, exc.strerror or exc, remedy)
    return StorageFault()


class translated:  # noqa: N801 - used like a function
    """Turn an OSError of the block into ours.

    Raises: StorageFull, StorageFault, MaxSizeExceeded; the OSError stays as the cause.
    """

    __slots__ = ("_doing", "_lost", "_path")

    def __init__(self, path: Path | str, doing: str, *, lost: bool = False) -> None:
        """Say in the log what was done to which path.

        `lost`: bytes are lost by it, be it for lack of space, which thin volumes and file servers
        may find late: always StorageFault.
        """
        self._path = path
        self._doing = doing
        self._lost = lost

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Look at what ended it."""
        if error is None:
            return
        if isinstance(error, OSError):
            ours = translate(error, self._path, self._doing)
            raise (StorageFault() if self._lost else ours) from error
        if isinstance(error, LedgerError):
            logger.error("%s %s failed: %s", self._doing, self._path, error)
            raise StorageFault from error


def tell_locked(upload_id: UploadId, holder: Holder | None, timeout: float) -> None:
    """Log who did not let go in `timeout` seconds; nothing for those who did not wait."""
    if timeout <= 0:
        return
    if holder is None:
        logger.warning("upload %s: somebody holds it and left no name", upload_id)
        return
    logger.warning(
        "upload %s: process %d holds it since %s and did not let go in %.1f s; if it is stopped or "
        "its disk hangs, end it: its lock is freed at once",
        upload_id,
        holder.pid,
        holder.since.isoformat(timespec="seconds"),
        timeout,
    )
