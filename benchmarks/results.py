"""What was measured, kept: one JSON file a workload, from which the page is made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.sample import Better

DIGITS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What the rounds of one workload gave, and under what conditions."""

    workload: str
    title: str
    date: str
    rounds: int
    scale: float
    machine: dict[str, str]
    versions: dict[str, str]
    """By kind of server."""
    metrics: dict[str, tuple[str, Better]]
    """Unit, and which way is better."""
    servers: dict[str, dict[str, list[float]]]
    """By server and metric, a value a round."""
    missing: dict[str, str]
    """Servers that were not measured, and why."""

    def values(self, server: str, metric: str) -> list[float]:
        """Give the rounds of a metric; none where it was not measured."""
        return self.servers.get(server, {}).get(metric, [])


def save(result: Result, folder: Path) -> None:
    """Write the file of a workload, in place of the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    data = asdict(result)
    data["servers"] = {
        server: {metric: [_rounded(one) for one in values] for metric, values in metrics.items()}
        for server, metrics in result.servers.items()
    }
    text = json.dumps(data, indent=1, ensure_ascii=False)
    (folder / f"{result.workload}.json").write_text(_joined(text), encoding="utf-8")


def load(folder: Path) -> dict[str, Result]:
    """Read every workload that was kept."""
    found: dict[str, Result] = {}
    for path in sorted(folder.glob("*.json")):
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        data["metrics"] = {name: (unit, better) for name, (unit, better) in data["metrics"].items()}
        found[data["workload"]] = Result(**data)
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _joined(text: str) -> str:
    """Put lists of numbers on one line each, as people would write them."""
    lines: list[str] = []
    is_open = False
    for line in text.splitlines():
        if is_open:
            is_open = not line.strip().startswith("]")
            lines[-1] += line.strip() if not is_open else f"{line.strip()} "
            lines[-1] = lines[-1].replace(" ]", "]")
        else:
            lines.append(line)
            is_open = line.endswith("[")
    return "\n".join(lines) + "\n"
