"""The keys that verify bearer tokens (floor 4; RFC 7517, RFC 7518 section 3).

Which algorithms a key may verify follows from the key alone: so no token can have a public key
used as a shared secret, and `none` is no algorithm of any key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    PublicKey: TypeAlias = (
        bytes | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
    )

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at a file of keys."""
MAX_FILE = 1_048_576
"""The largest file of keys that is read, in bytes."""
MAX_TRIED = 16
"""Keys that are tried for a token that names none."""
MIN_RSA_BITS = 2048
"""RFC 7518 section 3.3."""

_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The shortest secret of an algorithm, in bytes (RFC 7518 section 3.2)."""
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key, and the algorithms that it may verify."""

    key: PublicKey
    algorithms: frozenset[str]
    name: str | None = None
    """Its `kid`."""


class KeySource(Protocol):
    """Where the keys come from."""

    async def find(self, name: str | None) -> list[VerifyingKey]:
        """Give the keys to try for a token that names this key, or none."""

    @property
    def generation(self) -> int:
        """Count how often the keys changed: what was verified before counts no more."""


class FixedKey:
    """One key from the settings; the name that a token gives it does not matter."""

    generation = 0

    def __init__(self, key: VerifyingKey) -> None:
        """Use this key."""
        self._keys = [key]

    async def find(self, name: str | None) -> list[VerifyingKey]:
        """Give the key."""
        del name
        return self._keys


class KeyFile:
    """A JWKS file, read again when it changes; one that cannot be read leaves the old keys."""

    def __init__(
        self,
        path: Path,
        *,
        allowed: frozenset[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file for the first time; blocks. Raises: ConfigError."""
        self._path = path
        self._allowed = allowed
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._looking = asyncio.Lock()
        self.generation = 0
        self._seen, self._keys = _read_keys(path, allowed)

    async def find(self, name: str | None) -> list[VerifyingKey]:
        """Give the keys of this name; all of them for a token without one."""
        await self._look()
        if name is None:
            return self._keys[:MAX_TRIED]
        return [key for key in self._keys if key.name == name]

    async def _look(self) -> None:
        """Read the file again if it was changed, at most once a second."""
        if self._monotonic() - self._looked_at < LOOK_EVERY or self._looking.locked():
            return
        async with self._looking:
            self._looked_at = self._monotonic()
            try:
                if await asyncio.to_thread(_mark, self._path) == self._seen:
                    return
                read = await asyncio.to_thread(_read_keys, self._path, self._allowed)
            except (ConfigError, OSError) as error:
                logger.error("%s: the keys read before stay in use: %s", self._path, error)  # noqa: TRY400 - the reason is all there is to tell
                return
            self._seen, self._keys = read
            self.generation += 1
            logger.info("%s: %d keys were read", self._path, len(self._keys))


def secret_key(secret: str, allowed: frozenset[str]) -> VerifyingKey:
    """Make a key of a shared secret. Raises: ConfigError."""
    key = secret.encode()
    algorithms = {name for name, shortest in _SECRETS.items() if len(key) >= shortest}
    return VerifyingKey(key, _narrow("jwt_secret", "***", algorithms, allowed))


def public_key(path: Path, allowed: frozenset[str]) -> VerifyingKey:
    """Read a public key in PEM; blocks. Raises: ConfigError."""
    shown = str(path)
    data = _read_file("jwt_public_key", path)
    if b"PRIVATE KEY" in data:
        reason = "is a private key: give the public one, and keep that where tokens are made"
        raise ConfigError("jwt_public_key", shown, reason)
    try:
        key = _public(load_pem_public_key(data))
    except ValueError:
        raise ConfigError("jwt_public_key", shown, "is not a public key in PEM") from None
    if key is None:
        raise ConfigError("jwt_public_key", shown, "is of a kind that signs no tokens")
    algorithms = _algorithms(key)
    if not algorithms:
        raise ConfigError("jwt_public_key", shown, "is too weak, or on a curve of no algorithm")
    return VerifyingKey(key, _narrow("jwt_public_key", shown, algorithms, allowed))


def _read_keys(path: Path, allowed: frozenset[str]) -> tuple[tuple[int, ...], list[VerifyingKey]]:
    """Read a JWKS file, and what tells it from a later one. Raises: ConfigError."""
    shown = str(path)
    try:
        mark = _mark(path)
    except OSError as error:
        raise ConfigError("jwt_jwks", shown, f"cannot be read: {error.strerror}") from None
    try:
        listed = jwt.PyJWKSet.from_dict(json.loads(_read_file("jwt_jwks", path)))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError):
        raise ConfigError(
            "jwt_jwks", shown, "is not a JSON Web Key Set with a usable key"
        ) from None
    keys = [key for key in map(_of_set, listed.keys) if key is not None]
    if allowed:
        narrowed = (VerifyingKey(k.key, k.algorithms & allowed, k.name) for k in keys)
        keys = [key for key in narrowed if key.algorithms]
    if not keys:
        raise ConfigError("jwt_jwks", shown, "holds no key that may verify tokens here")
    return mark, keys


def _of_set(listed: jwt.PyJWK) -> VerifyingKey | None:
    """Make a key of one of a set; None for one that verifies nothing."""
    key = _public(listed.key)
    if key is None or listed.public_key_use not in {None, "sig"}:
        return None
    algorithms = _algorithms(key)
    own = listed._jwk_data.get("alg")  # noqa: SLF001 - `algorithm_name` is a guess without it
    if own is not None:
        algorithms &= {own}
    return VerifyingKey(key, frozenset(algorithms), listed.key_id) if algorithms else None


def _public(key: object) -> PublicKey | None:
    match key:
        case bytes() | RSAPublicKey() | EllipticCurvePublicKey():
            return key
        case Ed25519PublicKey() | Ed448PublicKey():
            return key
        case RSAPrivateKey() | EllipticCurvePrivateKey():
            return key.public_key()
        case Ed25519PrivateKey() | Ed448PrivateKey():
            return key.public_key()
        case _:
            return None


def _algorithms(key: PublicKey) -> set[str]:
    match key:
        case bytes():
            return {name for name, shortest in _SECRETS.items() if len(key) >= shortest}
        case RSAPublicKey():
            return set(_RSA) if key.key_size >= MIN_RSA_BITS else set()
        case EllipticCurvePublicKey():
            return {_CURVES[key.curve.name]} if key.curve.name in _CURVES else set()
        case _:
            return {"EdDSA"}


def _narrow(key: str, shown: str, algorithms: set[str], allowed: frozenset[str]) -> frozenset[str]:
    narrowed = algorithms & allowed if allowed else algorithms
    if not narrowed:
        possible = ", ".join(sorted(algorithms))
        reason = f"cannot verify any of jwt-algorithms; it can {possible}"
        raise ConfigError(key, shown, reason)
    return frozenset(narrowed)


def _mark(path: Path) -> tuple[int, ...]:
    """Give what changes when a file is written anew. Blocks."""
    found = os.stat(path)  # noqa: PTH116 - with the other calls on descriptors and paths
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read_file(key: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(key, str(path), f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise ConfigError(key, str(path), f"is larger than {MAX_FILE} bytes")
    return data
