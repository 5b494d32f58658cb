"""What guards the server, and whom it calls (floor 5)."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509

from tusserver.auth.jwks import public_key
from tusserver.check.findings import Finding, error, fine, warning
from tusserver.config.hooking import parse_webhook_urls
from tusserver.errors import ConfigError
from tusserver.values import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.config import Settings

SOON = timedelta(days=14)
"""How long before its end a certificate is complained about."""
PATIENCE = 3.0
"""Seconds that a receiver may take to accept a connection."""
_LOOPBACK_NAMES = frozenset({"localhost"})


def check_certificate(settings: Settings) -> Iterator[Finding]:
    """Look at the certificate of the server, if it has one of its own."""
    path, key = settings.tls_certificate, settings.tls_key
    if path is None or key is None:
        return
    remedy = "correct --tls-certificate and --tls-key"
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(path, key)
    except ssl.SSLError as failure:
        reason = failure.reason or "they do not fit"
        yield error("tls", f"{path} and {key} cannot be used together: {reason}.", remedy)
        return
    except OSError as failure:
        yield error("tls", f"{path} or {key} cannot be read: {failure.strerror}.", remedy)
        return
    except ValueError:
        yield error("tls", f"{path} holds no certificate in PEM.", remedy)
        return
    ends, now = certificate.not_valid_after_utc, datetime.now(UTC)
    shown = f"The certificate in {path} is valid until {ends:%Y-%m-%d}"
    if ends <= now or certificate.not_valid_before_utc > now:
        yield error("tls", f"{shown}, not now.", "renew it; look at the clock")
    elif ends - now < SOON:
        yield warning("tls", f"{shown}: soon over.", "renew it, and send SIGHUP to the server")
    else:
        yield fine("tls", f"{shown}.")


def check_access(settings: Settings) -> Iterator[Finding]:
    """Look who may upload, and who may say on whose behalf."""
    if settings.jwt_public_key is not None:
        try:
            public_key(settings.jwt_public_key, frozenset(settings.jwt_algorithms))
        except ConfigError as failure:
            yield error(
                "jwt_key", f"{failure.value}: {failure.reason}.", "correct --jwt-public-key"
            )
    guards = (
        settings.jwt_secret,
        settings.jwt_public_key,
        settings.jwt_jwks,
        settings.url_secret,
    )
    reachable = settings.unix_socket is None and not _is_loopback(settings.host)
    if not any(guards) and reachable:
        yield warning(
            "access",
            f"Whoever reaches {settings.host} port {settings.port} may upload.",
            "--jwt-public-key, --url-secret, or a --host that only the proxy reaches",
        )
    for network in settings.trusted_proxies:
        if network != UNIX and ipaddress.ip_network(network).prefixlen == 0:
            yield warning(
                "trusted_proxies",
                f"{network} trusts everybody: each client can call itself as it likes.",
                "--trusted-proxies with the addresses of your proxies alone",
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK_NAMES


def check_receivers(settings: Settings) -> Iterator[Finding]:
    """Look whether the receivers of events accept connections; nothing is sent."""
    if settings.webhook_url is None:
        return
    for url in parse_webhook_urls(settings.webhook_url):
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        try:
            socket.create_connection(place, PATIENCE).close()
        except OSError as failure:
            yield error(
                "webhook",
                f"{place[0]} port {place[1]} does not take events: {failure.strerror or failure}.",
                "start the receiver, or correct --webhook-url",
            )
        else:
            yield fine("webhook", f"{place[0]} port {place[1]} accepts connections.")
        if (
            parts.scheme == "http"
            and settings.webhook_secret is None
            and not _is_loopback(place[0])
        ):
            yield warning(
                "webhook_secret",
                f"Events go to {place[0]} in the clear, and anybody can forge them.",
                "https, and --webhook-secret",
            )
