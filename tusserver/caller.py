"""Who is behind a request, once that is proven (floor 1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What the authorisation found out about a request; without one it is `ANYONE`."""

    owner: str | None = ""
    """Whose uploads these are; empty: nobody's in particular; None: the uploads of all owners."""
    grant: str = ""
    """The id of a signed upload URL: only what was created with it is seen; empty: no such URL."""
    max_size: int | None = None
    """The largest upload this caller may make, in bytes; None: what holds for all."""
    credential: str = ""
    """A query string that `Location` carries, so that the client's next request is proven too."""


ANYONE = Caller()
"""A caller about whom nothing is known: sees the uploads that belong to nobody."""

EVERYONE = Caller(owner=None)
"""The operator, and the application itself: sees the uploads of all owners."""
