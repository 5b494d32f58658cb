"""Settings into TLS (floor 5)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from tusserver.config import Settings


def build_tls(settings: Settings) -> ssl.SSLContext | None:
    """Read certificate and key; None when the server speaks plain HTTP.

    Blocks. Raises: ConfigError, which names the file and what is wrong with it.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    for name, file in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            file.read_bytes()
        except OSError as exc:
            raise ConfigError(name, file, f"cannot be read: {exc.strerror}") from exc
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as exc:
        raise ConfigError(*_blame(exc, settings)) from exc
    except ValueError as exc:
        raise ConfigError("tls_key", key, "has a password: give a key without one") from exc
    return context


def _no_password() -> str:
    """Refuse to be asked for a password on the terminal."""
    raise ValueError


def _blame(error: ssl.SSLError, settings: Settings) -> tuple[str, object, str]:
    """Say which of the two files is wrong, and how."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return "tls_key", settings.tls_key, f"is not the key of {settings.tls_certificate}"
    if "BEGIN CERTIFICATE" not in _text(settings.tls_certificate):
        return "tls_certificate", settings.tls_certificate, "holds no certificate in PEM"
    if "PRIVATE KEY" not in _text(settings.tls_key):
        return "tls_key", settings.tls_key, "holds no private key in PEM"
    reason = (error.reason or "unknown").replace("_", " ").lower()
    return "tls_certificate", settings.tls_certificate, f"cannot be used with its key: {reason}"


def _text(file: object) -> str:
    with open(str(file), encoding="ascii", errors="replace") as opened:  # noqa: PTH123
        return opened.read()
