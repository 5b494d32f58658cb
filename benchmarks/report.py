"""The page docs/performance.md, made from what was measured and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.goals import GOALS, PROCESS, Goal, Standing, Verdict, judge, stand
from benchmarks.naming import FLOOR, label
from benchmarks.results import load
from benchmarks.sample import Spread, ratios, spread
from benchmarks.tables import number, spread_text

if TYPE_CHECKING:
    from benchmarks.results import Result

_TEXTS = Path(__file__).parent / "page"
PAGE = "performance.md"
FOLDER = "performance"
ACROSS = 5
"""Columns of figures that fit beside each other."""
HEADLINES = 2
"""Metrics of a workload that count even where no goal names them."""


def write_page(docs: Path) -> None:
    """Write the page anew."""
    (docs / PAGE).write_text(render(docs), encoding="utf-8")


def render(docs: Path) -> str:
    """Give the page as it should be."""
    results, others = load(docs / FOLDER), _elsewhere(docs)
    names = list(dict.fromkeys(goal.workload for goal in GOALS))
    ordered = [results[name] for name in names if name in results]
    ordered += [one for name, one in results.items() if name not in names]
    parts = [_text("introduction"), _goals(results, others), _standings(ordered)]
    parts.append(_text("limits"))
    parts += [_section(one, docs) for one in ordered]
    parts += [_text("method"), _conditions(ordered)]
    return "\n".join(parts)


def _text(name: str) -> str:
    return (_TEXTS / f"{name}.md").read_text(encoding="utf-8")


# --- the goals ----------------------------------------------------------------------------


def _goals(results: dict[str, Result], others: dict[str, dict[str, Result]]) -> str:
    here = _verdicts(results)
    there = {name: _verdicts(measured) for name, measured in others.items()}
    met = sum(one.is_met for one in here.values())
    unknown = len(GOALS) - len(here)
    told = f"{met} of {len(here)} goals that were measured are met; {unknown} were not measured."
    lines = ["## The goals", "", told, ""]
    lines += [_told_elsewhere(name, there[name], others[name]) for name in there]
    heads = ["workload", "against", "goal", "measured", "goal is", "and ours has", *others]
    lines += [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for goal in GOALS:
        cells = _goal_cells(goal, here.get(goal))
        cells += [_cell_elsewhere(verdicts.get(goal)) for verdicts in there.values()]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join([*lines, ""])


def _verdicts(results: dict[str, Result]) -> dict[Goal, Verdict]:
    found = {
        goal: judge(goal, results[goal.workload]) for goal in GOALS if goal.workload in results
    }
    return {goal: verdict for goal, verdict in found.items() if verdict is not None}


def _goal_cells(goal: Goal, verdict: Verdict | None) -> list[str]:
    peer = label(goal.peer) if goal.peer else "itself"
    if verdict is None:
        return [goal.what, peer, "", "not measured", "", ""]
    sign = "<=" if verdict.better == "lower" else ">="
    unit = "x" if verdict.unit == "x" else f" {verdict.unit}"
    bound = f"{sign} {number(verdict.goal.limit)}{unit}"
    return [
        goal.what,
        peer,
        bound,
        spread_text(verdict.found),
        _met(verdict),
        verdict.standing or "",
    ]


def _met(verdict: Verdict) -> str:
    return "met" if verdict.is_met else "**missed**"


# --- another machine ----------------------------------------------------------------------


def _elsewhere(docs: Path) -> dict[str, dict[str, Result]]:
    """Give what was measured on other machines, each kept in a folder of its own, by processor."""
    found: dict[str, dict[str, Result]] = {}
    for folder in sorted(path for path in (docs / FOLDER).iterdir() if path.is_dir()):
        if results := load(folder):
            processor = next(iter(results.values())).machine.get("processor", folder.name)
            found[processor] = results
    return found


def _told_elsewhere(name: str, verdicts: dict[Goal, Verdict], results: dict[str, Result]) -> str:
    met = sum(one.is_met for one in verdicts.values())
    dates = {one.date for one in results.values()}
    return (
        f"The last column is from another machine, {name}, between {min(dates)} and {max(dates)}: "
        f"{met} of {len(verdicts)} are met there.\n"
    )


def _cell_elsewhere(verdict: Verdict | None) -> str:
    return "" if verdict is None else f"{spread_text(verdict.found)}, {_met(verdict)}"


# --- who wins -----------------------------------------------------------------------------


def headlines(result: Result) -> list[str]:
    """Give the metrics that servers are compared by: the first, and those of such goals."""
    named = {goal.metric for goal in GOALS if goal.workload == result.workload and goal.peer}
    first = list(result.metrics)[:HEADLINES]
    return [name for name in result.metrics if name in first or name in named]


def _standings(results: list[Result]) -> str:
    """Say against whom we win, draw and lose, and where: in words, and as a table."""
    peers = list(dict.fromkeys(name for one in results for name in one.servers if _is_peer(name)))
    found: dict[str, dict[str, tuple[Standing, Spread]]] = {}
    for result in results:
        for metric in headlines(result):
            row = found.setdefault(f"`{result.workload}` {metric}", {})
            row |= {peer: told for peer in peers if (told := _standing(result, metric, peer))}
    lines = ["## Where we win, draw and lose", ""]
    lines += [_words(peer, found) for peer in peers]
    lines += ["", "Ours at `process` as a multiple of the peer:", ""]
    lines += [f"| workload and metric | {' | '.join(label(peer) for peer in peers)} |"]
    lines += ["| --- " * (len(peers) + 1) + "|"]
    for what, row in found.items():
        cells = [_standing_cell(row.get(peer)) for peer in peers]
        if any(cells):
            lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _is_peer(server: str) -> bool:
    return server != FLOOR and not server.startswith("tusserver")


def _standing(result: Result, metric: str, peer: str) -> tuple[Standing, Spread] | None:
    """Compare ours with a peer; None where one was not measured or a ratio means nothing."""
    ours = PROCESS if PROCESS in result.servers else next(iter(result.servers), "")
    mine, theirs = result.values(ours, metric), result.values(peer, metric)
    if min([*mine, *theirs], default=0) <= 0:
        return None
    if (against := ratios(mine, theirs)) is None:
        return None
    return stand(against, result.metrics[metric][1]), against


def _words(peer: str, found: dict[str, dict[str, tuple[Standing, Spread]]]) -> str:
    by: dict[Standing, list[str]] = {"won": [], "draw": [], "lost": []}
    for what, row in found.items():
        if peer in row:
            by[row[peer][0]].append(what)
    told = f"- Against **{label(peer)}** ours wins {len(by['won'])}, "
    told += f"draws {len(by['draw'])} and loses {len(by['lost'])}"
    if by["draw"]:
        told += f"; a draw is {', '.join(by['draw'])}"
    if by["lost"]:
        told += f"; lost is {', '.join(by['lost'])}"
    return f"{told}."


def _standing_cell(told: tuple[Standing, Spread] | None) -> str:
    if told is None:
        return ""
    standing, against = told
    mark = f"**{standing}**" if standing == "lost" else standing
    return f"{mark} {spread_text(against)}"


# --- one workload -------------------------------------------------------------------------


def _section(result: Result, docs: Path) -> str:
    lines = [f"## `{result.workload}`: {result.title}", ""]
    metrics = list(result.metrics)
    for first in range(0, len(metrics), ACROSS):
        lines += [*_table(result, metrics[first : first + ACROSS]), ""]
    for metric in headlines(result):
        name = plot_name(result, metric)
        if (docs / FOLDER / name).exists():
            lines += [f"![{result.title}: {metric}]({FOLDER}/{name})", ""]
    if result.missing:
        told = ", ".join(label(name) for name in result.missing)
        lines += [f"Not measured: {told}.", ""]
    share = "" if result.scale == 1 else f", {result.scale:g} of the size in the title"
    lines += [f"{result.date}, {result.rounds} rounds{share}.", ""]
    return "\n".join(lines)


def _table(result: Result, metrics: list[str]) -> list[str]:
    heads = [f"{name}, {result.metrics[name][0]}" for name in metrics]
    lines = [f"| server | {' | '.join(heads)} |", "| --- " * (len(metrics) + 1) + "|"]
    for server in result.servers:
        cells = [
            spread_text(spread(values)) if (values := result.values(server, name)) else ""
            for name in metrics
        ]
        lines.append(f"| {label(server)} | {' | '.join(cells)} |")
    return lines


def plot_name(result: Result, metric: str) -> str:
    """Give the name of the file of a plot."""
    return f"{result.workload}-{metric.replace(' ', '-')}.svg"


# --- conditions ---------------------------------------------------------------------------


def _conditions(results: list[Result]) -> str:
    """Tell on what it was measured, once for all workloads that share it."""
    lines = ["## Machine and versions", ""]
    groups: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(sorted(result.machine.items())), []).append(result)
    for machine, members in groups.items():
        if len(groups) > 1:
            lines += [f"For {', '.join(f'`{one.workload}`' for one in members)}:", ""]
        lines += [f"- {name}: {value}" for name, value in machine]
        versions: dict[str, set[str]] = {}
        for one in members:
            for name, value in one.versions.items():
                versions.setdefault(name, set()).add(value)
        lines += [f"- {label(kind)}: {', '.join(sorted(told))}" for kind, told in versions.items()]
        lines.append("")
    return "\n".join(lines)
