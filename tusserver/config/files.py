"""Settings that stand in files: a TOML file of many, a file for each secret (floor 3).

Both are read once, at the start. What a file of a secret holds is never repeated.
"""

from __future__ import annotations

import logging
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

MAX_BYTES = 1024 * 1024
"""The largest file that is read: whoever names a log or a disk by mistake is told so."""


def read_toml(path: str, *, label: str) -> dict[str, object]:
    """Read the settings of a TOML file: names with underscores, scalars as the text of a flag.

    Raises: ConfigError, which names the file; or `label`, if the file cannot be read.
    """
    data = _read(path, label)
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise ConfigError(path, "", "not a TOML file: it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        raise ConfigError(path, "", f"not TOML: {reason[0].lower()}{reason[1:]}") from None
    found: dict[str, object] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in found:
            raise ConfigError(f"{path}: {key}", "", "is given twice, with - and with _")
        found[name] = _as_text(value)
    return found


def check_names(
    path: str, names: dict[str, object], *, known: set[str], nearest: Callable[[str], str | None]
) -> None:
    """Raise ConfigError for the first name that is none; `nearest` gives the one meant."""
    for name, value in names.items():
        if name in known:
            continue
        key = f"{path}: {name.replace('_', '-')}"
        if isinstance(value, dict):
            raise ConfigError(key, "", "there are no tables: write each setting on its own line")
        near = nearest(name)
        reason = "there is no such setting"
        raise ConfigError(key, "", f"{reason}; did you mean {near}?" if near else reason)


def read_secret(path: str, *, label: str) -> str:
    """Read a secret from a file of its own; a newline at its end does not belong to it.

    A file that every user of the machine can read is logged. Raises: ConfigError, which names
    the file by `label` and path.
    """
    data = _read(path, label)
    try:
        secret = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(label, path, "is not UTF-8 text") from None
    warn_if_public(path)
    return secret.removesuffix("\n").removesuffix("\r")


def warn_if_public(path: str) -> None:
    """Log that every user of the machine can read a file that holds a secret."""
    mode = Path(path).stat().st_mode
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        logger.warning("%s holds a secret and every user can read it: chmod o-r %s", path, path)


def _read(path: str, label: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
        raise ConfigError(label, path, f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(label, path, f"is larger than {MAX_BYTES} bytes")
    return data


def _as_text(value: object) -> object:
    """Write numbers and dates as text, so that they mean what they mean as a flag."""
    match value:
        case bool() | str() | dict():
            return value
        case list():
            return [_as_text(entry) for entry in value]
        case _:
            return str(value)
