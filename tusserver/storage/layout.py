"""Where things lie in an upload directory (floor 4; docs/architecture.md, "On disk").

Every name is made of an upload id of ours: 32 hexadecimal digits. No path comes from a client.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.errors import ConfigError
from tusserver.storage.files import (
    DIRECTORY_MODE,
    PRIVATE_DIRECTORY_MODE,
    make_directory,
    sync_directory,
)
from tusserver.upload import UploadId, is_upload_id

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = ".meta"
"""How the name of a ledger ends."""


class Names:
    """Puts the names of uploads' files on the disk, and those of the directories they are in."""

    def __init__(self) -> None:
        """Believe of no directory yet that its own name is there."""
        self._known: set[int] = set()
        """The inodes of those of which it is."""

    def sync(self, path: str) -> None:
        """Put the name of a file and all names above it on the disk. Blocks. Raises: OSError."""
        shard = os.path.dirname(path)  # noqa: PTH120 - it is text
        inode = sync_directory(shard)
        # Whoever made the directory, perhaps another process, may not have come to this yet.
        if inode not in self._known:
            sync_directory(os.path.dirname(shard))  # noqa: PTH120 - it is text
            self._known.add(inode)


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one store."""

    root: Path

    @property
    def private(self) -> Path:
        """Give the directory of what is not an upload."""
        return self.root / ".tusserver"

    @property
    def identity(self) -> Path:
        """Give the file that names the store."""
        return self.private / "store.json"

    @property
    def run(self) -> Path:
        """Give the directory of the workers' sockets."""
        return self.private / "run"

    @property
    def pins(self) -> Path:
        """Give the directory of the notes that final uploads need parts."""
        return self.private / "pins"

    @property
    def counts(self) -> Path:
        """Give the directory in which uploads are counted for the limits."""
        return self.private / "counts"

    def shard(self, upload_id: UploadId) -> Path:
        """Give the directory of an upload's files."""
        return self.root / upload_id[:2]

    def data(self, upload_id: UploadId) -> Path:
        """Give an upload's data file."""
        return self.root / upload_id[:2] / upload_id

    def ledger(self, upload_id: UploadId) -> Path:
        """Give the ledger beside the data."""
        return self.root / upload_id[:2] / (upload_id + LEDGER)

    # What every request needs is put together as text: a Path takes ten times as long.

    def data_name(self, upload_id: UploadId) -> str:
        """Give the path of an upload's data file as text."""
        return f"{self.root}/{upload_id[:2]}/{upload_id}"

    def ledger_name(self, upload_id: UploadId) -> str:
        """Give the path of an upload's ledger as text."""
        return f"{self.root}/{upload_id[:2]}/{upload_id}{LEDGER}"

    def make(self) -> None:
        """Make the directories. Blocks. Raises: ConfigError if they cannot be used."""
        try:
            self.root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            for directory in (self.private, self.run, self.pins):
                make_directory(directory, mode=PRIVATE_DIRECTORY_MODE)
        except OSError as exc:
            raise ConfigError(
                "upload_dir", str(self.root), f"cannot be used: {exc.strerror} ({exc.filename})"
            ) from exc
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(
                "upload_dir", str(self.root), "is not readable and writable for the server's user"
            )

    def make_shard(self, upload_id: UploadId) -> None:
        """Make the directory of an upload's files. Blocks. Raises: OSError.

        It is on the disk when `Names` has seen to that: a creation is not to wait for the disk.
        """
        with suppress(FileExistsError):
            self.shard(upload_id).mkdir(mode=DIRECTORY_MODE)

    def shards(self) -> list[str]:
        """Name the shard directories that are there, in order. Blocks. Raises: OSError."""
        with os.scandir(self.root) as entries:
            return sorted(
                entry.name
                for entry in entries
                if is_upload_id(entry.name * 16) and entry.is_dir(follow_symlinks=False)
            )


def ledger_owner(name: str) -> UploadId | None:
    """Tell whose ledger has this file name; None if it is no ledger's."""
    stem = name.removesuffix(LEDGER)
    return UploadId(stem) if stem != name and is_upload_id(stem) else None
