"""Settings: who is told of what happens to uploads (floor 3)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator

from tusserver.config.fields import setting
from tusserver.values import FieldNames, Time, Wait

EVENTS = (
    "pre-create",
    "post-create",
    "post-receive",
    "pre-finish",
    "post-finish",
    "pre-terminate",
    "post-terminate",
)
"""The events that receivers can be told of."""
USUAL_EVENTS = ("pre-create", "post-create", "post-receive", "post-finish", "post-terminate")
"""Those that tusd sends unless it is told otherwise."""
MOST_RETRIES = 100

SECRET_PREFIX = "whsec_"  # noqa: S105 - how secrets begin, no secret
SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of a key (Standard Webhooks 1.0.0, "Signature scheme")."""


def parse_webhook_urls(value: str) -> tuple[str, ...]:
    """Split addresses of receivers with commas between.

    Raises: ValueError, which does not repeat them: they may hold passwords.
    """
    urls = tuple(part for part in (part.strip() for part in value.split(",")) if part)
    for url in urls:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or {"#", " "} & set(url) or not url.isprintable():
            raise ValueError("not the address of a receiver: write it as https://example.org/hook")
    return urls


def parse_webhook_secrets(value: str) -> tuple[bytes, ...]:
    """Give the keys of secrets (`whsec_` and Base64) with commas between.

    Raises: ValueError, which does not repeat them.
    """
    reason = (
        f"not a secret: write it as {SECRET_PREFIX} and {SHORTEST_KEY} to {LONGEST_KEY} bytes in "
        f"Base64: echo {SECRET_PREFIX}$(openssl rand -base64 32)"
    )
    keys = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        try:
            key = base64.b64decode(part.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError(reason) from None
        if not part.startswith(SECRET_PREFIX) or not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            raise ValueError(reason)
        keys.append(key)
    if not keys:
        raise ValueError(reason)
    return tuple(keys)


def _check_urls(value: str) -> str:
    if not parse_webhook_urls(value):
        raise ValueError("not the address of a receiver: write it as https://example.org/hook")
    return value


def _check_secrets(value: str) -> str:
    parse_webhook_secrets(value)
    return value


def _check_events(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in EVENTS:
            raise ValueError(f"none of {', '.join(EVENTS)}")
    return names


def _parse_retries(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_RETRIES:
        raise ValueError(f"not a number of retries: write one from 0 to {MOST_RETRIES}")
    return value


class HookingSettings(BaseModel):
    """Who is told of what happens to uploads."""

    webhook_url: Annotated[str, AfterValidator(_check_urls)] | None = setting(
        "URLS",
        "Receivers that are asked before and told after something happens to an upload, by POST "
        "of the JSON of tusd v2; several with commas between: all are told, and of those that are "
        "asked all must agree.",
        default=None,
        secret=True,
    )
    webhook_events: Annotated[FieldNames, AfterValidator(_check_events)] = setting(
        "NAMES",
        f"Events for the receivers, with commas between, of {', '.join(EVENTS)}.",
        default=USUAL_EVENTS,
    )
    webhook_secret: Annotated[str, AfterValidator(_check_secrets)] | None = setting(
        "SECRETS",
        "Sign what is sent to receivers (Standard Webhooks): whsec_ and Base64; while it is "
        "replaced, several with commas between.",
        default=None,
        secret=True,
    )
    webhook_forward_headers: FieldNames = setting(
        "NAMES",
        "Headers of the client's request that requests to receivers carry too, with commas "
        "between; only Authorization and Cookie named here are part of events after the fact.",
        default=(),
    )
    webhook_timeout: Wait = setting(
        "TIME", "How long a receiver may take, all tries of a question together.", default=15.0
    )
    webhook_retry: Annotated[int, BeforeValidator(_parse_retries)] = setting(
        "NUMBER",
        "How often a question is put again to a receiver that fails (connection, status 5xx).",
        default=3,
    )
    webhook_progress_interval: Wait = setting(
        "TIME", "How often the progress of an upload is told (post-receive).", default=1.0
    )
    webhook_give_up: Time = setting(
        "TIME",
        "How long an event is sent again to a receiver that does not take it; then it is set "
        "aside, for `tusserver events --dead` and `tusserver resend`.",
        default=3 * 86_400.0,
    )
