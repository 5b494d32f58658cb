"""A real server against a model of it, in whatever order of requests hypothesis thinks of."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import EXPIRY, Machine
from tests.faults.victim import Victim

FLAGS = (f"--expire-after={EXPIRY:.0f}s", "--sweep-interval=1s", "--sweep-grace=1s")


@pytest.mark.timeout(240)
@pytest.mark.clause("CORE-PATCH-20", "CORE-HEAD-10")
@pytest.mark.parametrize("workers", [1, 3])
def test_whatever_order_requests_come_in_the_server_agrees_with_its_model(
    state_url, workers, *, seed, amount, figures
):
    with Victim(*FLAGS, state=state_url, workers=workers) as victim:

        class Running(Machine):
            server = victim

        Running.counts = {}
        hypothesis.seed(int(seed, 16))(Running)
        run_state_machine_as_test(
            Running,
            settings=settings(
                max_examples=amount(3, 60),
                stateful_step_count=20,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                # What took its time is not the same again: what failed is shown as it was.
                phases=[Phase.generate],
                report_multiple_bugs=False,
            ),
        )
        victim.check_log()
    figures.update(sorted(Running.counts.items()))
    assert {"created", "appended"} <= set(Running.counts)
