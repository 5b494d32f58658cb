"""Notes that final uploads need their parts: one empty file each (floor 4).

`.tusserver/pins/<part>/<final>`. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tusserver.storage.files import (
    PRIVATE_DIRECTORY_MODE,
    PRIVATE_MODE,
    make_directory,
    sync_directory,
)
from tusserver.upload import UploadId, is_upload_id

if TYPE_CHECKING:
    from pathlib import Path


def pin(root: Path, part_id: UploadId, final_id: UploadId, *, sync: bool) -> None:
    """Note that `final_id` needs `part_id`. Raises: OSError."""
    directory = root / part_id
    while True:
        make_directory(directory, mode=PRIVATE_DIRECTORY_MODE)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            os.close(os.open(directory / final_id, flags, PRIVATE_MODE))
            if sync:
                sync_directory(directory)
        except FileNotFoundError:
            continue  # Another process took the last note back, and the directory with it.
        return


def unpin(root: Path, part_id: UploadId, final_id: UploadId) -> None:
    """Take a note back; do nothing if it is gone. Raises: OSError."""
    directory = root / part_id
    (directory / final_id).unlink(missing_ok=True)
    with suppress(OSError):  # Other finals may need the part as well.
        directory.rmdir()


def pins(root: Path, part_id: UploadId) -> tuple[UploadId, ...]:
    """Name the finals that need a part, in order. Raises: OSError."""
    try:
        names = [entry.name for entry in (root / part_id).iterdir()]
    except FileNotFoundError:
        return ()
    return tuple(UploadId(name) for name in sorted(names) if is_upload_id(name))
