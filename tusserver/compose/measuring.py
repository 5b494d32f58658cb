"""Settings into metrics (floor 5)."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver.compose.hooks import open_shelf
from tusserver.metrics.catalogue import EVENTS
from tusserver.metrics.exposition import Exposition, Reading, space_readings
from tusserver.metrics.meter import PrometheusMeter
from tusserver.metrics.sharing import share, shared_directory, take_seat
from tusserver.web.metrics import PATH, MetricsPage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from tusserver.config import Settings
    from tusserver.measures import Meter


def share_metrics(settings: Settings) -> AbstractContextManager[None]:
    """Let the workers forked in this block count together; for their parent, in which it blocks.

    Raises: OSError.
    """
    return share() if settings.metrics else nullcontext()


def build_meter(settings: Settings) -> PrometheusMeter | None:
    """Make what counts in this process; None when nothing is to be counted.

    Blocks, and is called once in a process, after it was forked. Raises: ConfigError.
    """
    if not settings.metrics:
        return None
    directory = shared_directory()
    if directory is not None:
        take_seat(directory)
    return PrometheusMeter(is_alone=directory is None)


def metrics_routes(settings: Settings, meter: Meter) -> list[web.RouteDef]:
    """Give the page of what was counted, if something is counted."""
    if not isinstance(meter, PrometheusMeter):
        return []
    readings = space_readings(Path(settings.upload_dir), reserve=settings.reserve)
    if settings.webhook_url is not None:
        readings.append(Reading(EVENTS, partial(_events, settings)))
    exposition = Exposition(
        meter.registry, directory=shared_directory(), version=_version(), readings=readings
    )
    page = MetricsPage(exposition.write, networks=settings.metrics_networks)
    return [web.get(PATH, page.handle)]


async def _events(settings: Settings) -> Mapping[str, float]:
    waiting, dead = await asyncio.to_thread(_count_events, settings)
    return {"waiting": waiting, "dead": dead}


def _count_events(settings: Settings) -> tuple[int, int]:
    shelf = open_shelf(settings)
    if shelf is None:
        return 0, 0
    try:
        return shelf.count()
    finally:
        shelf.close()


def _version() -> str:
    try:
        return version("tusserver")
    except PackageNotFoundError:
        return "unknown"
