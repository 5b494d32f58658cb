"""A primary, a replica and three Sentinels, and the address that an operator lets follow them."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import redis

from tests.support.ports import free_port
from tests.support.proxy import RST, Proxy
from tests.support.redis_server import REMEDY, RedisServer, find_redis_server
from tests.support.waiting import eventually

NAME = "uploads"
QUORUM = 2
DOWN_MS = 3000
SETTINGS = f"""
sentinel monitor {NAME} 127.0.0.1 {{primary}} {QUORUM}
sentinel down-after-milliseconds {NAME} {DOWN_MS}
sentinel failover-timeout {NAME} 10000
"""


class Sentinel:
    """One Sentinel, from its making until `stop`."""

    def __init__(self, primary: int) -> None:
        program = find_redis_server()
        if program is None:
            raise FileNotFoundError(REMEDY)
        self._folder = tempfile.TemporaryDirectory(prefix="sentinel-")
        settings = Path(self._folder.name, "conf")
        settings.write_text(SETTINGS.format(primary=primary), encoding="ascii")
        self.port = free_port()
        words = ["--sentinel", "--port", str(self.port), "--dir", self._folder.name]
        with Path(self._folder.name, "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, settings, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def ask(self, *words: str) -> object:
        """Run one command of SENTINEL."""
        with redis.Redis(port=self.port, decode_responses=True, protocol=2) as client:
            return client.execute_command("SENTINEL", *words)

    def knows(self, *, replicas: int, sentinels: int) -> bool:
        """Tell whether it has found all the others."""
        try:
            found = self.ask("MASTER", NAME)
        except redis.RedisError:
            return False
        if isinstance(found, list):
            found = dict(zip(found[::2], found[1::2], strict=True))
        others = int(found["num-slaves"]), int(found["num-other-sentinels"])
        return others == (replicas, sentinels - 1)


class Watched:
    """A primary and its replica, watched by Sentinels, behind one address that moves.

    The address is a proxy that follows what the Sentinels say, as HAProxy or a virtual address of
    an operator does.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._over = threading.Event()
        self.moves = 0
        try:
            self.primary = self._stack.enter_context(RedisServer())
            self.replica = self._stack.enter_context(RedisServer())
            # Replication has a user of its own, so that it can be cut off.
            self.primary.cli("ACL", "SETUSER", "replica", "on", ">word", "+psync", "+replconf")
            self.primary.cli("ACL", "SETUSER", "replica", "+ping")
            self.replica.cli("CONFIG", "SET", "masteruser", "replica", "masterauth", "word")
            self.replica.cli("REPLICAOF", "127.0.0.1", self.primary.port)
            self.sentinels = [
                self._stack.enter_context(Sentinel(self.primary.port)) for _ in range(3)
            ]
            assert eventually(self._is_set_up, within=30.0), "the Sentinels found each other not"
            self.address = self._stack.enter_context(
                Proxy(self.primary.port, scheme="redis", path="/0")
            )
        except BaseException:
            self._stack.close()
            raise
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def _is_set_up(self) -> bool:
        return self.is_in_step() and all(
            sentinel.knows(replicas=1, sentinels=3) for sentinel in self.sentinels
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._follower.join()
        self._stack.close()

    def _follow(self) -> None:
        while not self._over.wait(0.05):
            with suppress(redis.RedisError, OSError):
                _, port = self.sentinels[0].ask("GET-MASTER-ADDR-BY-NAME", NAME)
                if [int(port)] != self.address.ports:
                    self.address.ports[:] = [int(port)]
                    self.address.cut_all(RST)
                    self.moves += 1

    def is_in_step(self) -> bool:
        """Tell whether the replica has all that the primary has."""
        ours, theirs = map(_replication, (self.primary, self.replica))
        return (
            theirs.get("master_link_status") == "up"
            and ours["master_repl_offset"] == theirs["master_repl_offset"]
        )

    def hold_replica_back(self) -> None:
        """Let nothing of what the primary takes from here on get to the replica."""
        self.primary.cli("ACL", "SETUSER", "replica", "off")
        self.primary.cli("CLIENT", "KILL", "TYPE", "replica")

    def fail_over(self) -> float:
        """Kill the primary; give the seconds until the address leads to the other one."""
        began = time.monotonic()
        self.primary.kill()
        assert eventually(lambda: self.moves > 0, within=60.0), "the Sentinels did nothing"
        return time.monotonic() - began


def _replication(server: RedisServer) -> dict[str, str]:
    with redis.Redis(port=server.port, protocol=2) as client:
        return {key: str(value) for key, value in client.info("replication").items()}
