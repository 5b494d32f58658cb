"""What the tiny server knows about an upload, kept in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING

from conformance.mutants.exchange import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 24 * 3600.0


@dataclass(eq=False)
class Upload:
    """What is known about one upload; a final one has parts instead of data."""

    upload_id: str
    length: int | None
    metadata: str
    concat: str | None = None
    parts: list[Upload] | None = None
    data: bytearray = field(default_factory=bytearray)
    expires: float = 0.0  # seconds since the epoch
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """The uploads: found, measured, locked and forgotten."""

    waits_for_lock = 0.2  # seconds

    def __init__(
        self, *, lifetime: float = DAY, patience: float = 20.0, max_size: int = 2**60
    ) -> None:
        """Start without any upload.

        Seconds: `lifetime` of an upload at which nothing happens, `patience` with a client that
        says nothing. Bytes: `max_size` of an upload.
        """
        self.lifetime = lifetime
        self.patience = patience
        self.max_size = max_size
        self.uploads: dict[str, Upload] = {}

    def find(self, upload_id: str) -> Upload:
        """Find an upload that is not expired."""
        upload = self.uploads.get(upload_id)
        if upload and self.is_expired(upload) and upload.lock.acquire(blocking=False):
            upload.lock.release()
            self.uploads.pop(upload_id, None)
            upload = None
        if upload is None:
            raise Refusal(404, "There is no such upload.")
        return upload

    @contextlib.contextmanager
    def writing(self, upload: Upload) -> Iterator[None]:
        """Be the only one who is at this upload, which must still exist."""
        if not upload.lock.acquire(timeout=self.waits_for_lock):
            raise Refusal(423, "Another request is writing to this upload.", Retry_After="1")
        try:
            if self.uploads.get(upload.upload_id) is not upload:
                raise Refusal(404, "There is no such upload.")
            yield
        finally:
            upload.lock.release()

    # --- what is known about an upload ----------------------------------------------------

    def sum_of(self, parts: list[Upload]) -> int | None:
        """Give the length of the parts together, None while one is not known."""
        lengths = [part.length for part in parts]
        return None if None in lengths else sum(length for length in lengths if length is not None)

    def size_of(self, upload: Upload) -> int | None:
        """Tell the length of an upload, None while it is not known."""
        return upload.length if upload.parts is None else self.sum_of(upload.parts)

    def offset_of(self, upload: Upload) -> int | None:
        """Tell how much is stored, None for a final upload whose parts are unfinished."""
        if upload.parts is None:
            return len(upload.data)
        return self.sum_of(upload.parts) if self.is_complete(upload) else None

    def is_complete(self, upload: Upload) -> bool:
        """Tell whether everything is there."""
        if upload.parts is not None:
            return all(self.is_complete(part) for part in upload.parts)
        return len(upload.data) == upload.length

    def content_of(self, upload: Upload) -> bytes:
        """Give the bytes."""
        if upload.parts is not None:
            return b"".join(self.content_of(part) for part in upload.parts)
        return bytes(upload.data)

    # --- expiration -----------------------------------------------------------------------

    def touch(self, upload: Upload) -> None:
        """Let an upload live on because something happened."""
        upload.expires = time.time() + self.lifetime

    def may_expire(self, upload: Upload) -> bool:
        """Complete uploads stay, unless they are only parts."""
        return upload.concat == "partial" or not self.is_complete(upload)

    def is_expired(self, upload: Upload) -> bool:
        """Tell whether the time of an upload is over."""
        return self.may_expire(upload) and time.time() >= upload.expires

    def expires_field(self, upload: Upload) -> dict[str, str]:
        """Give Upload-Expires where there is an end, rounded to the second before it."""
        if not self.may_expire(upload):
            return {}
        return {"Upload-Expires": self.date(upload.expires)}

    def date(self, seconds: float) -> str:
        """Write a date as HTTP does."""
        return formatdate(int(seconds), usegmt=True)
