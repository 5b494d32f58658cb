"""The whole server under requests that are nearly right: no 5xx, no hang, no leak, no traceback."""

from __future__ import annotations

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.mangling import Mangler
from tests.support.raw import Tus
from tests.support.server import MOUNTED, PROGRAM, TusServer
from tests.support.waiting import eventually

CLIENTS = 8
TARGETS = 24
PATIENCE = 30.0
"""Seconds after its last byte in which a client must have been answered or cut off."""
MEMORY = 24 * 2**20
"""Bytes that a server which has warmed up may grow by: caches that are bounded, fragments."""
THREADS = 64
"""More than the pools of a server have together."""
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
OUR_TRACES = re.compile(r'File ".*/tusserver/|^ERROR:tusserver', re.MULTILINE)
UNDERSTOOD = {501, 505}
"""What is said of a coding or a version of HTTP that nobody here knows."""
HOSTS_FAULT = re.compile(rb"\r\nexpect:[^\r\n]*[\x80-\xff]", re.IGNORECASE)
"""aiohttp quotes such an expectation beside our paths, which fails: a host's affair."""
IDLE_SECONDS = 30
"""After which open uploads are synced, a few at a time: each has its files open for that."""
FLAGS = (
    "--body-timeout", "3s", "--head-timeout", "3s", "--keepalive-timeout", "3s",
    "--max-open", "none",
)  # fmt: skip


class Client:
    """Says one conversation after the other, each over a connection of its own."""

    def __init__(self, url, seed, *, ends_early):
        """`ends_early`: it sends its FIN with its last byte, as it waits for the answer."""
        self._tus, self._dice, self._ends_early = Tus(url), random.Random(seed), ends_early
        self.statuses: dict[int, int] = {}
        self.count = 0

    def talk(self, conversations):
        for number in range(conversations):
            if number % 20 == 0:
                targets = [self._tus.create(self._dice.choice([10, 100_000])) for _ in range(3)]
                targets.append(self._tus.upload(b"0123456789"))
                mangler = Mangler(self._tus, self._dice, targets)
            self._say(mangler.conversation())
            self.count += 1

    def _say(self, data):
        dice = self._dice
        with self._tus.wire(timeout=PATIENCE) as wire:
            cut = dice.randrange(len(data) + 1) if dice.random() < 0.4 else len(data)
            with suppress(OSError):  # it may have been cut off already
                wire.send(data[:cut])
                if cut < len(data):
                    time.sleep(dice.choice([0, 0.001, 0.01]))
                    wire.send(data[cut:])
                if dice.random() < 0.05:
                    wire.reset()
                    return
                # A host's runner takes a FIN for the end of the client.
                if not self._ends_early:
                    eventually(lambda: not wire.is_silent(for_=0.05), within=0.1)
                wire.half_close()
            answered = self._hear(wire.socket, data)
        excused = [] if self._ends_early else HOSTS_FAULT.findall(data)
        for status in map(int, STATUS.findall(answered)):
            if status == 500 and excused:
                excused.pop()
                continue
            is_fine = status < 500 or status in UNDERSTOOD
            assert is_fine, (status, data[:2000], answered[:2000])
            self.statuses[status] = self.statuses.get(status, 0) + 1

    @staticmethod
    def _hear(connection, data):
        """Give everything that comes until the server closes, which it must."""
        pieces, connection_is_open = [], True
        connection.settimeout(PATIENCE)
        while connection_is_open:
            try:
                pieces.append(connection.recv(262_144))
                connection_is_open = bool(pieces[-1])
            except TimeoutError as error:
                raise AssertionError(f"the server hangs after {data[:2000]!r}") from error
            except ConnectionError:
                connection_is_open = False
        return b"".join(pieces)


def open_files(server):
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def thread_count(server):
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


def talk_at_once(clients, conversations):
    with ThreadPoolExecutor(CLIENTS) as pool:
        for talking in [pool.submit(client.talk, conversations) for client in clients]:
            talking.result()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", [PROGRAM, MOUNTED])
def test_no_rubbish_fails_hangs_or_stays_in_the_server(mode, seed, amount, figures):
    rounds = amount(40, 2000)
    is_program = mode == PROGRAM
    with TusServer(*FLAGS, mode=mode) as server:
        tus = Tus(server.url)
        bystander = tus.create(20, body=b"0123456789")
        clients = [
            Client(server.url, f"{seed}/{number}", ends_early=is_program)
            for number in range(CLIENTS)
        ]
        talk_at_once(clients, rounds)  # fills what is filled only once
        patience = IDLE_SECONDS + PATIENCE
        assert eventually(lambda: open_files(server) < 64, within=patience), open_files(server)
        files, memory = open_files(server), server.rss()
        talk_at_once(clients, rounds)
        few = files + 4
        assert eventually(lambda: open_files(server) <= few, within=patience), open_files(server)
        grown = server.rss() - memory
        assert grown < MEMORY
        assert thread_count(server) <= THREADS
        assert tus.patch(bystander, 10, b"abcdefghij").status == 204
        assert tus.content(bystander) == b"0123456789abcdefghij"
        if is_program:
            server.check_log()
        assert OUR_TRACES.search(server.whole_log()) is None, server.log[-8000:]
        assert server.terminate() == 0
    figures["connections"] = sum(client.count for client in clients)
    figures["answers"] = sum(sum(client.statuses.values()) for client in clients)
    figures["kilobytes grown"] = grown // 1024
    # Chance that makes nothing but 400 shows nothing of what lies behind the parser.
    assert {200, 201, 204, 400, 404, 409} <= {s for client in clients for s in client.statuses}
