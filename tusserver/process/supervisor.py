"""The parent of the workers (floor 5): starts, watches, replaces and stops them.

Workers are forked before there is any thread or event loop, so that one that is replaced years
later runs the code and the settings that its siblings run. The parent accepts nothing, opens
no store, and never waits for a worker.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from typing import TYPE_CHECKING

from tusserver.process import handover
from tusserver.process.balance import Balance
from tusserver.process.link import READY, Link
from tusserver.process.rehearsal import Rehearsal
from tusserver.process.signals import SignalPipe
from tusserver.process.workers import Slot, Worker, ending, is_held, why

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.process.listening import Listening
    from tusserver.process.notify import Notifier

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds after which the parent looks around at the latest."""
HANG_SECONDS = 30.0
"""Without a sign of life for so long, a worker is replaced."""
SHORTEST_GRACE = 1.0
"""Seconds that workers have to end at least: to commit what they received."""
DUMP_SECONDS = 1.0
"""What a worker that hangs has to write down where."""


@dataclass(slots=True)
class _Stop:
    """How the program ends."""

    deadline: float
    is_too_early: bool
    """It was interrupted before it listened."""


class Supervisor:
    """Keeps a number of workers running until a signal ends the program."""

    def __init__(
        self,
        listening: Listening,
        *,
        workers: int,
        shutdown_timeout: float,
        notifier: Notifier,
        announce: Callable[[], None],
        left: tuple[handover.Survivor, ...] = (),
    ) -> None:
        """Take the sockets; `left` are workers of an earlier life, ended once new ones accept.

        `announce` is called when the workers accept.
        """
        self._listening = listening
        self._grace = max(shutdown_timeout, SHORTEST_GRACE)
        self._notifier = notifier
        self._announce = announce
        self._slots = [Slot(number) for number in range(1, workers + 1)]
        self._old = [Worker.left_behind(one.pid, one.link) for one in left]
        self._selector = DefaultSelector()
        self._announced = False
        self._ever_ready = False
        self._stop: _Stop | None = None
        self._rehearsal: Rehearsal | None = None
        self._next_sign = 0.0
        self._signals = SignalPipe()
        self._balance = Balance(workers)

    def run(self) -> Link | None:
        """Give the link of a worker in each worker, and None in the parent when all is over.

        Raises in the parent: SystemExit with the status of a first worker that did not start,
        which said why, or after a second signal; KeyboardInterrupt before it listened.
        """
        gc.collect()
        gc.freeze()  # What workers share with the parent stays shared.
        self._selector.register(self._signals.reader, EVENT_READ)
        for worker in self._old:
            self._selector.register(worker.link, EVENT_READ, worker)
        handover.release_signals()
        try:
            link = self._supervise()
        except SystemExit:
            self._close()
            raise
        if link is None:
            self._close()
            if self._stop is not None and self._stop.is_too_early:
                raise KeyboardInterrupt
        return link

    def _supervise(self) -> Link | None:
        while self._stop is None or self._all():
            link = self._start_due()
            if link is not None:
                return link
            self._wait()
            for number in self._signals.take():
                self._on_signal(number)
            self._reap()
            self._look_after()
        return None

    def _close(self) -> None:
        self._signals.close()
        self._selector.close()

    # --- starting -------------------------------------------------------------------------

    def _all(self) -> list[Worker]:
        return [slot.worker for slot in self._slots if slot.worker is not None] + self._old

    def _start_due(self) -> Link | None:
        """Start what is to be started; the first alone, so that one tells what is wrong."""
        if self._stop is not None:
            return None
        now = time.monotonic()
        slots = self._slots if self._ever_ready else self._slots[:1]
        for slot in slots:
            if slot.worker is None and slot.due <= now:
                link = self._fork(slot)
                if link is not None:
                    return link
        return None

    def _fork(self, slot: Slot) -> Link | None:
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            self._put_off(slot, exc)
            return None
        signal.pthread_sigmask(signal.SIG_BLOCK, handover.HELD_BACK)
        try:
            pid = os.fork()
        except OSError as exc:
            handover.release_signals()
            ours.close()
            theirs.close()
            self._put_off(slot, exc)
            return None
        if pid == 0:
            ours.close()
            self._become_worker()
            return Link(theirs, self._balance.seat(slot.number))
        theirs.close()
        ours.settimeout(0)
        worker = slot.worker = Worker(slot.number, pid, ours)
        self._selector.register(ours, EVENT_READ, worker)
        handover.release_signals()
        return None

    def _put_off(self, slot: Slot, error: OSError) -> None:
        wait = slot.put_off()
        logger.error(
            "worker %d cannot be started (%s), again in %.1f s: allow more processes and files "
            "(TasksMax= and LimitNOFILE= of the unit), or lower --workers",
            slot.number,
            error.strerror,
            wait,
        )

    def _become_worker(self) -> None:
        """Let go, in the child, of what is the parent's."""
        self._selector.close()
        if self._rehearsal is not None:
            self._rehearsal.leave()
        for worker in self._all():
            worker.link.close()
        self._signals.close()
        # Who is told to stop is the parent; a terminal's Ctrl-C reaches all of them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        handover.release_signals()

    # --- watching -------------------------------------------------------------------------

    def _wait(self) -> None:
        now = time.monotonic()
        times = [TICK, self._notifier.watchdog or TICK]
        times += [slot.due - now for slot in self._slots if slot.worker is None]
        if self._stop is not None:
            times.append(self._stop.deadline - now)
        for key, _ in self._selector.select(max(0.01, min(times))):
            if isinstance(key.data, Worker):
                self._listen_to(key.data)

    def _listen_to(self, worker: Worker) -> None:
        try:
            words = worker.link.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            words = b""
        if not words:
            # It has died, or is about to: `_reap` sees to it.
            self._selector.unregister(worker.link)
            worker.is_deaf = True
            if worker.kill_at is None:
                worker.kill_at = time.monotonic() + self._grace
            return
        worker.seen = time.monotonic()
        worker.dumped_at = None
        if READY in words and not worker.is_ready:
            worker.is_ready = self._ever_ready = True
            logger.info("worker %d (process %d) accepts connections", worker.number, worker.pid)

    def _look_after(self) -> None:
        """See to what has become due."""
        now = time.monotonic()
        if not self._announced and self._stop is None and self._has_settled():
            self._announced = True
            self._announce()
            self._retire_old(now)
        if self._stop is not None and now >= self._stop.deadline:
            self._kill_late()
        for worker in self._all():
            self._check(worker, now)
        if now >= self._next_sign and any(now - w.seen < HANG_SECONDS for w in self._all()):
            self._next_sign = now + (self._notifier.watchdog or TICK)
            self._notifier.alive()
        if self._rehearsal is not None and self._rehearsal.is_over():
            self._end_rehearsal(self._rehearsal)

    def _has_settled(self) -> bool:
        """Tell whether some worker accepts, and the others do or have failed once."""
        return self._ever_ready and all(slot.has_settled for slot in self._slots)

    def _retire_old(self, now: float) -> None:
        for worker in self._old:
            worker.stop(now + self._grace)

    def _check(self, worker: Worker, now: float) -> None:
        """End a worker that is late or hangs."""
        if worker.kill_at is not None and now >= worker.kill_at:
            logger.warning(
                "process %d did not end within %.1f s (--shutdown-timeout): it is killed",
                worker.pid,
                self._grace,
            )
            worker.send(signal.SIGKILL)
            worker.kill_at = None
            worker.is_killed = True
        if now - worker.seen < HANG_SECONDS or worker.is_deaf or is_held(worker.pid):
            return
        if worker.dumped_at is None:
            worker.dumped_at = now
            logger.error(
                "process %d has not shown a sign of life for %.0f s: it is replaced; what follows "
                "is where it hangs", worker.pid, HANG_SECONDS,
            )  # fmt: skip
            worker.send(signal.SIGUSR1)
        elif now - worker.dumped_at >= DUMP_SECONDS:
            worker.send(signal.SIGKILL)

    def _reap(self) -> None:
        for worker in self._all():
            try:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = worker.pid, 0
            if pid:
                self._has_ended(worker, os.waitstatus_to_exitcode(status))

    def _has_ended(self, worker: Worker, code: int) -> None:
        if not worker.is_deaf:
            self._selector.unregister(worker.link)
        worker.link.close()
        if worker in self._old:
            self._old.remove(worker)
            if code or not worker.is_stopping:
                logger.warning("process %d of before the restart %s", worker.pid, ending(code))
            return
        slot = self._slots[worker.number - 1]
        slot.worker = None
        self._balance.leave(slot.number)
        if self._stop is not None:
            if code:
                logger.warning("worker %d (process %d) %s", slot.number, worker.pid, ending(code))
            return
        if not self._ever_ready and not self._old:
            self._did_not_start(code)
        wait = slot.died(worker)
        logger.error(
            "worker %d (process %d) %s: another one takes its place %s; %s",
            slot.number, worker.pid, ending(code),
            f"in {wait:.1f} s" if wait else "at once", why(code),
        )  # fmt: skip
        if not self._ever_ready:
            self._notifier.ready("New workers do not start; those of before go on")

    def _did_not_start(self, code: int) -> None:
        """End with the first worker, which has said why it could not start."""
        self._listening.retire()
        if code < 0:
            logger.error("the first worker %s; %s", ending(code), why(code))
        raise SystemExit(code if code > 0 else 1)

    # --- signals --------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._rehearse()
        elif number in {signal.SIGTERM, signal.SIGINT}:
            self._end(number)

    def _end(self, number: int) -> None:
        if self._stop is not None:
            for worker in self._all():
                worker.send(signal.SIGKILL)
            raise SystemExit(1)
        self._notifier.stopping()
        is_too_early = number == signal.SIGINT and not self._announced
        self._stop = _Stop(time.monotonic() + self._grace, is_too_early)
        self._listening.retire()  # Who connects from now on learns that nobody is here.
        if self._rehearsal is not None:
            self._rehearsal.cancel()
            self._rehearsal = None
        for worker in self._all():
            worker.stop(None)

    def _kill_late(self) -> None:
        for worker in self._all():
            if not worker.is_killed:
                worker.kill_at = 0.0

    def _rehearse(self) -> None:
        """Try whether the program of now would start, before it takes over."""
        if self._stop is not None or self._rehearsal is not None:
            return
        if not self._announced and not self._old:
            logger.warning("SIGHUP: the program is still starting; send it again later")
            return
        self._rehearsal = Rehearsal()

    def _end_rehearsal(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = None
        if not rehearsal.succeeded:
            logger.error("SIGHUP: the program would not start anew (see above): this one goes on")
            return
        logger.info("SIGHUP: starting anew")
        self._notifier.reloading()
        # What comes from now on is heard by the next life; what came before ends this one.
        handover.hold_signals_back()
        told = [number for number in self._signals.take() if number != signal.SIGHUP]
        for number in told:
            self._on_signal(number)
        if self._stop is not None:
            handover.release_signals()
            return
        try:
            handover.execute(
                handover.Handover(
                    origin=self._listening.origin,
                    sockets=tuple(one.fileno() for one in self._listening.sockets),
                    # Also who is about to end: somebody must wait for it.
                    workers=tuple(handover.Survivor(w.pid, w.link.fileno()) for w in self._all()),
                )
            )
        except OSError:
            logger.exception("SIGHUP: the program cannot be executed: this one goes on")
            with suppress(OSError):
                self._notifier.ready("The program could not be executed anew")
