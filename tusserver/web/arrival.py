"""Where a request came from, proxies looked through (floor 5)."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from aiohttp.hdrs import HOST

from tusserver.values import UNIX
from tusserver.web.forwarded import (
    FIELDS,
    ForwardedError,
    Forwarding,
    TrustedProxies,
    host_with_port,
    read_forwarding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

logger = logging.getLogger(__name__)

WARN_EVERY = 60.0
"""Seconds between two warnings: anybody can make a proxy send what is malformed."""


class Arrival(NamedTuple):
    """A request as its client sent it."""

    client: str
    """The address of the client, or what a proxy calls it; empty if nobody knows."""
    scheme: str
    host: str
    """As in the client's `Host`: with the port, unless it is the scheme's own."""

    @property
    def origin(self) -> str:
        """Give the origin of the server's own pages, as browsers name it."""
        return f"{self.scheme}://{self.host}"


_NOTHING = Forwarding()


class Arrivals:
    """Finds out where requests came from."""

    def __init__(
        self, trusted: Iterable[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Believe these proxies; `clock` gives seconds that never jump."""
        self._trusted = TrustedProxies(trusted)
        self._is_anybody_trusted = bool(self._trusted)
        self._clock = clock
        self._quiet_until = float("-inf")
        self._hinted = False

    def of(self, request: web.BaseRequest) -> Arrival:
        """Find out where a request came from."""
        headers = request.headers
        host = request.host if HOST in headers else ""
        if not self._is_anybody_trusted:
            # What a host application made of its own proxies holds.
            if not self._hinted and any(map(headers.__contains__, FIELDS)):
                self._hint(request)
            return Arrival(request.remote or "", request.scheme, host)
        peer = peer_of(request)
        told = _NOTHING
        if self._trusted.trusts(peer):
            try:
                told = read_forwarding(lambda name: headers.getall(name, ()), self._trusted)
            except ForwardedError as error:
                self._warn(peer, error)
        scheme = told.scheme or request.scheme
        if told.host is not None:
            host = told.host
        elif told.port is not None:
            host = host_with_port(host, told.port, scheme)
        return Arrival(told.client or peer, scheme, host)

    def _warn(self, peer: str, error: ForwardedError) -> None:
        if self._clock() < self._quiet_until:
            return
        self._quiet_until = self._clock() + WARN_EVERY
        logger.warning(
            "what the proxy %s says of its clients is ignored: %s. Let it write Forwarded or "
            "X-Forwarded-*, and remove what clients send of the other (told once a minute at most)",
            peer,
            error,
        )

    def _hint(self, request: web.BaseRequest) -> None:
        """Say once that there is a proxy, by the look of it, which nobody told us of."""
        self._hinted = True
        logger.warning(
            "a request from %s carries %s, which is ignored: if that is your proxy, name it "
            "in --trusted-proxies (told once)",
            peer_of(request) or "an unknown address",
            next(name for name in FIELDS if name in request.headers),
        )


def peer_of(request: web.BaseRequest) -> str:
    """Give the address at the other end of the connection, or `unix`; empty when it is gone.

    Never what a middleware made of it.
    """
    transport = request.transport
    if transport is None:
        return ""
    address = transport.get_extra_info("peername")
    if isinstance(address, tuple):
        return str(address[0])
    connection = transport.get_extra_info("socket")
    return UNIX if connection is not None and connection.family == socket.AF_UNIX else ""
