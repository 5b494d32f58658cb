"""What a run of a workload gives, and what is made of several: medians, spreads, ratios."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal, NamedTuple

Better = Literal["lower", "higher"]

MIB = 1 << 20
GIB = 1 << 30


class Figure(NamedTuple):
    """One number, and what it means."""

    value: float
    unit: str
    better: Better


Sample = dict[str, Figure]
"""What one run gave, by the name of the metric."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a workload is run; 1.0 is what the figures of the page are made with."""

    factor: float = 1.0

    def size(self, size: int) -> int:
        """Give so many bytes, or fewer: at least one page."""
        return max(4096, int(size * self.factor) // 4096 * 4096)

    def count(self, count: int, *, least: int = 1) -> int:
        """Give so many things, or fewer."""
        return max(least, round(count * self.factor))

    def seconds(self, seconds: float, *, least: float = 0.2) -> float:
        """Give so much time, or less."""
        return max(least, seconds * self.factor)


def lower(value: float, unit: str) -> Figure:
    """Give a figure of which less is better."""
    return Figure(value, unit, "lower")


def higher(value: float, unit: str) -> Figure:
    """Give a figure of which more is better."""
    return Figure(value, unit, "higher")


def percentile(values: list[float], share: float) -> float:
    """Give the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Spread(NamedTuple):
    """The median of some rounds, and between what they lie."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread:
    """Sum up the rounds."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: list[float], theirs: list[float]) -> Spread | None:
    """Divide ours by theirs round by round; None where they have no round in common."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=False) if b]
    return spread(pairs) if pairs else None
