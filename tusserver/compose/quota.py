"""Settings into quotas (floor 5)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.gates import NoQuota
from tusserver.quota.ceilings import Ceiling, Ceilings
from tusserver.quota.limited import LimitedQuota
from tusserver.quota.redis import RedisCounter
from tusserver.quota.sqlite import SqliteCounter
from tusserver.state.redis import RedisState
from tusserver.storage.layout import Places
from tusserver.values import AUTO

if TYPE_CHECKING:
    from tusserver.config import Settings
    from tusserver.gates import Quota
    from tusserver.ports import StateStore
    from tusserver.quota.counter import Counter

OPEN_TO_ALL = 1000
"""Unfinished uploads where anybody may create them: no web page can fill a disk with records."""


def build_quota(settings: Settings, state: StateStore, *, guarded: bool) -> Quota:
    """Make what counts uploads; `guarded`: requests are authorised.

    It counts where the state is: in the upload directory, or in the same Redis.
    """
    ceilings = _ceilings(settings, guarded=guarded)
    if not ceilings.any:
        return NoQuota()
    places = Places(Path(settings.upload_dir))
    counter: Counter
    if isinstance(state, RedisState):
        counter = RedisCounter(state, ceilings)
    else:
        counter = SqliteCounter(places.counts, ceilings)
    return LimitedQuota(counter, ceilings, is_empty=partial(_is_empty, places))


def _is_empty(places: Places) -> bool:
    return not places.shards()


def _ceilings(settings: Settings, *, guarded: bool) -> Ceilings:
    most_open = settings.max_open
    if most_open == AUTO:
        most_open = None if guarded else OPEN_TO_ALL
    return Ceilings(
        owner=Ceiling(
            stored=settings.owner_max_stored,
            unwritten=settings.owner_max_unwritten,
            open=settings.owner_max_open,
            creations=settings.owner_max_creations,
            appends=settings.owner_max_appends,
            bandwidth=settings.owner_max_bandwidth,
        ),
        all=Ceiling(
            stored=settings.max_stored,
            unwritten=settings.max_unwritten,
            open=None if most_open is None else int(most_open),
            creations=settings.max_creations,
            appends=settings.max_appends,
            bandwidth=settings.max_bandwidth,
        ),
    )
