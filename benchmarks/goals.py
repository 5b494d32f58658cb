"""What the figures are to reach, and whether they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.sample import Spread, ratios, spread

if TYPE_CHECKING:
    from benchmarks.results import Result

NODE, PYTHON, NGINX, TUSD = "tus-node-server", "tuspyserver", "nginx", "tusd"
PROCESS, NORMAL = "tusserver:process", "tusserver:normal"
REDIS = "tusserver:process:redis"
HAIR = 0.03
Standing = Literal["won", "draw", "lost"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on what ours is of a peer, or, without a peer, on what is measured itself."""

    what: str
    workload: str
    metric: str
    limit: float
    peer: str | None = None
    ours: str = PROCESS


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a goal."""

    goal: Goal
    better: Literal["lower", "higher"]
    unit: str
    found: Spread
    is_met: bool
    standing: Standing | None
    """Against the peer, whatever the goal: better in every round, worse in each, or neither."""


def _against(
    what: str, workload: str, metric: str, ours: str = PROCESS, **limits: float
) -> list[Goal]:
    peers = {"node": NODE, "python": PYTHON, "nginx": NGINX, "tusd": TUSD, "process": PROCESS}
    return [
        Goal(what, workload, metric, limit, peers[name], ours) for name, limit in limits.items()
    ]


GOALS = [
    *_against(
        "one PATCH of 1 GiB, CPU", "large", "cpu", node=0.22, python=0.4, nginx=1.3, tusd=0.6
    ),
    *_against("the same, speed", "large", "speed", node=4.5, python=2.8, nginx=0.8, tusd=1.2),
    *_against("4 parallel, CPU", "parallel-4", "cpu", node=0.3, python=0.35, nginx=1.3, tusd=0.7),
    *_against("16 parallel, CPU", "parallel-16", "cpu", node=0.3, python=0.35, nginx=1.3, tusd=0.7),
    *_against("PATCHes of 8 MiB, speed", "pieces-8", "speed", node=4.5, python=3.5, tusd=1.2),
    *_against("PATCHes of 1 MiB, speed", "pieces-1", "speed", node=4.5, python=3.5, tusd=1.2),
    *_against("small uploads, rate", "small", "rate", node=8, python=8, tusd=1),
    *_against("small uploads, rate with Redis", "small", "rate", REDIS, node=6, python=8),
    *_against("small uploads, p99", "small", "p99", node=0.25, python=0.2, tusd=1.2),
    *_against("an open slow upload, memory", "slow", "memory", node=0.25, python=0.5, tusd=0.5),
    Goal("an open slow upload, memory", "slow", "memory", 18),
    *_against("small p99 beside 4 large streams", "mixed", "p99", tusd=1.2),
    Goal("small p99 beside 4 large streams", "mixed", "p99", 25),
    Goal("sha1, CPU beyond none", "checksums", "sha1 more", 0.7),
    Goal("sha256, CPU beyond none", "checksums", "sha256 more", 0.7),
    *_against("`normal`, one PATCH of 1 GiB, speed", "large", "speed", NORMAL, process=0.6),
    Goal("4 parts against one stream, far away", "far", "faster", 3),
]


def judge(goal: Goal, result: Result) -> Verdict | None:
    """Compare a goal with what was measured; None where it was not."""
    ours = result.values(goal.ours, goal.metric)
    if not ours:
        return None
    unit, better = result.metrics[goal.metric]
    if goal.peer is None:
        found, standing = spread(ours), None
    else:
        against = ratios(ours, result.values(goal.peer, goal.metric))
        if against is None:
            return None
        is_other = not goal.peer.startswith("tusserver")
        found, unit = against, "x"
        standing = stand(against, better) if is_other else None
    is_met = found.median <= goal.limit if better == "lower" else found.median >= goal.limit
    return Verdict(goal, better, unit, found, is_met, standing)


def stand(found: Spread, better: Literal["lower", "higher"]) -> Standing:
    """Tell who wins by ratios to a peer: whoever is better in every round, and not by a hair."""
    if found.least <= 1 <= found.most or abs(found.median - 1) < HAIR:
        return "draw"
    return "won" if (found.most < 1) == (better == "lower") else "lost"
