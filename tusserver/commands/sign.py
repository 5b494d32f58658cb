"""`tusserver sign`: make an upload URL that is the right to one upload (floor 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.auth.grants import sign_upload_url
from tusserver.caller import is_owner
from tusserver.commands.command import Command
from tusserver.errors import ConfigError
from tusserver.values import check_public_url, parse_time

if TYPE_CHECKING:
    import argparse

    from tusserver.config import Settings


def sign(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print a signed creation URL."""
    if settings.url_secret is None:
        raise ConfigError("url_secret", "", "is needed to sign: give the one of the server")
    url = sign_upload_url(
        settings.url_secret,
        _base_url(settings, getattr(arguments, "url", None)),
        owner=_owner(arguments),
        max_size=settings.max_size,
        expires_in=_life(arguments),
        types=settings.allowed_types,
    )
    print(url)
    return 0


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare what a grant says beside --max-size and --allowed-types."""
    parser.add_argument("--owner", metavar="NAME", help="whose the upload is (default: nobody's)")
    parser.add_argument(
        "--expires-in", metavar="TIME", help="how long the URL can be used (default: 1h)"
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the creation URL as clients know it (default: made of --public-url, or of --host, "
        "--port and --base-path)",
    )


def _base_url(settings: Settings, given: str | None) -> str:
    if given is not None:
        try:
            return check_public_url(given, base_path=settings.base_path)
        except ValueError as error:
            raise ConfigError("--url", given, str(error)) from None
    if settings.public_url is not None:
        return settings.public_url
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{host}:{settings.port}{settings.base_path}"


def _owner(arguments: argparse.Namespace) -> str:
    owner = str(getattr(arguments, "owner", ""))
    if not is_owner(owner):
        reason = "not an owner: at most 256 bytes and no control characters"
        raise ConfigError("--owner", "", reason)
    return owner


def _life(arguments: argparse.Namespace) -> float:
    given = getattr(arguments, "expires_in", "1h")
    try:
        life = parse_time(given)
    except ValueError as error:
        raise ConfigError("--expires-in", given, str(error)) from None
    if life == 0:
        raise ConfigError("--expires-in", given, "must be longer than 0")
    return life


SIGN = Command(
    name="sign",
    summary="print an upload URL that is the right to one upload, made with --url-secret",
    run=sign,
    declare=declare,
)
