"""What `/metrics` answers (floor 4): the counts, and what is read at that moment."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder

from tusserver.metrics import catalogue as lines
from tusserver.metrics.sharing import collected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.core import Metric

    from tusserver.metrics.catalogue import Line

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a reading may take; without it the others are told."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge that is read when it is asked for: the same from whichever process asks."""

    line: Line
    """Its labels are empty, or one."""
    read: Callable[[], Awaitable[Mapping[str, float]]]
    """Gives values by the value of the label; `{"": value}` without one. Never blocks the loop."""


class Exposition:
    """Writes metrics as Prometheus reads them."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        directory: Path | None,
        version: str,
        readings: Iterable[Reading] = (),
    ) -> None:
        """Write what is in `registry`, or with a `directory` what all its processes counted."""
        # A series more for each one, of which nobody asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._directory = directory
        self._version = version
        self._readings = list(readings)
        self._running: dict[str, asyncio.Task[Mapping[str, float]]] = {}

    def add(self, reading: Reading) -> None:
        """Tell this gauge too."""
        self._readings.append(reading)

    async def write(self, accept: str) -> tuple[bytes, str]:
        """Give the text, and its type as `Accept` asks for it; a thread makes it."""
        told = await asyncio.gather(*map(self._read, self._readings))
        families = [family for family in told if family is not None]
        return await asyncio.to_thread(self._write, accept, families)

    async def _read(self, reading: Reading) -> Metric | None:
        line = reading.line
        task = self._running.get(line.name)
        if task is None:
            task = asyncio.create_task(_mapping(reading), name=f"reading {line.name}")
            self._running[line.name] = task
        # One that hangs is not begun again: a dead disk must not eat threads.
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
        if not done:
            logger.warning("metric %s cannot be read: it takes too long", line.name)
            return None
        self._running.pop(line.name, None)
        if (error := task.exception()) is not None:
            logger.warning("metric %s cannot be read: %r", line.name, error)
            return None
        found = task.result()
        family = GaugeMetricFamily(line.name, line.text, labels=line.labels)
        for label, value in found.items():
            family.add_metric([label] if line.labels else [], value)
        return family

    def _write(self, accept: str, families: list[Metric]) -> tuple[bytes, str]:
        registry = self._registry if self._directory is None else collected(self._directory)
        whole = CollectorRegistry()
        whole.register(_Joined([registry, _Read([*families, self._build()])]))
        encode, content_type = choose_encoder(accept)
        return encode(whole), content_type

    def _build(self) -> Metric:
        told = {"version": self._version, "python": platform.python_version()}
        return InfoMetricFamily(lines.BUILD.name.removesuffix("_info"), lines.BUILD.text, told)


async def _mapping(reading: Reading) -> Mapping[str, float]:
    return await reading.read()


class _Read:
    """Metrics that are known already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


class _Joined:
    """Metrics of several sources, each family once."""

    def __init__(self, sources: list[CollectorRegistry | _Read]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        for source in self._sources:
            yield from source.collect()


def space_readings(directory: Path, *, reserve: int) -> list[Reading]:
    """Make the gauges of the file system of the uploads."""

    async def free() -> Mapping[str, float]:
        found = await asyncio.to_thread(os.statvfs, directory)
        return {"": found.f_bavail * found.f_frsize}

    async def total() -> Mapping[str, float]:
        found = await asyncio.to_thread(os.statvfs, directory)
        return {"": found.f_blocks * found.f_frsize}

    async def kept() -> Mapping[str, float]:
        return {"": reserve}

    return [
        Reading(lines.SPACE_FREE, free),
        Reading(lines.SPACE_TOTAL, total),
        Reading(lines.SPACE_RESERVE, kept),
    ]
