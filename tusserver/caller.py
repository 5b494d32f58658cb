"""Who is behind a request, once that is proven (floor 1)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_OWNER = 256
"""The longest name of an owner, in bytes of UTF-8."""

_MEDIA_RANGE = re.compile(r"\*/\*|[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)")


def is_owner(text: str) -> bool:
    """Tell whether a text can name an owner: bounded, and fit for headers, logs and records.

    The empty one can: nobody in particular.
    """
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        return False
    return len(text.encode()) <= MAX_OWNER


def is_media_range(text: str) -> bool:
    """Tell whether a text is a media type in lower case, `image/*` or `*/*` (RFC 9110 12.5.1)."""
    return _MEDIA_RANGE.fullmatch(text) is not None


def covers(media_range: str, media_type: str) -> bool:
    """Tell whether a media type, in lower case, lies in a range such as `image/*`."""
    if media_range in {"*/*", media_type}:
        return True
    return media_range.endswith("/*") and media_type.startswith(media_range[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What the authorisation found out about a request; without one it is `ANYONE`."""

    owner: str | None = ""
    """Whose uploads these are; empty: nobody's in particular; None: the uploads of all owners."""
    grant: str = ""
    """The id of a signed upload URL: only what was created with it is seen; empty: no such URL."""
    grant_ends: float = 0.0
    """When that URL ends, in seconds since 1970."""
    max_size: int | None = None
    """The largest upload this caller may make, in bytes; None: what holds for all."""
    types: tuple[str, ...] = ()
    """Media types to which the caller's uploads are narrowed; empty: what holds for all."""
    credential: str = ""
    """A query string that `Location` carries, so that the client's next request is proven too."""


ANYONE = Caller()
"""A caller about whom nothing is known: sees the uploads that belong to nobody."""

EVERYONE = Caller(owner=None)
"""The operator, and the application itself: sees the uploads of all owners."""
