"""What a tree of processes uses: time of the processors and memory, read from the kernel."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OTHER_PROCESS = 2
"""The kind of clock (CPUCLOCK_SCHED) that `clock_getcpuclockid` of libc gives."""


def tree(roots: list[int]) -> list[int]:
    """Give these processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid for pid in roots if (_PROC / str(pid)).exists()]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu(pids: list[int]) -> float:
    """Give the seconds, user and system, that they and the children they waited for have used."""
    return sum(_own(pid) + _waited_for(pid) for pid in pids)


def _own(pid: int) -> float:
    """Read the clock of a process: to the nanosecond, threads that have ended included."""
    try:
        return time.clock_gettime((~pid << 3) | _OTHER_PROCESS)
    except OSError:
        return 0.0


def _waited_for(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[13]) + int(fields[14])) / _TICKS if fields else 0.0


def _fields(pid: int) -> list[str]:
    """Give the fields of `stat` behind the name of the program: state, parent and so on."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def rss(pids: list[int]) -> int:
    """Give the bytes of memory that they hold; what several share counts for each."""
    return sum(_resident(pid) for pid in pids)


def _resident(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return 0


def peak(pids: list[int]) -> int:
    """Give the most bytes that they ever held."""
    return sum(_highest(pid) for pid in pids)


def _highest(pid: int) -> int:
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+([0-9]+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
