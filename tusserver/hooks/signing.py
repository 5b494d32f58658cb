"""Signatures of webhooks (floor 4; Standard Webhooks 1.0.0, symmetric scheme v1).

Signed is `id.timestamp.body`, by HMAC-SHA256. While a secret is replaced there are several: each
gives a signature, and a receiver accepts a message that one of them fits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Signer:
    """Signs what is sent; without secrets it only names and dates it."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        """Sign with each of these keys, the first one first."""
        self._secrets = tuple(secrets)

    def headers(self, event_id: str, body: bytes, *, now: float) -> dict[str, str]:
        """Give the header fields that prove a message; `now` is in seconds since 1970."""
        timestamp = str(int(now))
        fields = {"webhook-id": event_id, "webhook-timestamp": timestamp}
        if self._secrets:
            signed = b".".join((event_id.encode(), timestamp.encode(), body))
            marks = (hmac.new(key, signed, hashlib.sha256).digest() for key in self._secrets)
            fields["webhook-signature"] = " ".join(
                f"v1,{base64.b64encode(mark).decode()}" for mark in marks
            )
        return fields
