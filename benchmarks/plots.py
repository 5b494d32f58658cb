"""Plots of the page: bars with the spread of the rounds, one SVG a workload and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.naming import label
from benchmarks.sample import spread
from benchmarks.tables import number

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Result

OURS, THEIRS = "#2563a8", "#9a9a9a"
ROW = 26
AROUND = 90


def plot(result: Result, metric: str, folder: Path, name: str) -> None:
    """Draw one metric of a workload into a file of this name.

    Needs pygal: `pip install --group bench`.
    """
    import pygal  # type: ignore[import-untyped]  # noqa: PLC0415 - nothing else needs it, and the tests do without
    from pygal.style import Style  # type: ignore[import-untyped]  # noqa: PLC0415

    unit, better = result.metrics[metric]
    rows = [(name, one[metric]) for name, one in result.servers.items() if metric in one]
    style = Style(
        background="white",
        plot_background="white",
        font_family="sans-serif",
        title_font_size=13,
        label_font_size=11,
        major_label_font_size=11,
        value_font_size=10,
        ci_colors=("#333333",),
    )
    chart = pygal.HorizontalBar(
        style=style,
        title=f"{result.title}: {metric}, {unit} ({better} is better)",
        show_legend=False,
        print_values=False,
        width=720,
        height=AROUND + ROW * len(rows),
        explicit_size=True,
        js=(),
        no_prefix=True,
        pretty_print=True,
        truncate_label=-1,
        spacing=8,
        value_formatter=number,
        include_x_axis=True,
    )
    rows.reverse()  # The first bar is drawn at the bottom.
    chart.x_labels = [label(name) for name, _ in rows]
    chart.add(metric, [_bar(name, values) for name, values in rows])
    (folder / name).write_bytes(chart.render())


def _bar(name: str, values: list[float]) -> dict[str, object]:
    found = spread(values)
    bar: dict[str, object] = {
        "value": found.median,
        "color": OURS if name.startswith("tusserver") else THEIRS,
    }
    if found.least < found.most:
        bar["ci"] = {"low": found.least, "high": found.most}
    return bar
