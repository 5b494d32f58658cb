"""A machine that loses its power: server, disk and what else is on it, in the same moment."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

from tests.faults.client import Client
from tests.faults.victim import Victim
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import random

    from tests.faults.world import World
    from tests.support.disk import Disk
    from tests.support.redis_server import RedisServer

PARKING = 60.0


class Machine:
    """A server on a disk that loses its power, in one life after the other."""

    def __init__(
        self, disk: Disk, *flags: str, state: str = "local", redis: RedisServer | None = None
    ) -> None:
        """Start; `redis` is the one on this machine, which dies with it."""
        self._disk = disk
        self._redis = redis
        self._boot_id = disk.image.with_name("boot-id")
        self.life = 0
        self._new_life()
        self.server = Victim(
            *flags,
            upload_dir=disk.mount_point / "uploads",
            state=state,
            environment={"TUSSERVER_BOOT_ID_FILE": str(self._boot_id)},
        )

    def _new_life(self) -> None:
        self.life += 1
        self._boot_id.write_text(f"life-{self.life}")

    def lose_power(self) -> None:
        """Freeze everything, drop what is not on the disk, and let nobody wake up again."""
        os.killpg(self.server.pid, signal.SIGSTOP)
        if self._redis is not None:
            self._redis.pause()
        self._disk.lose_power()
        if self._redis is not None:
            self._redis.kill()
        self.server.kill()

    def restart(self) -> None:
        """Bring all of it back, in a new life."""
        self._disk.unmount()
        self._disk.mount()
        self._new_life()
        if self._redis is not None:
            self._mend_redis()
            self._redis.start()
        self.server.begin()

    def _mend_redis(self) -> None:
        """Do what Redis asks its operator for when its file ends in bytes that never came."""
        manifest = self._disk.mount_point / "appendonlydir" / "appendonly.aof.manifest"
        command = ["redis-check-aof", "--fix", str(manifest)]
        subprocess.run(command, input=b"y\n" * 4, capture_output=True, check=False)


def cut_again_and_again(
    machine: Machine, world: World, clients: list[Client], *, rounds: int, dice: random.Random
) -> None:
    """Cut the power in the middle of everything; let clients know what is certain no more."""
    with closing(Client(world, "who removes again what came back")) as tidy:
        for _ in range(rounds):
            # Mostly before the first background sync, sometimes after several.
            time.sleep(dice.choice([0.3, 1.5, 1.5, 8.0]) * (0.2 + dice.random()))
            _cut(machine, world, clients)
            for upload in world.known():
                if upload.undone and upload.removed:
                    tidy.remove(upload)
                    world.count("removals done again")
    world.check()


def _cut(machine: Machine, world: World, clients: list[Client]) -> None:
    """Cut the power once, and bring it back."""
    world.check()
    world.close_gate()
    machine.lose_power()
    assert eventually(lambda: world.all_parked(clients), within=PARKING), "a client hangs"
    for upload in world.known():
        upload.cut()
    world.count("power cuts")
    machine.restart()
    world.open_gate()
