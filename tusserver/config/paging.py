"""Settings: the upload page (floor 3)."""

from __future__ import annotations

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.values import MaxSize


class PagingSettings(BaseModel):
    """The upload page."""

    page: bool = setting(
        "", "Serve a page at / on which people upload files with a browser.", default=True
    )
    page_chunk_size: MaxSize = setting(
        "SIZE",
        "Most bytes that the page sends in one request; none: a whole file, in smaller pieces once "
        "a proxy has refused it.",
        default=None,
    )
    page_parallel_from: MaxSize = setting(
        "SIZE",
        "Size from which on the page sends a file in parts at the same time; none: never.",
        default=256 * 2**20,
    )
