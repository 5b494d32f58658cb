"""Ports that stay ours while nothing listens on them: a server that is down comes back to its own.

The kernel gives out the ports of one range by itself, to clients and to who asks for port 0. These
lie below it, and each process of a run of the tests has some of its own.
"""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST_OF_KERNEL = 32_768
"""Where that is not told."""
LEAST = 10_240
PROCESSES = 8
"""Processes of one run that get ports of their own; more share them."""


def _mine() -> range:
    """Give the ports of this process of pytest."""
    end = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else FIRST_OF_KERNEL
    each = (end - LEAST) // PROCESSES
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    start = LEAST + int(name.removeprefix("gw")) % PROCESSES * each
    return range(start, start + each)


def _in_turn() -> itertools.cycle[int]:
    ports = list(_mine())
    # Two runs on one machine, or one after another, do not begin at the same one.
    first = os.getpid() * 61 % len(ports)
    return itertools.cycle(ports[first:] + ports[:first])


_ports = _in_turn()


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nothing listens on, and that nobody else is given."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: it goes round")
