"""How settings are read: flags over environment over a file over defaults (floor 3).

Each layer only says what it was given; everything is checked in one place, the schema.
"""

from __future__ import annotations

import argparse
import difflib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_settings import EnvSettingsSource

from tusserver.config.fields import default_of, hidden, is_secret, metavar_of
from tusserver.config.files import check_names, read_secret, read_toml, warn_if_public
from tusserver.config.schema import PREFIX, Settings
from tusserver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

_NAMES = frozenset(Settings.model_fields)
_FILE = "_file"
SECRET_FILES = {
    name + _FILE: name for name, field in Settings.model_fields.items() if is_secret(field)
}
"""For each secret setting, the name under which a file is given that holds it."""

CONFIG = "config"
CONFIG_VARIABLE = PREFIX + "CONFIG"

OTHER_VARIABLES = {
    CONFIG_VARIABLE: "A TOML file of settings, as `--config` names it.",
    "TUSSERVER_BOOT_ID_FILE": (
        "A file that names the present life of the machine, read once at start; for places "
        "where `/proc/sys/kernel/random/boot_id` cannot be read or does not tell."
    ),
    "TUSSERVER_UPLOAD_TOKEN": (
        "The bearer token that `tusserver upload` sends ([uploading](upload.md))."
    ),
    "TUSSERVER_UPLOAD_TOKEN_FILE": "A file that holds this token.",
}
"""Environment variables that are not settings, and what they are for."""

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that settings come from, and how it names them."""

    origin: str
    """`flag`, `variable` or `file`."""
    values: Mapping[str, object]
    """By the names of settings, and of files that hold secrets."""
    label: Callable[[str], str]
    """Gives the name by which an operator knows a setting there."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting came from."""

    origin: str
    """`flag`, `variable`, `file` or `default`."""
    label: str
    """What it is called there; empty for a default."""


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


def known_variables() -> list[str]:
    """Name every environment variable that means something."""
    return [*map(variable_of, (*Settings.model_fields, *SECRET_FILES)), *OTHER_VARIABLES]


def own_parser() -> argparse.ArgumentParser:
    """Build a parser without flags that raises ConfigError rather than end the program."""
    return _Parser(
        prog="tusserver",
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )


def flag_parser() -> argparse.ArgumentParser:
    """Build the parser of the flags from the schema; it leaves every value as text."""
    parser = own_parser()
    text = "A TOML file of settings; flags and variables win over it (default: none)"
    parser.add_argument(flag_of(CONFIG), dest=CONFIG, metavar="FILE", help=text)
    for name, field in Settings.model_fields.items():
        text = f"{field.description} (default: {default_of(field)})".replace("%", "%%")
        metavar = metavar_of(field)
        if metavar:
            parser.add_argument(flag_of(name), dest=name, metavar=metavar, help=text)
        else:
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag_of(name), dest=name, action=action, help=text)
        if (file := name + _FILE) in SECRET_FILES:
            text = f"A file that holds the value of {flag_of(name)}"
            parser.add_argument(flag_of(file), dest=file, metavar="FILE", help=text)
    return parser


def load_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings of a program from its flags, its environment and the file they name.

    Variables that begin with TUSSERVER_ and mean nothing are logged.

    Raises: ConfigError, which names the flag, the variable or the key as the operator knows it.
    """
    return load_command(argv, environ, declare=None)[0]


def load_command(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    declare: Callable[[argparse.ArgumentParser], object] | None,
) -> tuple[Settings, argparse.Namespace]:
    """Read the settings and a command's own arguments, which `declare` adds to the parser.

    Among the arguments, `origins` tells where each setting came from. Raises: ConfigError, as
    `load_settings` does.
    """
    _warn_of_unknown_variables(environ)
    flags, own = _parse_flags(argv, declare)
    layers = [Layer("flag", flags, flag_of), Layer("variable", _variables(environ), variable_of)]
    if (file := _file_layer(flags.get(CONFIG), environ)) is not None:
        layers.append(file)
    values, own.origins = _merge(layers)
    try:
        return Settings(**values), own
    except ConfigError as error:
        raise _as_given(error, own.origins.get(error.key), layers) from None


def load_arguments(
    argv: Sequence[str], declare: Callable[[argparse.ArgumentParser], object]
) -> argparse.Namespace:
    """Read the arguments of a command that takes no settings. Raises: ConfigError."""
    parser = own_parser()
    declare(parser)
    try:
        # Files and flags may stand in any order.
        found, unknown = parser.parse_known_intermixed_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(error.argument_name or "flags", "", error.message) from None
    if unknown:  # Its value is not repeated: it may be a secret.
        raise ConfigError(unknown[0].partition("=")[0], "", "there is no such flag")
    return found


def _variables(environ: Mapping[str, str]) -> dict[str, object]:
    known = {name.upper(): value for name, value in environ.items()}
    files = {name: known.get(variable_of(name)) for name in SECRET_FILES}
    given = {name: path for name, path in files.items() if path is not None}
    return {**_Variables(environ)(), **given}


def _file_layer(flag: object, environ: Mapping[str, str]) -> Layer | None:
    """Read the TOML file that a flag or a variable names, if any does."""
    path, label = flag, flag_of(CONFIG)
    if path is None:
        path, label = environ.get(CONFIG_VARIABLE), CONFIG_VARIABLE
    if path is None:
        return None
    file = str(path)
    values = read_toml(file, label=label)
    check_names(file, values, known={*_NAMES, *SECRET_FILES}, nearest=_nearest_key)
    secrets = [name for name in SECRET_FILES.values() if name in values]
    if any(hidden(name, str(values[name])) != values[name] for name in secrets):
        warn_if_public(file)
    return Layer("file", values, lambda name: f"{file}: {_key(name)}")


def _key(name: str) -> str:
    return name.replace("_", "-")


def _nearest_key(name: str) -> str | None:
    near = difflib.get_close_matches(name, [*_NAMES, *SECRET_FILES], n=1)
    return _key(near[0]) if near else None


def _merge(layers: list[Layer]) -> tuple[dict[str, Any], dict[str, Origin]]:
    """Take each setting from the first layer that has it. Raises: ConfigError."""
    values: dict[str, Any] = {}
    origins = {name: Origin(DEFAULT, "") for name in Settings.model_fields}
    for layer in layers:
        found = {
            given: SECRET_FILES.get(given, given)
            for given in layer.values
            if SECRET_FILES.get(given, given) in _NAMES - values.keys()
        }
        for given, name in found.items():
            if given != name and name in found:
                reason = f"{layer.label(name)} is given too: give one of the two"
                raise ConfigError(layer.label(given), "", reason)
            value, label = layer.values[given], layer.label(given)
            values[name] = value if given == name else read_secret(str(value), label=label)
            origins[name] = Origin(layer.origin, label)
    return values, origins


def _as_given(error: ConfigError, origin: Origin | None, layers: list[Layer]) -> ConfigError:
    """Name a setting that is wrong as the operator knows it; what a file holds stays there."""
    if origin is None or origin.origin == DEFAULT:
        return ConfigError(flag_of(error.key), error.value, error.reason)
    [layer] = [layer for layer in layers if layer.origin == origin.origin]
    file = error.key + _FILE
    from_file = file in SECRET_FILES and origin.label == layer.label(file)
    value = layer.values[file] if from_file else error.value
    return ConfigError(origin.label, value, error.reason)


def _parse_flags(
    argv: Sequence[str], declare: Callable[[argparse.ArgumentParser], object] | None
) -> tuple[dict[str, object], argparse.Namespace]:
    parser = flag_parser()
    if declare is not None:
        declare(parser)
    try:
        found, unknown = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(error.argument_name or "flags", "", error.message) from None
    if not unknown:
        layered = {*_NAMES, *SECRET_FILES, CONFIG}
        settings = {name: value for name, value in vars(found).items() if name in layered}
        own = {name: value for name, value in vars(found).items() if name not in layered}
        return settings, argparse.Namespace(**own)
    flag, _, value = unknown[0].partition("=")
    reason = "there is no such flag"
    known = [flag_of(name) for name in (*Settings.model_fields, *SECRET_FILES, CONFIG)]
    near = difflib.get_close_matches(flag, known, n=1)
    if near and near[0] in map(flag_of, SECRET_FILES.values()):
        value = ""  # What was misspelt may be the flag of a secret.
    raise ConfigError(flag, value, f"{reason}; did you mean {near[0]}?" if near else reason)


def _warn_of_unknown_variables(environ: Mapping[str, str]) -> None:
    known = known_variables()
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            logger.warning("%s means nothing here; the nearest is %s", name, near[0])
