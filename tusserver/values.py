"""The kinds of values that settings have, as people write them (floor 2).

Sizes (10GiB) and times (24h) are computed in integers, so that no byte and no millisecond is
ever rounded. Every reason that is given here is read by an operator.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from tusserver.caller import is_media_range
from tusserver.upload import MAX_INTEGER

MAX_TIME = 36_500 * 86_400
"""The longest time that is understood, in seconds: a hundred years."""

MAX_PORT = 65_535
MAX_COUNT = 999_999_999
"""The highest limit of things that are counted."""
MIN_RATE = 1024
"""The lowest limit of bandwidth, in bytes a second."""
AUTO = "auto"
MAX_MODE = 0o777
MAX_WORKERS = 64
MAX_CONNECTIONS = 1_000_000
MIN_SECRET = 32
"""The shortest secret that signs anything, in bytes (RFC 7518 section 3.2)."""
ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "ES256K", "EdDSA",
)  # fmt: skip
"""The algorithms of tokens that can be verified; `none` is none of them."""
LOCAL = "local"
UNIX = "unix"
"""Stands for peers on a unix socket, in the list of trusted proxies."""

EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "termination",
    "expiration",
    "concatenation",
)
"""The extensions of tus 1.0 that can be switched off."""

_SIZE = re.compile(r"([0-9]{1,19})([A-Za-z]*)")
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SHOWN_SIZES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_TIME = re.compile(r"([0-9]{1,15})(ms|[smhd])")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHOWN_TIMES = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_NO_LIMIT = frozenset({"never", "none", "off"})
_SCHEME = re.compile(r"[a-z]{1,8}://")
_PLACE = re.compile(r"(?:(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?)?(?:/[^:@]*)?")
_BASE_PATH = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*")
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://(?:\*\.)?[^\s/?#@*]+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_SUFFIX = re.compile(r"[^\s/.,]+(?:\.[^\s/.,]+)*")
_DATABASE = re.compile(r"/?|/[0-9]{1,5}")


def parse_size(value: object) -> int:
    """Read a size such as "10GiB", "500MB" or "4096"; a number is bytes already.

    Units are not told apart by case. Raises: ValueError, with the reason for people.
    """
    size = -1
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None or match[2].lower() not in _SIZE_UNITS:
            raise ValueError("not a size: write it as 10GiB or 500MB")
        size = int(match[1]) * _SIZE_UNITS[match[2].lower()]
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    if not 0 <= size <= MAX_INTEGER:
        raise ValueError(f"not a size: it must be from 0 to {MAX_INTEGER} bytes")
    return size


def format_size(size: int) -> str:
    """Write a size in the largest unit that gives a whole number."""
    for name, unit in _SHOWN_SIZES:
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def parse_time(value: object) -> float:
    """Read a time such as "500ms", "30s", "90m", "24h", "7d" or "0"; a number is seconds already.

    Raises: ValueError, with the reason for people.
    """
    time = -1.0
    if isinstance(value, str):
        match = _TIME.fullmatch("0s" if value == "0" else value)
        if match is None:
            raise ValueError("not a time: write it as 500ms, 30s, 90m, 24h or 7d")
        time = int(match[1]) * _MILLISECONDS[match[2]] / 1000
    elif isinstance(value, int | float) and not isinstance(value, bool):
        time = float(value)
    if not 0 <= time <= MAX_TIME:
        raise ValueError("not a time: it must be from 0 to 36500d")
    return time


def format_time(time: float) -> str:
    """Write a time in the largest unit that gives a whole number."""
    if time == 0:
        return "0"
    for name, unit in _SHOWN_TIMES:
        if time % unit == 0:
            return f"{int(time) // unit}{name}"
    return f"{round(time * 1000)}ms"


def _parse_max_size(value: object) -> int | None:
    return None if _is_no_limit(value) else parse_size(value) or None


def _parse_limit(value: object) -> int | None:
    """Read a number that limits something; none: there is no limit."""
    if _is_no_limit(value):
        return None
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_COUNT:
        raise ValueError(f"not a limit: write a number from 1 to {MAX_COUNT}, or none")
    return value


def _parse_auto_limit(value: object) -> int | str | None:
    try:
        return AUTO if value == AUTO else _parse_limit(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {AUTO}") from None


def _parse_rate(value: object) -> int | None:
    rate = _parse_max_size(value)
    if rate is not None and rate < MIN_RATE:
        raise ValueError(f"too slow: at least {MIN_RATE} bytes a second, or none")
    return rate


def _parse_life(value: object) -> float | None:
    return None if _is_no_limit(value) else parse_time(value) or None


def _is_no_limit(value: object) -> bool:
    return value is None or (isinstance(value, str) and value in _NO_LIMIT)


def _parse_wait(value: object) -> float:
    wait = parse_time(value)
    if wait == 0:
        raise ValueError("must be longer than 0")
    return wait


def _parse_names(value: object) -> object:
    """Split a comma-separated list; what is a sequence already stays as it is."""
    if not isinstance(value, str):
        return value
    return tuple(name for name in (part.strip() for part in value.split(",")) if name)


def _parse_port(value: object) -> int:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_PORT:
        raise ValueError("not a port: write a number from 0 to 65535")
    return value


def _parse_count(value: object, *, low: int, high: int) -> int:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"not such a number: write one from {low} to {high}")
    return value


def _parse_mode(value: object) -> int:
    """Read the permissions of a file, in octal as chmod(1) takes them."""
    if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value):
        return int(value, 8)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_MODE:
        raise ValueError("not the permissions of a file: write them as 660")
    return value


def _check_host(value: str) -> str:
    if _HOST.fullmatch(value) is None:
        raise ValueError("not an address: write it as 127.0.0.1, ::1 or example.org")
    return value


def _check_base_path(value: str) -> str:
    path = _with_slashes(value)
    if _BASE_PATH.fullmatch(path) is None:
        raise ValueError("not a plain path: write it as /files/, of letters, digits and -._~")
    return path


def _with_slashes(path: str) -> str:
    path = path.removeprefix("/").removesuffix("/")
    return f"/{path}/" if path else "/"


def check_public_url(value: str, *, base_path: str) -> str:
    """Give the creation URL that clients see, with a trailing slash.

    An origin is completed with `base_path`. Raises: ValueError.
    """
    reason = "not a URL of a site: write it as https://example.org or https://example.org/up/"
    try:
        url = urlsplit(value)
        is_site = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        raise ValueError(reason) from None
    path = _with_slashes(url.path)
    if not is_site or {"?", "#", "@"} & set(value) or _BASE_PATH.fullmatch(path) is None:
        raise ValueError(reason)
    if _FIELD_VALUE.fullmatch(value) is None:
        raise ValueError(reason)
    return f"{url.scheme}://{url.netloc}{base_path if path == '/' else path}"


def _check_directory(value: object) -> object:
    if not str(value) or "\0" in str(value):
        raise ValueError("not the name of a directory")
    return value


def _check_field_value(value: str) -> str:
    if _FIELD_VALUE.fullmatch(value) is None:
        raise ValueError("not the value of a header")
    return value


def _check_extension(name: str) -> str:
    if name not in EXTENSIONS:
        raise ValueError(f"none of {', '.join(EXTENSIONS)}")
    return name


def _check_origin(origin: str) -> str:
    if _ORIGIN.fullmatch(origin) is None:
        raise ValueError("not an origin: write it as https://example.org")
    return origin


def _check_field_name(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError("not the name of a header")
    return name


def _check_network(name: str) -> str:
    """Give a network as it is written everywhere: 10.0.0.0/8, ::1/128, or `unix`."""
    if name == UNIX:
        return name
    try:
        return str(ipaddress.ip_network(name, strict=False))
    except ValueError:
        reason = "not a network: write it as 10.0.0.0/8, 127.0.0.1, ::1 or unix"
        raise ValueError(reason) from None


def _check_store(value: str) -> str:
    if value != LOCAL and not is_redis_url(value):
        raise ValueError("not a state store: write local, redis://HOST:PORT/0 or unix:///PATH")
    return value


def parse_secrets(value: str) -> tuple[str, ...]:
    """Split secrets with commas between: the first one signs, all of them verify.

    Raises: ValueError, which does not repeat them.
    """
    secrets = tuple(part for part in (part.strip() for part in value.split(",")) if part)
    if not secrets:
        raise ValueError("not a secret: make one with `openssl rand -hex 32`")
    if any(len(secret.encode()) < MIN_SECRET for secret in secrets):
        raise ValueError(f"a secret has at least {MIN_SECRET} characters: openssl rand -hex 32")
    return secrets


def _check_secrets(value: str) -> str:
    parse_secrets(value)
    return value


def _check_secret(value: str) -> str:
    if len(value.encode()) < MIN_SECRET:
        raise ValueError(f"a secret has at least {MIN_SECRET} characters: openssl rand -hex 32")
    if value.startswith(("-----BEGIN", "ssh-")):
        raise ValueError("that is a key: name its file in jwt-public-key")
    return value


def _check_algorithm(name: str) -> str:
    if name not in ALGORITHMS:
        raise ValueError(f"none of {', '.join(ALGORITHMS)}")
    return name


def _check_media_range(name: str) -> str:
    name = name.lower()
    if not is_media_range(name):
        raise ValueError("not a media type: write it as image/png or image/*")
    return name


def _check_suffix(name: str) -> str:
    name = name.lower().removeprefix("*").removeprefix(".")
    if _SUFFIX.fullmatch(name) is None:
        raise ValueError("not the ending of a file's name: write it as jpg or tar.gz")
    return name


# --- where a state store is ----------------------------------------------------------------


def is_redis_url(text: str) -> bool:
    """Tell whether `text` is the address of a Redis."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    if url.fragment or "@" in url.query:  # a password that was not encoded
        return False
    if url.scheme == "unix":
        return len(url.path) > 1 and not url.hostname
    is_redis = url.scheme in {"redis", "rediss"} and bool(url.hostname) and port != 0
    return is_redis and _DATABASE.fullmatch(url.path) is not None


def hide_password(text: str) -> str:
    """Give the address of a store without what may be secret in it, be it well-formed or not."""
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    credentials, at, place = rest.rpartition("@")
    # Redis takes a password as a parameter as well.
    place, _, query = place.partition("?")
    if not at and _PLACE.fullmatch(place) is None:  # perhaps a password whose @ was forgotten
        place = "***"
    database = re.search(r"(?:^|&)(db=[0-9]+)(?:&|$)", query)
    hidden = "***" if credentials else ""
    shown = place + (f"?{database[1]}" if database else "")
    return (scheme[0] if scheme else "") + hidden + at + shown


# --- the kinds ----------------------------------------------------------------------------

Size = Annotated[int, BeforeValidator(parse_size)]
MaxSize = Annotated[int | None, BeforeValidator(_parse_max_size)]
Time = Annotated[float, BeforeValidator(parse_time)]
Wait = Annotated[float, BeforeValidator(_parse_wait)]
Life = Annotated[float | None, BeforeValidator(_parse_life)]
Limit = Annotated[int | None, BeforeValidator(_parse_limit)]
AutoLimit = Annotated[int | str | None, BeforeValidator(_parse_auto_limit)]
Rate = Annotated[int | None, BeforeValidator(_parse_rate)]
Port = Annotated[int, BeforeValidator(_parse_port)]
Workers = Annotated[int, BeforeValidator(partial(_parse_count, low=1, high=MAX_WORKERS))]
Connections = Annotated[int, BeforeValidator(partial(_parse_count, low=1, high=MAX_CONNECTIONS))]
FileMode = Annotated[int, BeforeValidator(_parse_mode)]
Host = Annotated[str, AfterValidator(_check_host)]
BasePath = Annotated[str, AfterValidator(_check_base_path)]
Directory = Annotated[Path, BeforeValidator(_check_directory)]
Store = Annotated[str, AfterValidator(_check_store)]
FieldValue = Annotated[str, AfterValidator(_check_field_value)]

_Extension = Annotated[str, AfterValidator(_check_extension)]
_Origin = Annotated[str, AfterValidator(_check_origin)]
_FieldName = Annotated[str, AfterValidator(_check_field_name)]
_Network = Annotated[str, AfterValidator(_check_network)]
Networks = Annotated[tuple[_Network, ...], NoDecode, BeforeValidator(_parse_names)]
ExtensionNames = Annotated[tuple[_Extension, ...], NoDecode, BeforeValidator(_parse_names)]
Origins = Annotated[tuple[_Origin, ...], NoDecode, BeforeValidator(_parse_names)]
FieldNames = Annotated[tuple[_FieldName, ...], NoDecode, BeforeValidator(_parse_names)]
Secret = Annotated[str, AfterValidator(_check_secret)]
Secrets = Annotated[str, AfterValidator(_check_secrets)]

_Algorithm = Annotated[str, AfterValidator(_check_algorithm)]
_MediaRange = Annotated[str, AfterValidator(_check_media_range)]
_Suffix = Annotated[str, AfterValidator(_check_suffix)]
AlgorithmNames = Annotated[tuple[_Algorithm, ...], NoDecode, BeforeValidator(_parse_names)]
MediaRanges = Annotated[tuple[_MediaRange, ...], NoDecode, BeforeValidator(_parse_names)]
Suffixes = Annotated[tuple[_Suffix, ...], NoDecode, BeforeValidator(_parse_names)]
