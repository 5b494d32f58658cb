"""Tokens, keys and clients with credentials."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.support.raw import Tus
from tusserver.gates import AccessRequest, Action
from tusserver.ports import RequestInfo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.raw import Fields

SECRET = "a secret of at least sixty-four bytes so that every HMAC may use it"  # noqa: S105
OTHER = "another secret of at least sixty-four bytes which nobody here knows of"

RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def token(
    *, key: Any = SECRET, algorithm: str = "HS256", headers: Any = None, **claims: Any
) -> str:
    """Sign a token of alice's for an hour; a claim of None is left away."""
    told = {"sub": "alice", "exp": int(time.time()) + 3600} | claims
    told = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(told, key, algorithm=algorithm, headers=headers)


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_keys(path: Path, *keys: tuple[str | None, Any, str]) -> None:
    """Write a JWKS: names, public halves of keys (or secrets), algorithms."""
    listed = []
    for name, key, algorithm in keys:
        public = key if isinstance(key, str) else key.public_key()
        made = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
        made.pop("key_ops", None)
        listed.append(made | ({} if name is None else {"kid": name}))
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"keys": listed}))
    temporary.replace(path)


def access(
    action: Action = Action.CREATE, *, uri: str = "/files/", headers: Any = ()
) -> AccessRequest:
    request = RequestInfo(method="POST", uri=uri, remote="", headers=tuple(headers))
    return AccessRequest(action=action, request=request)


def bearing(text: str, action: Action = Action.CREATE) -> AccessRequest:
    return access(action, headers=[("Authorization", f"Bearer {text}")])


class Bearer(Tus):
    """The verbs with a token."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(url)
        self._authorization = {"Authorization": f"Bearer {text}"}

    def message(self, method: str, target=None, fields: Fields | None = None, body=b"", **more):
        return super().message(
            method, target, self._authorization | dict(fields or {}), body, **more
        )


class Signed(Tus):
    """The verbs with a signed URL; targets keep their query."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self.path = f"{parts.path}?{parts.query}"

    def target(self, location: str) -> str:
        parts = urlsplit(location)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path
