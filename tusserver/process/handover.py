"""What one life of the program leaves to the next when it replaces itself (floor 5).

SIGHUP: the process executes the program anew, with new code and new settings, and keeps its
number, its listening sockets and its workers. What it leaves stands in one variable.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLE = "_TUSSERVER_HANDOVER"
HELD_BACK = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
"""Signals that wait while one life ends and the next has no handlers yet."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A worker that outlives the code it was started by."""

    pid: int
    link: int
    """The descriptor of the parent's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What is handed over."""

    origin: str = ""
    """Whose the sockets are: see `Listening`."""
    sockets: tuple[int, ...] = ()
    """The descriptors of listening sockets."""
    workers: tuple[Survivor, ...] = ()
    rehearsal: bool = False
    """Only try whether the program could start; nothing is handed over."""


def take(environ: MutableMapping[str, str]) -> Handover | None:
    """Give what an earlier life of this process left, if there was one."""
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    found: dict[str, Any] = json.loads(text)
    if found.pop("pid") not in {None, os.getpid()}:
        return None
    workers = tuple(Survivor(**one) for one in found.pop("workers"))
    return Handover(
        origin=found["origin"],
        sockets=tuple(found["sockets"]),
        workers=workers,
        rehearsal=found["rehearsal"],
    )


def execute(handover: Handover) -> None:
    """Become the next life. Raises: OSError when the program cannot be executed."""
    for descriptor in (*handover.sockets, *(worker.link for worker in handover.workers)):
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - by position only
    environ = {**os.environ, VARIABLE: _text(handover, os.getpid())}
    sys.stdout.flush()
    sys.stderr.flush()
    hold_signals_back()
    try:
        os.execve(sys.executable, command(), environ)  # noqa: S606 - itself, as it was called
    finally:
        release_signals()


def hold_signals_back() -> None:
    """Let signals wait until they are released, by this life or by the next."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)


def release_signals() -> None:
    """Let signals come that were held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


def command() -> list[str]:
    """Give the words that this program was called with."""
    return [sys.executable, *sys.orig_argv[1:]]


def rehearsal_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment in which the program only tries whether it could start."""
    kept = {k: v for k, v in environ.items() if k not in {"NOTIFY_SOCKET", "WATCHDOG_USEC"}}
    return {**kept, VARIABLE: _text(Handover(rehearsal=True), None)}


def _text(handover: Handover, pid: int | None) -> str:
    return json.dumps({**asdict(handover), "pid": pid})
