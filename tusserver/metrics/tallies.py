"""Metrics of a process that counts alone (floor 4): plain numbers, read when somebody asks.

A metric of prometheus_client can be told by any thread, and keeps its value in a place that may
be a file: that costs more than the counting. A `Meter` is told by one thread alone; where no
other process counts beside it, these take their place, and are exposed by the library the same.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from tusserver.metrics.catalogue import Line


class Number:
    """A counter or gauge, or the child of one."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Begin with 0."""
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add."""
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        """Take away."""
        self.value -= amount

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value


class Spread:
    """A histogram, or the child of one."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Count by these upper bounds, and what is above them."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount


class Numbers(Number):
    """A counter or gauge with all its children, as a collector of the library."""

    __slots__ = ("_families", "_line", "_of")

    def __init__(
        self, line: Line, family: Callable[..., CounterMetricFamily | GaugeMetricFamily]
    ) -> None:
        """Expose it as a `family` of the library's."""
        super().__init__()
        self._line = line
        self._families = family
        self._of: dict[tuple[str, ...], Number] = {} if line.labels else {(): self}

    def labels(self, **labels: str) -> Number:
        """Give a child, which is there from now on."""
        return self._of.setdefault(tuple(labels[name] for name in self._line.labels), Number())

    def collect(self) -> Iterator[Metric]:
        """Give what is counted; may be called in another thread."""
        line = self._line
        family = self._families(line.name, line.text, labels=line.labels)
        for values, number in list(self._of.items()):
            family.add_metric(values, number.value)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Give the names under which it is registered."""
        return self.collect()


class Spreads(Spread):
    """A histogram with all its children, as a collector of the library."""

    __slots__ = ("_line", "_of")

    def __init__(self, line: Line, bounds: tuple[float, ...]) -> None:
        """Count by these upper bounds."""
        super().__init__(bounds)
        self._line = line
        self._of: dict[tuple[str, ...], Spread] = {} if line.labels else {(): self}

    def labels(self, **labels: str) -> Spread:
        """Give a child, which is there from now on."""
        values = tuple(labels[name] for name in self._line.labels)
        return self._of.setdefault(values, Spread(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """Give what is counted; may be called in another thread."""
        line = self._line
        family = HistogramMetricFamily(line.name, line.text, labels=line.labels)
        names = [_written(bound) for bound in (*self._bounds, float("inf"))]
        for values, spread in list(self._of.items()):
            counts = list(zip(names, accumulate(spread.counts), strict=True))
            family.add_metric(values, counts, spread.sum)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Give the names under which it is registered."""
        return self.collect()


def _written(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


class Tallier:
    """Makes metrics in one registry; as `Maker`, for a process that counts alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register what is made here."""
        self._registry = registry

    def counter(self, line: Line) -> Numbers:
        """Make a counter."""
        return self._numbers(line, CounterMetricFamily)

    def histogram(self, line: Line, buckets: tuple[float, ...]) -> Spreads:
        """Make a histogram of seconds."""
        made = Spreads(line, buckets)
        self._registry.register(made)
        return made

    def total(self, line: Line) -> Numbers:
        """Make a gauge."""
        return self._numbers(line, GaugeMetricFamily)

    def least(self, line: Line) -> Numbers:
        """Make a gauge."""
        return self._numbers(line, GaugeMetricFamily)

    def _numbers(
        self, line: Line, family: Callable[..., CounterMetricFamily | GaugeMetricFamily]
    ) -> Numbers:
        made = Numbers(line, family)
        self._registry.register(made)
        return made
