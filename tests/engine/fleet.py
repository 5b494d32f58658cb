"""Several processes of one store that a test talks to, kills, suspends and replaces."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 15.0


class Lost(Exception):
    """The process died before it answered."""


class Process:
    """One worker process."""

    def __init__(self, process):
        self._process = process
        self._numbers = itertools.count()
        self._asked = {}
        self._begun = {}
        self._ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def ready(self):
        """Wait until it serves. Raises: Lost."""
        await self._ready.wait()
        if self._reading.done():
            raise Lost

    async def _read(self):
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "ready" in message:
                self._ready.set()
            elif "begun" in message:
                self._begun[message["begun"]].set()
            else:
                future = self._asked[message.pop("number")]
                if not future.done():
                    future.set_result(message)
        for number, future in self._asked.items():
            self._begun[number].set()
            if not future.done():
                future.set_exception(Lost())
                future.exception()
        self._ready.set()

    def ask(self, verb, **fields):
        """Send a request; give the future of its answer and what says that its body is read."""
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        begun = asyncio.Event()
        future.add_done_callback(lambda _: begun.set())
        self._asked[number], self._begun[number] = future, begun
        if self._reading.done():
            future.set_exception(Lost())
            future.exception()
        else:
            line = json.dumps({"number": number, "verb": verb, **fields}) + "\n"
            with suppress(ConnectionError):
                self._process.stdin.write(line.encode())
        return future, begun

    async def __call__(self, verb, **fields):
        """Send a request and wait for its answer. Raises: Lost."""
        future, _ = self.ask(verb, **fields)
        async with asyncio.timeout(PATIENCE):
            return await future

    def signal(self, number):
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self):
        self.signal(signal.SIGKILL)
        await self._process.wait()
        await self._reading

    async def close(self):
        """End it as an operator does; give its exit status."""
        self._process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()
        await self._reading
        return self._process.returncode


class Fleet:
    """The processes of one store."""

    def __init__(self, directory, state, rng):
        self._directory, self._state, self._rng = directory, state, rng
        self._started = []
        self.workers = []
        self.kills = 0

    async def open(self, count):
        self.workers = list(await asyncio.gather(*(self._start() for _ in range(count))))

    async def _start(self):
        command = [sys.executable, "-m", "tests.engine.worker", str(self._directory), self._state]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=pipe, stdout=pipe, limit=2**20
        )
        worker = Process(process)
        self._started.append(worker)
        await worker.ready()
        return worker

    def any(self):
        return self._rng.choice(self.workers)

    async def trouble(self):
        """Kill and replace, or suspend for a while, one worker after the other, for ever."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.3, 0.9))
            place = self._rng.randrange(len(self.workers))
            if self._rng.random() < 0.3:
                victim = self.workers[place]
                victim.signal(signal.SIGSTOP)
                try:
                    await asyncio.sleep(self._rng.uniform(0.1, 0.8))
                finally:
                    victim.signal(signal.SIGCONT)
                continue
            fresh = await self._start()
            victim, self.workers[place] = self.workers[place], fresh
            self.kills += 1
            await victim.kill()

    async def close(self):
        return [await worker.close() for worker in self.workers]

    async def kill(self):
        """End whatever was started and still runs."""
        await asyncio.gather(*(worker.kill() for worker in self._started))
