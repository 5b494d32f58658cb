"""The longer workloads of the benchmarks run against our server, and tell what they are to tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("names", "server", "told"),
    [
        pytest.param("slow", "process", ["lost 0 ", "kept 100 %", "resumed 100 %"], id="slow"),
        pytest.param("mixed", "process", ["speed", "PATCH p99"], id="mixed"),
        pytest.param("joining", "process", ["readable"], id="parts"),
        pytest.param("ranges", "process", ["s/GiB"], id="downloads"),
        pytest.param("half-open", "process:2", ["slowest"], id="half-open"),
        pytest.param("store", "normal", ["HEAD old p99 sweeping"], id="store"),
    ],
)
def test_a_workload_is_served_to_its_end(names, server, told, tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", f"--only={names}"]
    command += [f"--servers=tusserver:{server}", f"--dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in told:
        assert words in done.stdout
    assert "failed" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
