"""Listening sockets (floor 5): made here, or handed over by systemd or by an earlier life.

They outlive every worker, and a restart: what has connected and was not accepted yet waits in
the socket's queue. Source: sd_listen_fds(3).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

BACKLOG = 4096
"""Connections that wait to be accepted; the kernel allows net.core.somaxconn at most."""

ACTIVATED = "activated"
UNIX = "unix:"
_FIRST = 3
"""The first descriptor that systemd hands over."""
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_MAX_PATH = 107


@dataclass(frozen=True, slots=True)
class Address:
    """Where the settings want the program to listen."""

    host: str = ""
    port: int = 0
    path: Path | None = None
    """A unix socket; then host and port mean nothing."""
    mode: int = 0o660
    """The permissions of the unix socket."""

    @property
    def text(self) -> str:
        """Give what tells whether two lives of the program listen at the same place."""
        if self.path is not None:
            return f"unix {self.path.absolute()}"
        return f"tcp {self.host} {self.port}"


@dataclass(frozen=True, slots=True)
class Listening:
    """Sockets that accept connections, and whose they are."""

    sockets: tuple[socket.socket, ...]
    origin: str
    """The text of the address they were made for, or `ACTIVATED`."""
    place: tuple[str, int]
    """Host and port of the first one; `unix:PATH` and 0 of a unix socket."""

    def close(self) -> None:
        """Let go of the sockets; connections that nobody accepted are reset with the last copy."""
        for one in self.sockets:
            one.close()

    def retire(self) -> None:
        """Let go for ever: the file of a unix socket of ours goes too."""
        if self.origin != ACTIVATED and self.place[0].startswith(UNIX):
            with suppress(OSError):
                Path(self.place[0].removeprefix(UNIX)).unlink()
        self.close()


def listen(address: Address) -> Listening:
    """Make the sockets of an address. Raises: ConfigError (a unix socket), OSError."""
    made = [_listen_unix(address.path, address.mode)] if address.path else _listen_tcp(address)
    return _listening(made, address.text)


def adopt(descriptors: list[int], origin: str) -> Listening:
    """Take sockets by their descriptors, which this process owns. Raises: OSError."""
    found = []
    for descriptor in descriptors:
        one = socket.socket(fileno=descriptor)
        one.settimeout(0)
        one.set_inheritable(False)
        found.append(one)
    return _listening(found, origin)


def _listening(sockets: list[socket.socket], origin: str) -> Listening:
    first = sockets[0]
    if first.family == socket.AF_UNIX:
        place = f"{UNIX}{first.getsockname()}", 0
    else:
        host, port = first.getsockname()[:2]
        place = str(host), int(port)
    return Listening(tuple(sockets), origin, place)


def activated(environ: MutableMapping[str, str]) -> Listening | None:
    """Take the sockets that systemd made for this process, if any; its variables are removed.

    Raises: ConfigError, when what it made is no stream socket that listens.
    """
    pid, count = environ.get("LISTEN_PID", ""), environ.get("LISTEN_FDS", "")
    for name in _VARIABLES:
        environ.pop(name, None)
    if pid != str(os.getpid()) or not count.isdecimal() or not int(count):
        return None
    descriptors = list(range(_FIRST, _FIRST + int(count)))
    for descriptor in descriptors:
        if not _accepts(descriptor):
            reason = f"descriptor {descriptor} is no listening stream socket: use ListenStream="
            raise ConfigError("LISTEN_FDS", count, reason)
    return adopt(descriptors, ACTIVATED)


def _accepts(descriptor: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as probe:
            listens = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return bool(listens) and probe.type == socket.SOCK_STREAM
    except OSError:
        return False


def _listen_tcp(address: Address) -> list[socket.socket]:
    """Listen on every address that the host's name has here; one of them suffices."""
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    port, failed = address.port, None
    with ExitStack() as on_failure:
        made: list[socket.socket] = []
        for family, *_, place in dict.fromkeys(found):
            try:
                one = _bind_tcp(family, (place[0], port, *place[2:]))
            except OSError as exc:
                if exc.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                failed = exc
                continue
            made.append(on_failure.enter_context(one))
            port = one.getsockname()[1]
        if not made:
            raise failed or OSError(errno.EADDRNOTAVAIL, "the host has no address")
        on_failure.pop_all()
    return made


def _bind_tcp(family: int, place: tuple[str | int | bytes, ...]) -> socket.socket:
    with ExitStack() as on_failure:
        one = on_failure.enter_context(socket.socket(family, socket.SOCK_STREAM))
        one.settimeout(0)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` is not every address of IPv4 too: who wants both names a host that has both.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(place)
        one.listen(BACKLOG)
        on_failure.pop_all()
    return one


def _listen_unix(path: Path, mode: int) -> socket.socket:
    path = path.absolute()
    if len(os.fsencode(path)) > _MAX_PATH:
        reason = f"the path of a unix socket has at most {_MAX_PATH} bytes: choose a shorter one"
        raise ConfigError("unix_socket", str(path), reason)
    try:
        _remove_if_dead(path)
        with ExitStack() as on_failure:
            one = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            one.settimeout(0)
            one.bind(str(path))
            # Nobody can connect before `listen`, so that the mode holds from the beginning.
            path.chmod(mode)
            one.listen(BACKLOG)
            on_failure.pop_all()
    except OSError as exc:
        reason = exc.strerror or "it cannot be used"
        if exc.errno == errno.EADDRINUSE:
            reason = "is in use: stop what listens there, or choose another path"
            if not path.is_socket():
                reason = "is no socket: choose another path"
        raise ConfigError("unix_socket", str(path), reason) from exc
    return one


def _remove_if_dead(path: Path) -> None:
    """Remove a socket that nobody listens on; leave alone what is used, or is no socket."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            return
