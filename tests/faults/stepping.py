"""Tasks that are cancelled at one chosen suspension, the first, the second, ... to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import contextmanager
from enum import Enum


class Moment(Enum):
    """When the cancellation comes."""

    WAITING = "while it waits"
    DONE = "when what it waits for is done and it has not gone on yet"


class Victim(Enum):
    """Who is cancelled."""

    CLIENT = "the request, whose client has gone"
    WORK = "the work itself, as at the end of a stop that takes too long"


class Stepped(Coroutine):
    """A coroutine that tells of each time it is suspended."""

    def __init__(self, coroutine, suspended):
        self._coroutine, self._suspended = coroutine, suspended
        self.__name__ = getattr(coroutine, "__name__", "work")
        self.__qualname__ = getattr(coroutine, "__qualname__", "work")

    def send(self, value):
        awaited = self._coroutine.send(value)
        self._suspended(awaited)
        return awaited

    def throw(self, *error):
        awaited = self._coroutine.throw(*error)
        self._suspended(awaited)
        return awaited

    def close(self):
        self._coroutine.close()

    def __await__(self):
        return self._coroutine.__await__()


class Cancellation:
    """Cancels a request at its n-th suspension, those of the tasks that it starts included."""

    def __init__(self, number, *, moment, victim):
        self.number, self.moment, self.victim = number, moment, victim
        self.count = 0
        self.root = None
        self.struck = ""
        """The place in our code at which it was cancelled."""
        self._tasks = []

    async def run(self, coroutine):
        """Run a request to its end; give its result or what it raised."""
        with self._counting():
            self.root = asyncio.create_task(self._stepped(coroutine), name="client")
            [outcome] = await asyncio.gather(self.root, return_exceptions=True)
            # What works on for a client that has gone is not what comes after it.
            while begun := [task for task in self._tasks if not task.done()]:
                await asyncio.wait(begun)
        return outcome

    @contextmanager
    def _counting(self):
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()

        def make(loop, coroutine, **options):
            if not is_ours(coroutine):
                return asyncio.Task(coroutine, loop=loop, **options)
            self._tasks.append(task := asyncio.Task(self._stepped(coroutine), loop=loop, **options))
            return task

        loop.set_task_factory(make)
        try:
            yield
        finally:
            loop.set_task_factory(before)

    def _stepped(self, coroutine):
        return Stepped(coroutine, lambda awaited: self._suspended(coroutine, awaited))

    def _suspended(self, coroutine, awaited):
        self.count += 1
        if self.count != self.number:
            return
        task = asyncio.current_task()
        victim = self.root if self.victim is Victim.CLIENT else task
        self.struck = f"{task.get_name()}, {place_of(coroutine)}"
        if self.moment is Moment.DONE and awaited is not None:
            awaited.add_done_callback(lambda _: victim.cancel())
        else:
            victim.cancel()


def is_ours(coroutine):
    """Tell whether a task's code is the engine's: what others run belongs to nobody's request."""
    code = getattr(coroutine, "cr_code", None)
    return code is not None and "/tusserver/engine/" in code.co_filename


def place_of(coroutine):
    """Name the innermost line of ours that a suspended coroutine waits in."""
    place = "?"
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None and "/tusserver/" in frame.f_code.co_filename:
            name = frame.f_code.co_filename.rpartition("/tusserver/")[2]
            place = f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return place
