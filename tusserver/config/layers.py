"""How settings are read: flags over environment over defaults (floor 3).

Each layer only says what it was given; everything is checked in one place, the schema.
"""

from __future__ import annotations

import argparse
import difflib
import logging
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_settings import EnvSettingsSource

from tusserver.config.fields import default_of, metavar_of
from tusserver.config.schema import PREFIX, Settings
from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

_NAMES = frozenset(Settings.model_fields)

OTHER_VARIABLES = {
    "TUSSERVER_BOOT_ID_FILE": (
        "A file that names the present life of the machine, read once at start; for places "
        "where `/proc/sys/kernel/random/boot_id` cannot be read or does not tell."
    )
}
"""Environment variables that are not settings, and what they are for."""


class _Variables(EnvSettingsSource):
    """The environment as it was handed in, instead of the process's own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in environ.items()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print over several lines."""
        raise ConfigError("flags", "", message)


def flag_of(name: str) -> str:
    """Give the flag of a setting."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """Give the environment variable of a setting."""
    return PREFIX + name.upper()


def flag_parser() -> argparse.ArgumentParser:
    """Build the parser of the flags from the schema; it leaves every value as text."""
    parser = _Parser(
        prog="tusserver",
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    for name, field in Settings.model_fields.items():
        text = f"{field.description} (default: {default_of(field)})".replace("%", "%%")
        metavar = metavar_of(field)
        if metavar:
            parser.add_argument(flag_of(name), dest=name, metavar=metavar, help=text)
        else:
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag_of(name), dest=name, action=action, help=text)
    return parser


def load_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings of a program from its flags and its environment.

    Variables that begin with TUSSERVER_ and mean nothing are logged.

    Raises: ConfigError, which names the flag or the variable as the operator knows it.
    """
    return load_command(argv, environ, declare=None)[0]


def load_command(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    declare: Callable[[argparse.ArgumentParser], object] | None,
) -> tuple[Settings, argparse.Namespace]:
    """Read the settings and a command's own arguments, which `declare` adds to the parser.

    Raises: ConfigError, as `load_settings` does.
    """
    _warn_of_unknown_variables(environ)
    flags, own = _parse_flags(argv, declare)
    variables = _Variables(environ)()
    labels = {name: variable_of(name) for name in variables}
    labels |= {name: flag_of(name) for name in flags}
    try:
        return Settings(**{**variables, **flags}), own
    except ConfigError as error:
        label = labels.get(error.key, flag_of(error.key))
        raise ConfigError(label, error.value, error.reason) from None


def _parse_flags(
    argv: Sequence[str], declare: Callable[[argparse.ArgumentParser], object] | None
) -> tuple[dict[str, Any], argparse.Namespace]:
    parser = flag_parser()
    if declare is not None:
        declare(parser)
    try:
        found, unknown = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(error.argument_name or "flags", "", error.message) from None
    if not unknown:
        settings = {name: value for name, value in vars(found).items() if name in _NAMES}
        own = {name: value for name, value in vars(found).items() if name not in _NAMES}
        return settings, argparse.Namespace(**own)
    flag, _, value = unknown[0].partition("=")
    reason = "there is no such flag"
    near = difflib.get_close_matches(flag, map(flag_of, Settings.model_fields), n=1)
    raise ConfigError(flag, value, f"{reason}; did you mean {near[0]}?" if near else reason)


def _warn_of_unknown_variables(environ: Mapping[str, str]) -> None:
    known = [*map(variable_of, Settings.model_fields), *OTHER_VARIABLES]
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            logger.warning("%s means nothing here; the nearest is %s", name, near[0])
