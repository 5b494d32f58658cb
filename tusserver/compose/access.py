"""Settings into what decides about requests and files (floor 5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.auth.callables import CallableAuthorizer
from tusserver.auth.chain import Chain
from tusserver.auth.grants import GrantAuthorizer
from tusserver.auth.jwks import FixedKey, KeyFile, public_key, secret_key
from tusserver.auth.jwt import JwtAuthorizer
from tusserver.engine.kinds import Kinds
from tusserver.storage.grantbook import FileGrantBook
from tusserver.values import parse_secrets

if TYPE_CHECKING:
    from tusserver.auth.callables import Authorize
    from tusserver.auth.chain import Proof
    from tusserver.auth.jwks import KeySource
    from tusserver.config import Settings
    from tusserver.gates import Authorizer, GrantBook


def build_authorizer(settings: Settings, authorize: Authorize | None = None) -> Authorizer | None:
    """Make what decides about requests; None when nothing is asked for.

    `authorize` is the application's own: it is asked about requests that no credential of the
    settings proves. Blocks: reads files of keys. Raises: ConfigError.
    """
    proofs: list[Proof] = []
    if settings.url_secret is not None:
        secrets = parse_secrets(settings.url_secret)
        proofs.append(GrantAuthorizer(secrets, leeway=settings.jwt_leeway))
    if (keys := _keys(settings)) is not None:
        proofs.append(
            JwtAuthorizer(
                keys,
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                leeway=settings.jwt_leeway,
                owner_claim=settings.jwt_owner_claim,
            )
        )
    if authorize is not None:
        proofs.append(CallableAuthorizer(authorize))
    return Chain(*proofs) if proofs else None


def build_kinds(settings: Settings) -> Kinds:
    """Make what decides about the kinds of files."""
    return Kinds(
        types=settings.allowed_types,
        suffixes=settings.allowed_extensions,
        looks_inside=settings.check_content,
    )


def build_grants(settings: Settings) -> GrantBook | None:
    """Make what remembers the uploads of signed URLs; None when there are no such URLs."""
    return None if settings.url_secret is None else FileGrantBook(Path(settings.upload_dir))


def _keys(settings: Settings) -> KeySource | None:
    allowed = frozenset(settings.jwt_algorithms)
    if settings.jwt_secret is not None:
        return FixedKey(secret_key(settings.jwt_secret, allowed))
    if settings.jwt_public_key is not None:
        return FixedKey(public_key(settings.jwt_public_key, allowed))
    if settings.jwt_jwks is not None:
        return KeyFile(settings.jwt_jwks, allowed=allowed)
    return None
