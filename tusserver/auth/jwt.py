"""Bearer tokens: JSON Web Tokens in `Authorization` (floor 4; RFC 7519, RFC 6750, RFC 8725)."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import jwt

from tusserver.auth.claims import (
    TokenInvalid,
    check_form,
    decode,
    first_valid,
    read_claims,
    unauthenticated,
)
from tusserver.caller import Caller
from tusserver.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tusserver.auth.claims import Claims
    from tusserver.auth.jwks import KeySource, VerifyingKey
    from tusserver.gates import AccessRequest

REMEMBERED = 1024
"""Verified tokens that are remembered."""
REMEMBER_FOR = 30.0
"""Seconds for which they are."""

_WHAT = "This token"


class JwtAuthorizer:
    """Proves callers by a token that somebody else issued."""

    needs_upload = False

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: float = 0.0,
        owner_claim: str = "sub",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Accept what these keys verify; `leeway` is how far clocks may differ, in seconds."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._owner_claim = owner_claim
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Claims, float]] = OrderedDict()
        self._generation = keys.generation

    def carries(self, access: AccessRequest) -> bool:
        """Tell whether the request brings a bearer token at all."""
        return bool(_bearers(access))

    async def authorize(self, access: AccessRequest) -> Caller:
        """Verify the token. Raises: Unauthenticated, Forbidden."""
        tokens = _bearers(access)
        if len(tokens) != 1:
            # A proxy on the way may have looked at another one of them.
            raise Unauthenticated("Send one bearer token in the header Authorization.")
        try:
            check_form(tokens[0])
            claims = await self._claims(tokens[0])
        except TokenInvalid as invalid:
            raise unauthenticated(_WHAT, str(invalid)) from None
        claims.check_action(access.action)
        return Caller(owner=claims.owner, max_size=claims.max_size, types=claims.types)

    async def _claims(self, token: str) -> Claims:
        """Verify a token, or remember that it was verified a moment ago."""
        keys = await self._keys.find(_key_name(token))
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._known.clear()
        digest, now = hashlib.sha256(token.encode(errors="surrogateescape")).digest(), self._clock()
        known = self._known.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        claims = self._read(first_valid(keys, partial(self._verify, token)))
        self._remember(digest, claims, now)
        return claims

    def _read(self, payload: Mapping[str, Any]) -> Claims:
        claims = read_claims(payload, owner_claim=self._owner_claim)
        if not claims.owner:
            raise TokenInvalid(f"lacks the claim {self._owner_claim}")
        return claims

    def _verify(self, token: str, key: VerifyingKey) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.key,
            algorithms=sorted(key.algorithms),
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway,
            options={"require": self._required()},
        )

    def _required(self) -> list[str]:
        claims = ["exp"]
        if self._issuer is not None:
            claims.append("iss")
        if self._audience is not None:
            claims.append("aud")
        return claims

    def _remember(self, digest: bytes, claims: Claims, now: float) -> None:
        self._known[digest] = claims, min(now + REMEMBER_FOR, claims.expires_at + self._leeway)
        self._known.move_to_end(digest)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _bearers(access: AccessRequest) -> list[str]:
    """Give the bearer tokens of a request; other schemes are none of ours."""
    tokens = []
    for name, value in access.request.headers:
        if name.lower() == "authorization":
            scheme, _, token = value.strip(" \t").partition(" ")
            if scheme.lower() == "bearer":
                tokens.append(token.strip(" "))
    return tokens


def _key_name(token: str) -> str | None:
    """Read which key a token names, before anything of it is proven. Raises: TokenInvalid."""
    name = decode(partial(jwt.get_unverified_header, token)).get("kid")
    return name if isinstance(name, str) else None
