"""Settings: who may use the server (floor 3)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.values import (
    AlgorithmNames,
    FieldNames,
    FieldValue,
    MediaRanges,
    Origins,
    Secret,
    Secrets,
    Suffixes,
    Time,
)


class AccessSettings(BaseModel):
    """Who may use the server."""

    cors_origins: Origins = setting(
        "ORIGINS",
        "Web pages that may use the server, with commas between: https://example.org, "
        "https://*.example.org for its subdomains, * for all; empty for none.",
        default=("*",),
    )
    cors_credentials: bool = setting(
        "", "Let those pages send cookies; needs origins that are named.", default=False
    )
    cors_headers: FieldNames = setting(
        "NAMES",
        "Request headers those pages may send beside the usual, with commas between.",
        default=(),
    )
    jwt_secret: Secret | None = setting(
        "SECRET",
        "Requests need a bearer token (JWT) that was signed with this shared secret.",
        default=None,
        secret=True,
    )
    jwt_public_key: Path | None = setting(
        "FILE",
        "Requests need a bearer token (JWT) whose signature this public key verifies: a file in "
        "PEM.",
        default=None,
    )
    jwt_jwks: Path | None = setting(
        "FILE",
        "Requests need a bearer token (JWT) whose signature a key of this JSON Web Key Set "
        "verifies; the file is read again when it changes.",
        default=None,
    )
    jwt_algorithms: AlgorithmNames = setting(
        "NAMES",
        "Signature algorithms of bearer tokens that are accepted, with commas between; none: all "
        "that the key is meant for.",
        default=(),
    )
    jwt_issuer: FieldValue | None = setting(
        "TEXT", "Who must have issued bearer tokens (the claim iss).", default=None
    )
    jwt_audience: FieldValue | None = setting(
        "TEXT", "For whom bearer tokens must be meant (the claim aud).", default=None
    )
    jwt_leeway: Time = setting(
        "TIME", "How far the clocks of those who sign may be off.", default=10.0
    )
    jwt_owner_claim: FieldValue = setting(
        "NAME", "The claim of bearer tokens that names the owner of uploads.", default="sub"
    )
    url_secret: Secrets | None = setting(
        "SECRETS",
        "Accept signed upload URLs, made with this secret; of several with commas between, the "
        "first signs and all are accepted.",
        default=None,
        secret=True,
    )
    allowed_types: MediaRanges = setting(
        "TYPES",
        "Media types that uploads may have, as their metadata names them (filetype), with commas "
        "between: image/*, application/pdf; none: all.",
        default=(),
    )
    allowed_extensions: Suffixes = setting(
        "NAMES",
        "Endings that the names of files may have (metadata filename), with commas between: jpg, "
        "tar.gz; none: all.",
        default=(),
    )
    check_content: bool = setting(
        "",
        "Compare the first bytes of uploads with the allowed types, whatever their metadata says.",
        default=False,
    )

    @property
    def is_open(self) -> bool:
        """Tell whether anybody may upload anything."""
        keys = self.jwt_secret, self.jwt_public_key, self.jwt_jwks, self.url_secret
        return all(key is None for key in keys) and not (
            self.allowed_types or self.allowed_extensions
        )


def access_fault(settings: AccessSettings) -> tuple[str, str] | None:
    """Name a setting that contradicts another one, and say why; None when all agree."""
    keys = {
        "jwt_secret": settings.jwt_secret,
        "jwt_public_key": settings.jwt_public_key,
        "jwt_jwks": settings.jwt_jwks,
    }
    given = [name for name, value in keys.items() if value is not None]
    if len(given) > 1:
        return given[1], "give one of jwt-secret, jwt-public-key and jwt-jwks"
    wants = {
        "jwt_algorithms": settings.jwt_algorithms,
        "jwt_issuer": settings.jwt_issuer,
        "jwt_audience": settings.jwt_audience,
    }
    lonely = [name for name, value in wants.items() if value]
    if lonely and not given:
        return lonely[0], "needs jwt-secret, jwt-public-key or jwt-jwks: nothing is checked now"
    if settings.check_content and not settings.allowed_types:
        return "check_content", "needs allowed-types to compare with"
    return None
