"""Plots of the page: a bar a server with the spread of the rounds; an SVG a workload and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.naming import label
from benchmarks.sample import Spread, spread
from benchmarks.tables import number

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Result

OURS, THEIRS, INK = "#2563a8", "#a3a3a3", "#222222"
WIDTH, ROW, AROUND = 7.2, 0.27, 0.75
"""Inches."""
ROOM = 1.25
"""The axis is so much longer than the longest bar: figures stand behind the bars."""
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # Text stays text.
    "svg.hashsalt": "tusserver",  # The same figures give the same file.
    "font.family": "sans-serif",
    "font.size": 9,
}


def plot(result: Result, metric: str, folder: Path, name: str) -> None:
    """Draw one metric of a workload into a file of this name.

    Needs matplotlib: `pip install --group bench`.
    """
    import matplotlib as mpl  # noqa: PLC0415 - nothing else needs it, and the tests do without
    from matplotlib.figure import Figure  # noqa: PLC0415

    unit, better = result.metrics[metric]
    servers = [server for server, one in result.servers.items() if one.get(metric)]
    spreads = [spread(result.values(server, metric)) for server in servers]
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, AROUND + ROW * len(servers)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(
            [label(server) for server in servers],
            [one.median for one in spreads],
            xerr=None if result.rounds == 1 else _reach(spreads),
            color=[OURS if server.startswith("tusserver") else THEIRS for server in servers],
            error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2},
        )
        longest = max([0.0, *(one.most for one in spreads)])
        for row, one in enumerate(spreads):
            axes.text(one.most + longest / 60, row, number(one.median), va="center", color=INK)
        axes.set_xlim(0, longest * ROOM or 1)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{result.workload}: {metric}, {unit} ({better} is better)", fontsize=9)
        figure.savefig(folder / name, format="svg", metadata={"Date": None, "Creator": None})


def _reach(spreads: list[Spread]) -> list[list[float]]:
    below = [one.median - one.least for one in spreads]
    return [below, [one.most - one.median for one in spreads]]
