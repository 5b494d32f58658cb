"""One process that serves (floor 5): alone, or as a worker of a parent."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tusserver.logs import flush_lines, lines_in_thread
from tusserver.options import Ingest
from tusserver.process import handover
from tusserver.process.rehearsal import Rehearsal
from tusserver.process.signals import restarts_on_hangup
from tusserver.process.supervisor import SHORTEST_GRACE
from tusserver.web.accepting import Acceptor
from tusserver.web.dispatch import ShortcutRunner
from tusserver.web.proof import find_way
from tusserver.web.server import TusServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from aiohttp import web

    from tusserver.config import Settings
    from tusserver.process.link import Link
    from tusserver.process.listening import Listening
    from tusserver.process.notify import Notifier
    from tusserver.storage.placing import Placing
    from tusserver.web.accepting import Seat

logger = logging.getLogger(__name__)

ANSWERING_SHARE = 0.7
"""The part of --shutdown-timeout that requests get; the rest is for commits and syncs."""
LOOK_SECONDS = 0.1


SWITCH_SECONDS = 0.0005
"""How long one thread may keep the interpreter from others: ten times less than by default, so
that a request, which goes through several threads, waits for no sweeper in each of them."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a process needs to serve."""

    settings: Settings
    build: Callable[[], web.Application]
    listening: Listening
    tls: SSLContext | None
    limit: int
    """The most connections at once."""
    placing: Placing | None
    """Where its threads run."""

    async def serve(
        self, told: asyncio.Event, *, ready: Callable[[], None], seat: Seat | None = None
    ) -> None:
        """Serve until `told` to stop, and stop in good order; `ready`: connections are accepted.

        `seat` is the place among other processes at the same sockets.

        Raises: ConfigError, StorageFault, StateUnavailable.
        """
        settings = self.settings
        sys.setswitchinterval(SWITCH_SECONDS)
        if self.placing is not None and seat is not None:
            self.placing.sit(seat.number)
        # Zero would mean without end. aiohttp waits twice: before and after it ends bodies.
        time = max(settings.shutdown_timeout, SHORTEST_GRACE) * ANSWERING_SHARE / 2
        runner = ShortcutRunner(
            self.build(),
            shutdown_timeout=time,
            keepalive_timeout=settings.keepalive_timeout,
            head_timeout=settings.head_timeout,
            send_timeout=settings.send_timeout,
            ingest=await _ingest(settings.ingest),
        )
        with lines_in_thread():
            try:
                await runner.setup()
                # What is there now stays to the end: to look through it takes 50 ms each time.
                gc.collect()
                gc.freeze()
                if not told.is_set():
                    acceptor = self._acceptor(runner, seat)
                    acceptor.start()
                    ready()
                    await told.wait()
                    acceptor.stop()
                    if seat is not None:
                        # If the parent was killed, another one may want to listen here at once.
                        self.listening.close()
                    await acceptor.close()
            finally:
                await runner.cleanup()

    def _acceptor(self, runner: ShortcutRunner, seat: Seat | None) -> Acceptor:
        server = runner.server
        if not isinstance(server, TusServer):
            raise TypeError("the runner has not made its server")
        return Acceptor(
            server,
            self.listening.sockets,
            limit=self.limit,
            seat=seat,
            tls=self.tls,
            handshake_timeout=self.settings.head_timeout,
        )


async def _ingest(wanted: Ingest) -> Ingest:
    """Give the way for bodies that works."""
    return wanted if wanted is Ingest.PORTABLE else await find_way(wanted)


async def serve_as_worker(post: Post, link: Link) -> None:
    """Serve until SIGTERM, or until the parent has died. Raises: as `Post.serve`."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    show_stacks_on_request()
    link.open(told.set)
    try:
        await post.serve(told, ready=link.ready, seat=link.seat)
    finally:
        link.close()
        post.listening.close()


class Alone:
    """A process that has no workers: it serves, and sees to signals and systemd itself."""

    def __init__(self, post: Post, *, notifier: Notifier, announce: Callable[[], None]) -> None:
        """`announce` is called when connections are accepted."""
        self._post = post
        self._notifier = notifier
        self._announce = announce
        self._told = asyncio.Event()
        self._trying: asyncio.Task[None] | None = None
        self._again = False
        """The process starts anew when it has ended what runs."""
        self._ready = False
        self._retired = False

    def run(self) -> None:
        """Serve until a signal ends it. Raises: as `Post.serve`."""
        try:
            asyncio.run(self._serve())
            if self._again:
                self._start_anew()
        finally:
            self._retire()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if restarts_on_hangup():
            loop.add_signal_handler(signal.SIGHUP, self._try_anew)
        handover.release_signals()
        show_stacks_on_request()
        if self._notifier.watchdog is not None:
            self._show_life(self._notifier.watchdog)
        await self._post.serve(self._told, ready=self._is_ready)

    def _is_ready(self) -> None:
        self._ready = True
        self._announce()

    def _show_life(self, every: float) -> None:
        self._notifier.alive()
        asyncio.get_running_loop().call_later(every, self._show_life, every)

    def _stop(self) -> None:
        if self._told.is_set() and not self._again:
            os._exit(1)
        if self._trying is not None:
            self._trying.cancel()
        self._notifier.stopping()
        # Who connects from now on learns that nobody is here.
        self._again = False
        self._end()
        self._retire()

    def _retire(self) -> None:
        """Let go of the sockets, once: what is at the path later may be somebody else's."""
        if not self._retired:
            self._retired = True
            self._post.listening.retire()

    def _end(self) -> None:
        self._told.set()
        time = max(self._post.settings.shutdown_timeout, SHORTEST_GRACE)
        # A thread, because the loop itself may be what hangs.
        guard = threading.Timer(time, self._give_up, [time])
        guard.daemon = True
        guard.start()

    def _give_up(self, time: float) -> None:
        logger.warning("what runs did not end within %.1f s: it is cut off", time)
        flush_lines()
        try:
            if self._again:
                self._start_anew()
        finally:
            os._exit(1)

    # --- starting anew

    def _try_anew(self) -> None:
        if not self._ready or self._told.is_set() or self._trying is not None:
            logger.warning("SIGHUP: the program is starting or ending; send it again later")
            return
        self._trying = asyncio.create_task(self._rehearse(), name="rehearsal")

    async def _rehearse(self) -> None:
        if self._post.placing is not None:
            # A program begins where the thread is that starts it.
            self._post.placing.release()
        rehearsal = await asyncio.to_thread(Rehearsal)
        try:
            while not rehearsal.is_over():  # noqa: ASYNC110 - a process, looked at without signals
                await asyncio.sleep(LOOK_SECONDS)
        except asyncio.CancelledError:
            rehearsal.cancel()
            raise
        self._trying = None
        if not rehearsal.succeeded:
            logger.error("SIGHUP: the program would not start anew (see above): this one goes on")
            return
        logger.info("SIGHUP: starting anew")
        self._notifier.reloading()
        self._again = True
        self._end()

    def _start_anew(self) -> None:
        """Become the next life; the sockets stay, and keep who connects meanwhile."""
        if self._post.placing is not None:
            # The next life starts with the processors of the thread that calls it.
            self._post.placing.release()
        listening = self._post.listening
        handover.execute(
            handover.Handover(
                origin=listening.origin,
                sockets=tuple(one.fileno() for one in listening.sockets),
            )
        )


def show_stacks_on_request() -> None:
    """Let SIGUSR1 write down what every thread does, also when the event loop hangs."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
