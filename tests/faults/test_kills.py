"""SIGKILL at any moment: no wrong byte, no completion lost, every finish told."""

from __future__ import annotations

import random

import pytest

from tests.faults.checks import check_all, check_events, run_clients, settle
from tests.faults.killing import Killing
from tests.faults.model import Promise
from tests.faults.slowness import Slowness
from tests.faults.victim import Victim
from tests.faults.world import World
from tests.hooks.receivers import receiving
from tests.support.watching import watch

EXPIRE_AFTER = 6.0
FLAGS = [
    "--expire-after", f"{EXPIRE_AFTER:.0f}s", "--sweep-interval", "1s", "--sweep-grace", "0s",
    "--max-open", "none", "--no-page", "--no-access-log", "--webhook-events", "post-finish",
]  # fmt: skip


@pytest.fixture(params=[1, 3], ids=["one process", "three workers"])
def victim(request, upload_dir, state_url):
    """A server that may be killed, and who is told of what it finishes."""
    with receiving() as receiver:
        flags = [*FLAGS, "--webhook-url", receiver.url]
        made = Victim(*flags, upload_dir=upload_dir, state=state_url, workers=request.param)
        with watch(request, made) as server:
            yield server, receiver


@pytest.mark.timeout(300)
def test_killed_at_any_moment_nothing_acknowledged_is_lost(victim, amount, seed, figures):
    server, receiver = victim
    world = World(Promise(expire_after=EXPIRE_AFTER), server.upload_dir)
    world.begin(server.url)
    killing = Killing(server, world, random.Random(seed))
    with Slowness(server.upload_dir) as world.slowness:
        clients = run_clients(world, seed)
        try:
            killing.run(amount(8, 125))
        finally:
            world.ending.set()
        settle(world, clients)
    unknown = check_all(server, world, seed)
    check_events(receiver, world, unknown)
    assert server.terminate() == 0
    server.check_log()
    figures.update({f"killed {how}": count for how, count in sorted(killing.deaths.items())})
    figures.update(world.figures())
