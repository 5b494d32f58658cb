"""Deaths of a server: at a moment of a request, at a step of its own, while it starts."""

from __future__ import annotations

import math
import time
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from tests.faults.kinds import MOMENTS

if TYPE_CHECKING:
    import random

    from tests.faults.victim import Victim
    from tests.faults.world import World

MOST_STEPS = 3_000
LIFE = 4.0
"""Seconds after which a server that has not died by itself is killed."""


class Killing:
    """Breaks a server, round after round, while clients go on."""

    def __init__(self, server: Victim, world: World, dice: random.Random) -> None:
        self.server, self.world, self.dice = server, world, dice
        self.deaths: Counter[str] = Counter()
        self._starts = [1.0]

    def run(self, rounds: int) -> None:
        while sum(self.deaths.values()) < rounds:
            self.world.check()
            self._round()
        if not self.server.is_running:
            self.server.begin()

    def _round(self) -> None:
        server, dice = self.server, self.dice
        if not server.is_running:
            if dice.random() < 0.2:
                server.start_and_kill(dice, median(self._starts[-9:]))
                self.deaths["while starting"] += 1
            if dice.random() < 0.5:
                self._live_until_a_step()
                return
            self._start()
        if server.workers > 1 and dice.random() < 0.5:
            self._strike(server.striking_one(dice), "one worker")
        else:
            self._strike(server.strike_all, "all at once")
            server.kill()

    def _start(self) -> None:
        begun = time.monotonic()
        self.server.begin()
        self._starts.append(time.monotonic() - begun)

    def _strike(self, strike, name: str) -> None:
        """Kill in the middle of a request of some kind, or between two."""
        moment = self.dice.choice(MOMENTS)
        self.world.arm(moment, self.dice.random() * 1.5, strike)
        time.sleep(self.dice.random() * 0.3)
        if not self.world.turned.wait(LIFE) and self.world.disarm():
            strike()
            moment = "any time"
        self.world.turned.wait(LIFE)
        self.deaths[name] += 1
        self.world.count(f"died at {moment}")

    def _live_until_a_step(self) -> None:
        server = self.server
        step = round(math.exp(self.dice.uniform(0, math.log(MOST_STEPS))))
        alone = server.workers > 1 and self.dice.random() < 0.5
        if not server.begin(dies_at=step, alone=alone):
            self.deaths["at a step of the start"] += 1
            return
        named = server.await_worker_death(LIFE) if alone else server.await_death(LIFE)
        self.deaths["at a step" if named else "all at once"] += 1
        server.kill()
