"""The benchmarks run, and the page of their figures is what they make of the figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import workloads
from benchmarks.goals import GOALS, Goal, judge, stand
from benchmarks.processes import cpu, rss, tree
from benchmarks.report import FOLDER, PAGE, headlines, plot_name, render
from benchmarks.results import Result, load, save
from benchmarks.sample import Scale, Spread, ratios, spread

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def result(workload: str, **servers: dict[str, list[float]]) -> Result:
    return Result(
        workload=workload,
        title="what it is",
        date="2026-11-21",
        rounds=3,
        scale=1.0,
        machine={"processor": "2 x some"},
        versions={"tusserver": "1.0"},
        metrics={"cpu": ("s/GiB", "lower"), "speed": ("MiB/s", "higher")},
        servers={name.replace("_", ":", 1).replace("_", "-"): one for name, one in servers.items()},
        missing={"rustus": "it is not there"},
    )


def test_the_page_is_made_from_the_figures_that_are_kept():
    assert (DOCS / PAGE).read_text(encoding="utf-8") == render(DOCS), (
        "run python -m benchmarks --report"
    )


def test_what_is_kept_belongs_to_workloads_and_has_its_plots():
    kept = load(DOCS / FOLDER)
    assert set(kept) <= set(workloads.find())
    plots = {plot_name(one, metric) for one in kept.values() for metric in headlines(one)}
    assert {path.name for path in (DOCS / FOLDER).glob("*.svg")} == plots


def test_every_goal_is_one_of_a_workload_with_these_servers():
    found = workloads.find()
    for goal in GOALS:
        servers = found[goal.workload].servers
        assert goal.ours in servers
        assert goal.peer is None or goal.peer in servers


@pytest.mark.timeout(120)
def test_a_workload_is_run_and_told(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only=large,small"]
    command += ["--servers=tusserver:process", f"--dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tusserver:process: cpu" in done.stdout
    assert "POST p99" in done.stdout
    assert "left out" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_figures_come_back_from_their_file(tmp_path):
    kept = result("large", tusserver_process={"cpu": [0.5, 0.25], "speed": [1234.0, 2000.0]})
    save(kept, tmp_path)
    assert load(tmp_path) == {"large": kept}


def test_a_page_tells_goals_standings_and_what_is_missing(tmp_path):
    kept = result(
        "large",
        tusserver_process={"cpu": [0.5, 0.4, 0.6], "speed": [2000.0, 1000.0, 3000.0]},
        tusd={"cpu": [1.0, 1.0, 1.0], "speed": [1000.0, 1100.0, 3100.0]},
    )
    save(kept, tmp_path / FOLDER)
    page = render(tmp_path)
    assert "| one PATCH of 1 GiB, CPU | tusd | <= 0.6x | 0.5 [0.4-0.6] | met | won |" in page
    assert "| the same, speed | tusd | >= 1.2x | 0.968 [0.909-2] | **missed** | draw |" in page
    assert "ours wins 1, draws 1 and loses 0; a draw is `large` speed." in page
    assert "Not measured: rustus." in page


def test_a_page_tells_what_another_machine_gave(tmp_path):
    here = result("large", tusserver_process={"cpu": [0.5]}, tusd={"cpu": [1.0]})
    there = result("large", tusserver_process={"cpu": [0.8]}, tusd={"cpu": [1.0]})
    there.machine["processor"] = "4 x other"
    save(here, tmp_path / FOLDER)
    save(there, tmp_path / FOLDER / "other")
    page = render(tmp_path)
    assert "1 of 1 goals that were measured are met; " in page
    assert "another machine, 4 x other, between 2026-11-21 and 2026-11-21: 0 of 1 are met" in page
    assert "| goal is | and ours has | 4 x other |" in page
    told = "| one PATCH of 1 GiB, CPU | tusd | <= 0.6x | 0.5 | met | won | 0.8, **missed** |"
    assert told in page


@pytest.mark.parametrize(
    ("found", "better", "standing"),
    [
        pytest.param(Spread(0.5, 0.4, 0.9), "lower", "won", id="less of what is bad"),
        pytest.param(Spread(0.5, 0.4, 0.9), "higher", "lost", id="less of what is good"),
        pytest.param(Spread(0.5, 0.4, 1.1), "lower", "draw", id="not in every round"),
        pytest.param(Spread(1.01, 1.01, 1.01), "higher", "draw", id="by a hair"),
    ],
)
def test_who_is_better_in_every_round_wins(found, better, standing):
    assert stand(found, better) == standing


def test_ratios_are_made_within_a_round():
    assert ratios([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == Spread(2.0, 1.0, 3.0)
    assert ratios([1.0], [0.0]) is None


def test_a_goal_that_nobody_measured_has_no_verdict():
    kept = result("large", tusserver_process={"cpu": [0.5]})
    assert judge(Goal("", "large", "cpu", 1.0, peer="tusd"), kept) is None
    verdict = judge(Goal("", "large", "cpu", 0.4), kept)
    assert verdict is not None
    assert not verdict.is_met
    assert verdict.found == spread([0.5])


def test_a_small_scale_still_sends_something():
    assert Scale(1e-9).size(1 << 30) == 4096
    assert Scale(1e-9).count(2000) == 1
    assert Scale(0.5).size(1 << 20) == 1 << 19


def test_what_processes_use_is_counted_with_their_children():
    busy = "import subprocess, sys, time\nwhile time.process_time() < 0.2: pass\n"
    whole = f"{busy}subprocess.run([sys.executable, '-c', {busy!r}])\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", whole], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = tree([process.pid])
        assert pids == [process.pid]
        assert 0.35 < cpu(pids) < 10
        assert rss(pids) > 1 << 20
        process.communicate(b"\n")
