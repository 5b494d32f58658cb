"""What trusted proxies say of a request: its client, its scheme, its host (floor 5; pure).

Source: RFC 7239 (Forwarded), with blanks around ";" accepted as many proxies write them; for
`X-Forwarded-For`, `-Proto`, `-Host` and `-Port` the practice of nginx, HAProxy and Envoy: lists
to which each proxy adds at the right end.

Whoever sends a request can fill these fields, and a proxy only adds to them: so they are read
from the right, as long as the address found there is a trusted proxy's. The first address that
is none is the client's, and its scheme and host are what the proxy said that saw it. What
stands further left is the client's own invention and is not even parsed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from multidict import istr

from tusserver.values import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    GetAll = Callable[[str], Sequence[str]]

FORWARDED = istr("Forwarded")
FOR = istr("X-Forwarded-For")
PROTO = istr("X-Forwarded-Proto")
HOST = istr("X-Forwarded-Host")
PORT = istr("X-Forwarded-Port")
FIELDS = (FORWARDED, FOR, PROTO, HOST, PORT)
"""The fields that are read. `X-Forwarded-Prefix` is not: `--public-url` tells where clients
find the server below another path."""

MAX_HOPS = 64
"""The most proxies of one chain."""
MAX_LENGTH = 16_384
"""The longest field that is read, in characters: who sends more wants to keep us busy."""
KNOWN_PEERS = 1024
"""Addresses of which it is kept in mind whether they are trusted."""
_SHOWN = 200
_MAX_PORT = 65_535
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_TOKEN = r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+"  # noqa: S105 - a grammar's
_PAIR = re.compile(
    rf"({_TOKEN})=(?:({_TOKEN})"
    r'|"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\uffff]|\\[\t\x20-\x7e\x80-\uffff])*)")'
)
_SEPARATOR = re.compile(r"[ \t]*([;,])[ \t]*")
_QUOTED_PAIR = re.compile(r"\\(.)")
_NODE = re.compile(
    r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>unknown|_[A-Za-z0-9._-]+))"
    r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.v]+\]|[0-9A-Za-z\-._~!$&'()*+,;=%]+)(?::(?P<port>[0-9]{1,5}))?"
)


class ForwardedError(ValueError):
    """What a proxy sent cannot be understood."""

    def __init__(self, field: str, value: str, reason: str = "is malformed") -> None:
        """Name the field, its value and what is wrong with it."""
        super().__init__(f"{field} {reason}: {value[:_SHOWN]!a}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """What the trusted proxies say together; None: they say nothing of it."""

    client: str | None = None
    """An IP address, or the identifier that a proxy puts in its place (RFC 7239 section 6)."""
    scheme: str | None = None
    host: str | None = None
    """With the port, if it is not the scheme's own."""
    port: str | None = None
    """The port that clients use, where it was told without a host."""


class TrustedProxies:
    """The peers whose word counts."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Trust networks (10.0.0.0/8), addresses, and `unix` for peers on a unix socket."""
        entries = tuple(networks)
        self._unix = UNIX in entries
        self._networks = [ipaddress.ip_network(entry) for entry in entries if entry != UNIX]
        # Each request asks, and most come from few proxies.
        self._holds = lru_cache(maxsize=KNOWN_PEERS)(self._look_up)

    def __bool__(self) -> bool:
        """Tell whether anybody is trusted."""
        return self._unix or bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Tell whether a peer, an address or `unix`, is trusted."""
        if peer == UNIX:
            return self._unix
        return bool(self._networks) and self._holds(peer)

    def _look_up(self, peer: str) -> bool:
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """Read an IP address; an IPv4 address in IPv6's clothes is an IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def read_forwarding(get_all: GetAll, trusted: TrustedProxies) -> Forwarding:
    """Read what trusted proxies say of a request that came from one of them.

    `get_all` gives the lines of a field. A proxy that knows one of the two kinds of fields lets
    pass what the client wrote into the other one. So when both are there, they have to say the
    same. Raises: ForwardedError, and then nothing of it may be used.
    """
    for name in FIELDS:
        if sum(map(len, get_all(name))) > MAX_LENGTH:
            raise ForwardedError(name, "", f"is longer than {MAX_LENGTH} characters")
    lines = get_all(FORWARDED)
    has_others = any(get_all(name) for name in FIELDS[1:])
    if not lines:
        return _from_x_fields(get_all, trusted) if has_others else Forwarding()
    standard = _from_elements(parse_forwarded(", ".join(lines)), trusted)
    if has_others:
        others = _from_x_fields(get_all, trusted)
        if _told(others) != _told(standard):
            raise ForwardedError(FORWARDED, ", ".join(lines), "contradicts X-Forwarded-*")
    return standard


def parse_forwarded(text: str) -> list[dict[str, str]]:
    """Read the elements of `Forwarded`, names in lower case; empty ones are left out.

    Raises: ForwardedError.
    """
    elements: list[dict[str, str]] = [{}]
    at, end = 0, len(text)
    while at < end:
        if (separator := _SEPARATOR.match(text, at)) is not None:
            at = separator.end()
            if separator[1] == ",":
                elements.append({})
            continue
        pair = _PAIR.match(text, at)
        if pair is None or pair[1].lower() in elements[-1]:
            # RFC 7239 section 4: each parameter at most once in an element.
            raise ForwardedError(FORWARDED, text)
        at = pair.end()
        if at < end and _SEPARATOR.match(text, at) is None:
            if text[at:].strip(" \t"):
                raise ForwardedError(FORWARDED, text)
            at = end
        quoted = pair[3]
        value = pair[2] if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        elements[-1][pair[1].lower()] = value
    return [element for element in elements if element]


def parse_node(text: str) -> str | None:
    """Read who sent a request: an address, or `unknown`, or `_name`; the port is dropped.

    None if it is nothing of these.
    """
    bare = parse_address(text)
    if bare is not None:
        return str(bare)
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    if match["name"] is not None:
        return match["name"]
    address = parse_address(match["v4"] or match["v6"])
    # Brackets are for IPv6 addresses alone.
    if address is None or (match["v6"] is not None and ":" not in match["v6"]):
        return None
    return str(address)


def _from_elements(elements: list[dict[str, str]], trusted: TrustedProxies) -> Forwarding:
    if not elements:
        return Forwarding()
    clients = [element.get("for") for element in elements]
    index, client = _find_client(clients, trusted, field=FORWARDED)

    def nearest(name: str) -> str | None:
        told = (element.get(name) for element in elements[index:])
        return next((value for value in told if value is not None), None)

    scheme = _scheme(nearest("proto"), FORWARDED)
    return Forwarding(
        client=client, scheme=scheme, host=_host(nearest("host"), None, scheme, FORWARDED)
    )


def _from_x_fields(get_all: GetAll, trusted: TrustedProxies) -> Forwarding:
    clients = _members(get_all(FOR))
    hops, client = 1, None
    if clients:
        index, client = _find_client(clients, trusted, field=FOR)
        hops = len(clients) - index

    def told(name: str) -> str | None:
        # A proxy that replaces the field, or hands it on, leaves fewer values than hops.
        values = _members(get_all(name))
        return values[max(0, len(values) - hops)] if values else None

    scheme = _scheme(told(PROTO), PROTO)
    port = _port(told(PORT))
    host = _host(told(HOST), port, scheme, HOST)
    return Forwarding(client=client, scheme=scheme, host=host, port=None if host else port)


def _find_client(
    clients: Sequence[str | None], trusted: TrustedProxies, *, field: str
) -> tuple[int, str | None]:
    """Walk from the right to the first that is no trusted proxy; give its place and name."""
    index, client = len(clients), None
    for told in reversed(clients[-MAX_HOPS:]):
        index -= 1
        if told is None:  # Who sent the request to this proxy is not known.
            return index, None
        client = parse_node(told)
        if client is None:
            raise ForwardedError(field, told)
        if not trusted.trusts(client):
            break
    return index, client


def _members(lines: Sequence[str]) -> list[str]:
    members = (member.strip(" \t") for line in lines for member in line.split(","))
    return [member for member in members if member]


def _scheme(value: str | None, field: str) -> str | None:
    if value is not None and value.lower() not in _DEFAULT_PORTS:
        raise ForwardedError(field, value)
    return None if value is None else value.lower()


def _port(value: str | None) -> str | None:
    if value is None:
        return None
    if re.fullmatch("[0-9]{1,5}", value) is None or not 0 < int(value) <= _MAX_PORT:
        raise ForwardedError(PORT, value)
    return str(int(value))


def _host(value: str | None, port: str | None, scheme: str | None, field: str) -> str | None:
    """Check a host; a port that it does not name itself is added where it is not the usual."""
    if value is None:
        return None
    match = _AUTHORITY.fullmatch(value)
    if match is None or int(match["port"] or 1) not in range(1, _MAX_PORT + 1):
        raise ForwardedError(field, value)
    return join_port(match["name"], match["port"] or port, scheme)


def join_port(name: str, port: str | None, scheme: str | None) -> str:
    """Write host and port; the port that a scheme has anyway is left away."""
    usual = port is None or (scheme is not None and port == _DEFAULT_PORTS.get(scheme))
    return name if usual else f"{name}:{port}"


def host_with_port(host: str, port: str, scheme: str) -> str:
    """Give a `Host` the port that clients use, in the place of its own."""
    match = _AUTHORITY.fullmatch(host)
    return host if match is None else join_port(match["name"], port, scheme)


def _told(forwarding: Forwarding) -> tuple[str | None, ...]:
    host = forwarding.host
    return forwarding.client, forwarding.scheme, None if host is None else host.lower()
