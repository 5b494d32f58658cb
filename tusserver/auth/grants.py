"""Signed upload URLs: the right to one upload, as a query string (floor 4; docs/secure.md).

A grant is a JSON Web Token signed with HMAC-SHA256, so that a backend in any language can make
one. Its audience keeps it apart from bearer tokens, whatever secrets are used.
"""

from __future__ import annotations

import hashlib
import secrets as randomness
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import jwt

from tusserver.auth.claims import (
    MAX_SIZE,
    MAX_TOKEN,
    TYPES,
    VERBS,
    TokenInvalid,
    check_form,
    describe,
    first_valid,
    read_claims,
    unauthenticated,
)
from tusserver.caller import Caller, is_media_range, is_owner
from tusserver.errors import Unauthenticated
from tusserver.values import parse_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tusserver.gates import AccessRequest, Action

PARAMETER = "grant"
"""The name of the query parameter."""
AUDIENCE = "tusserver-upload"
"""What the claim `aud` of a grant says."""
MAX_QUERY = 2 * MAX_TOKEN
"""The longest query that is looked at, in characters."""
ALGORITHM = "HS256"

_WHAT = "This upload URL"


def sign_upload_url(
    secret: str,
    base_url: str,
    *,
    owner: str = "",
    max_size: int | None = None,
    expires_in: float = 3600.0,
    types: Sequence[str] = (),
    verbs: Iterable[str | Action] | None = None,
) -> str:
    """Make a creation URL that is the right to one upload, for a browser or another client.

    `secret` is the server's url-secret (of several with commas between, the first signs),
    `base_url` its creation URL. The upload belongs to `owner`, holds at most `max_size` bytes,
    is of one of the media `types` (`image/*` for all images), and must be finished within
    `expires_in` seconds. `verbs` narrows what may be done: create, append, describe, download,
    terminate. Raises: ValueError for what cannot be granted.
    """
    if not is_owner(owner):
        raise ValueError("an owner has at most 256 bytes and no control characters")
    if max_size is not None and max_size < 0:
        raise ValueError("a size is not negative")
    if expires_in <= 0:
        raise ValueError("a grant that has expired is of no use")
    claims: dict[str, Any] = {
        "aud": AUDIENCE,
        "jti": randomness.token_urlsafe(12),
        "exp": int(time.time() + expires_in),
    }
    if owner:
        claims["sub"] = owner
    if max_size is not None:
        claims[MAX_SIZE] = max_size
    if types:
        if not all(map(is_media_range, types)):
            raise ValueError("types are written as image/png or image/*")
        claims[TYPES] = list(types)
    if verbs is not None:
        claims[VERBS] = describe(verbs)
    signing = parse_secrets(secret)[0]
    token = jwt.encode(claims, signing, algorithm=ALGORITHM, headers={"typ": None})
    url = urlsplit(base_url)
    query = f"{url.query}&{PARAMETER}={token}" if url.query else f"{PARAMETER}={token}"
    return urlunsplit(url._replace(query=query))


class GrantAuthorizer:
    """Proves callers by the grant in the URL that they ask for."""

    needs_upload = False

    def __init__(self, secrets: Sequence[str], *, leeway: float = 0.0) -> None:
        """Accept what any of these secrets signed; `leeway` for clocks is in seconds."""
        self._secrets = secrets
        self._leeway = leeway

    def carries(self, access: AccessRequest) -> bool:
        """Tell whether the URL has a grant at all."""
        return bool(_grants(access))

    async def authorize(self, access: AccessRequest) -> Caller:
        """Verify the grant. Raises: Unauthenticated, Forbidden."""
        tokens = _grants(access)
        if len(tokens) != 1:
            raise Unauthenticated("Send one grant with the URL.")
        try:
            check_form(tokens[0])
            payload = first_valid(self._secrets, partial(self._verify, tokens[0]))
            claims = read_claims(payload, owner_claim="sub")
        except TokenInvalid as invalid:
            raise unauthenticated(_WHAT, str(invalid)) from None
        claims.check_action(access.action)
        return Caller(
            owner=claims.owner,
            grant=hashlib.sha256(claims.token_id.encode(errors="surrogatepass")).hexdigest()[:32],
            grant_ends=claims.expires_at,
            max_size=claims.max_size,
            types=claims.types,
            credential=f"{PARAMETER}={tokens[0]}",
        )

    def _verify(self, token: str, secret: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            leeway=self._leeway,
            options={"require": ["exp", "jti"]},
        )


def _grants(access: AccessRequest) -> list[str]:
    """Give the grants in the query of a URL."""
    query = access.request.uri.partition("?")[2]
    if len(query) > MAX_QUERY:  # To take it apart could keep the processor busy for a second.
        return []
    pairs = parse_qsl(query, keep_blank_values=True)
    return [value for name, value in pairs if name == PARAMETER]
