"""What a verified token says about its bearer (floor 4; docs/secure.md, "Claims").

The signature is proven before anything here is looked at; still, whoever signs may err, and
what comes out is used as an owner's name, a limit, a list of verbs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import jwt

from tusserver.caller import is_media_range, is_owner
from tusserver.errors import Forbidden, Unauthenticated
from tusserver.gates import Action
from tusserver.upload import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_Key = TypeVar("_Key")

MAX_SIZE = "tus_max_size"
VERBS = "tus_verbs"
TYPES = "tus_types"

MAX_TOKEN = 8192
"""The longest token that is looked at, in characters."""
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A token in its compact form (RFC 7515 section 7.1): fit for URLs, and the only way to write it.

Decoders of base64 may leave away what does not belong there."""
_UNKNOWN = "is not valid here: it is malformed, or signed by a key that is not known"

GRANTABLE = tuple(action.value for action in Action if action is not Action.JOIN)
"""The verbs that a token may name; who may create may join as well."""


class TokenInvalid(Exception):
    """A token proves nothing; the text says why, in plain words without quoting it.

    `signed`: the signature was right, so that no other key would find it otherwise.
    """

    def __init__(self, reason: str, *, signed: bool = True) -> None:
        """Say what is wrong."""
        super().__init__(reason)
        self.signed = signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token grants."""

    owner: str = ""
    max_size: int | None = None
    verbs: frozenset[str] | None = None
    """None: all of them."""
    types: tuple[str, ...] = ()
    """Media types to which uploads are narrowed; empty: none."""
    expires_at: float = 0.0
    """When the token ends, in seconds since 1970."""
    token_id: str = ""

    def check_action(self, action: Action) -> None:
        """Raise Forbidden unless the token allows this."""
        verb = Action.CREATE.value if action is Action.JOIN else action.value
        if self.verbs is not None and verb not in self.verbs:
            raise Forbidden(f"This credential does not allow to {verb} uploads.")


def first_valid(
    keys: Sequence[_Key], verify: Callable[[_Key], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Give what a token says by the first key that verifies it. Raises: TokenInvalid."""
    invalid = TokenInvalid("is signed by a key that is not known", signed=False)
    for key in keys:
        try:
            return decode(partial(verify, key))
        except TokenInvalid as error:
            if error.signed:
                raise
            invalid = error
    raise invalid


def check_form(token: str) -> None:
    """Raise TokenInvalid for a token that is too long to be looked at, or is none at all."""
    if len(token) > MAX_TOKEN:
        raise TokenInvalid("is too long")
    if _FORM.fullmatch(token) is None:
        raise TokenInvalid(_UNKNOWN)


def decode(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Have the library read a token; say in plain words why it proves nothing.

    Raises: TokenInvalid.
    """
    try:
        return read()
    except jwt.ExpiredSignatureError:
        reason = "has expired: get a new one"
    except jwt.ImmatureSignatureError:
        reason = "is not valid yet: do the clocks agree?"
    except jwt.InvalidAudienceError:
        reason = "is meant for another service"
    except jwt.InvalidIssuerError:
        reason = "comes from an issuer that is not accepted here"
    except jwt.MissingRequiredClaimError as error:
        reason = f"lacks the claim {error.claim}"
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        # Beside the library's own errors: numbers and nestings that Python refuses.
        raise TokenInvalid(_UNKNOWN, signed=False) from None
    raise TokenInvalid(reason)


def read_claims(payload: Mapping[str, Any], *, owner_claim: str) -> Claims:
    """Read what a verified token grants. Raises: TokenInvalid."""
    try:
        expires_at = float(payload["exp"])
    except OverflowError:
        raise TokenInvalid("has a claim exp beyond all times") from None
    return Claims(
        owner=_owner(payload, owner_claim),
        max_size=_max_size(payload.get(MAX_SIZE)),
        verbs=_verbs(payload.get(VERBS)),
        types=_types(payload.get(TYPES)),
        expires_at=expires_at,
        token_id=str(payload.get("jti", "")),
    )


def _owner(payload: Mapping[str, Any], claim: str) -> str:
    owner = payload.get(claim, "")
    if not isinstance(owner, str) or not is_owner(owner):
        raise TokenInvalid(f"has a claim {claim} that cannot be an owner's name")
    return owner


def _max_size(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        raise TokenInvalid(f"has a claim {MAX_SIZE} that is not a number of bytes")
    return value


def _verbs(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not _is_words(value) or not set(value) <= set(GRANTABLE):
        raise TokenInvalid(f"has a claim {VERBS} that is not a list of {', '.join(GRANTABLE)}")
    return frozenset(value)


def _types(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not _is_words(value) or not value or not all(map(is_media_range, value)):
        raise TokenInvalid(f"has a claim {TYPES} that is not a list of media types")
    return tuple(value)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def describe(verbs: Iterable[str | Action]) -> list[str]:
    """Write verbs for a token. Raises: ValueError for one that there is not."""
    words = [verb.value if isinstance(verb, Action) else verb for verb in verbs]
    for word in words:
        if word not in GRANTABLE:
            raise ValueError(f"{word!r} is none of {', '.join(GRANTABLE)}")
    return words


def unauthenticated(what: str, reason: str) -> Unauthenticated:
    """Make the 401 for a credential that was sent and proves nothing (RFC 6750 section 3.1)."""
    sentence = f"{what} {reason}."
    challenge = f'Bearer error="invalid_token", error_description="{sentence}"'
    return Unauthenticated(sentence, challenge=challenge)
