"""What a workload gave, as lines on a terminal: medians with their spread, and ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.sample import Spread, ratios, spread

if TYPE_CHECKING:
    from benchmarks.rounds import Outcome


def number(value: float) -> str:
    """Write a number with three digits that mean something."""
    if abs(value) >= 100:  # noqa: PLR2004 - three digits before the point
        return f"{value:.0f}"
    return f"{value:.3g}"


def spread_text(values: Spread) -> str:
    """Write a median and, where there were several rounds, between what they lie."""
    least, median, most = (number(one) for one in (values.least, values.median, values.most))
    return median if least == most else f"{median} [{least}-{most}]"


def print_outcome(outcome: Outcome) -> None:
    """Print a table: a line a server, and behind each figure what ours is of it."""
    if not outcome.rounds:
        return
    first = next(iter(outcome.rounds))
    for metric, (unit, better) in outcome.metrics.items():
        print(f"  {metric} [{unit}], {better} is better")
        for server, figures in outcome.rounds.items():
            if not (values := figures.get(metric)):
                continue
            ours = outcome.rounds[first].get(metric, [])
            ratio = None if server == first else ratios(ours, values)
            told = f"   {first} is {spread_text(ratio)} of it" if ratio else ""
            print(f"    {server:28} {spread_text(spread(values)):24}{told}")
