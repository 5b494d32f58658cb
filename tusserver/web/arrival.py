"""Where a request came from, proxies looked through (floor 5).

A request keeps what was found out: `arrival_of` gives it to whoever logs or decides later.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

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
_ARRIVAL = web.RequestKey("tusserver.arrival", Arrival)


class Arrivals:
    """Finds out where requests came from."""

    def __init__(
        self, trusted: Iterable[str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Believe these proxies; `clock` gives seconds that never jump."""
        self._trusted = TrustedProxies(trusted)
        self._clock = clock
        self._quiet_until = float("-inf")
        self._hinted = False

    def of(self, request: web.BaseRequest) -> Arrival:
        """Find out where a request came from, and keep it with the request."""
        arrival = self._look(request)
        request[_ARRIVAL] = arrival
        return arrival

    def _look(self, request: web.BaseRequest) -> Arrival:
        peer = peer_of(request)
        host = request.host if "Host" in request.headers else ""
        told = _NOTHING
        if self._trusted.trusts(peer):
            try:
                told = read_forwarding(lambda name: request.headers.getall(name, ()), self._trusted)
            except ForwardedError as error:
                self._warn(peer, error)
        elif not self._trusted:
            self._hint(request, peer)
        # Without proxies of ours, what a host application made of its own proxies holds.
        client = told.client or (peer if self._trusted else request.remote or "")
        scheme = told.scheme or request.scheme
        if told.host is not None:
            host = told.host
        elif told.port is not None:
            host = host_with_port(host, told.port, scheme)
        return Arrival(client, scheme, host)

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

    def _hint(self, request: web.BaseRequest, peer: str) -> None:
        """Say once that there is a proxy, by the look of it, which nobody told us of."""
        if self._hinted:
            return
        headers = request.headers
        found = [name for name in FIELDS if name in headers]
        if found:
            self._hinted = True
            logger.warning(
                "a request from %s carries %s, which is ignored: if that is your proxy, name it "
                "in --trusted-proxies (told once)",
                peer or "an unknown address",
                found[0],
            )


def arrival_of(request: web.BaseRequest) -> Arrival | None:
    """Give what was found out about a request; None before it reached its handler."""
    return request.get(_ARRIVAL)


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
