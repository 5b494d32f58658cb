"""The settings: one validated schema for flags, environment and embedding (floor 2).

A flag wins over an environment variable, this over the default; each layer only says what it
was given, and everything is checked in one place. The text of a setting stands once, at its
field: `--help` and docs/settings.md are made from it. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

import argparse
import difflib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from tusserver.errors import ConfigError
from tusserver.upload import Durability, Limits
from tusserver.values import (
    EXTENSIONS,
    LOCAL,
    BasePath,
    Directory,
    ExtensionNames,
    FieldNames,
    FieldValue,
    Host,
    Life,
    MaxSize,
    Origins,
    Port,
    Size,
    Store,
    Time,
    Wait,
    check_public_url,
    format_size,
    format_time,
    hide_password,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.config import JsonDict
    from pydantic.fields import FieldInfo
    from pydantic_settings import PydanticBaseSettingsSource

logger = logging.getLogger(__name__)

PREFIX = "TUSSERVER_"
ANY_ORIGIN = "*"

OTHER_VARIABLES = {
    "TUSSERVER_BOOT_ID_FILE": (
        "A file that names the present life of the machine, read once at start; for places "
        "where `/proc/sys/kernel/random/boot_id` cannot be read or does not tell."
    )
}
"""Environment variables that are not settings, and what they are for."""


def _field(metavar: str, description: str, *, default: Any, secret: bool = False) -> Any:
    """Declare a setting; `metavar` names the kind of its value to people."""
    extra: JsonDict = {"metavar": metavar}
    return Field(default, description=description, repr=not secret, json_schema_extra=extra)


# --- the schema ---------------------------------------------------------------------------


class Settings(BaseSettings):
    """Every setting, checked. Made by hand it reads nothing but its arguments.

    Sizes and times are taken as numbers or as text such as "10GiB" and "24h". Raises:
    ConfigError, for the first setting that is wrong.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: Host = _field(
        "ADDRESS",
        "Address or name to listen on; 0.0.0.0 for every address.",
        default="127.0.0.1",
    )
    port: Port = _field(
        "NUMBER",
        "TCP port to listen on; 0 lets the system choose one, which is printed.",
        default=1080,
    )
    base_path: BasePath = _field(
        "PATH",
        "Path of the creation URL; uploads lie below it.",
        default="/files/",
    )
    public_url: str | None = _field(
        "URL",
        "Where clients find the server when that is not what they asked for: an origin "
        "(https://example.org, the base path is added) or the whole creation URL. Locations of "
        "uploads are then absolute; without it they are paths.",
        default=None,
    )
    upload_dir: Directory = _field(
        "DIRECTORY",
        "Where the bytes and the records beside them are kept.",
        default=Path("uploads"),
    )
    state: Store = _field(
        "STORE",
        "Where offsets are kept and shared between processes: local (the records beside the "
        "data) or a Redis: redis://[:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// with TLS, "
        "unix:///PATH[?db=DATABASE]. Passwords are never printed.",
        default=LOCAL,
        secret=True,
    )
    durability: Durability = _field(
        "LEVEL",
        "What an acknowledgement survives: process (the death of the server), normal (completed "
        "uploads survive a power cut, offsets up to the last background sync) or strict (every "
        "acknowledgement survives a power cut).",
        default=Durability.NORMAL,
    )
    reserve: Size = _field(
        "SIZE", "Free space of the file system that uploads never get.", default=256 * 2**20
    )
    max_size: MaxSize = _field(
        "SIZE", "Largest upload that is accepted; none: no limit.", default=None
    )
    expire_after: Life = _field(
        "TIME",
        "Life of an unfinished upload, counted anew with everything it receives; never: kept.",
        default=7 * 86_400.0,
    )
    expire_finished: Life = _field("TIME", "Life of a finished upload; never: kept.", default=None)
    sweep_interval: Wait = _field("TIME", "How often expired uploads are looked for.", default=60.0)
    sweep_grace: Time = _field(
        "TIME",
        "How long an upload must be seen expired before its bytes are deleted.",
        default=300.0,
    )
    body_timeout: Wait = _field(
        "TIME",
        "How long a request body may be silent; what came before is kept.",
        default=60.0,
    )
    shutdown_timeout: Time = _field(
        "TIME",
        "How long running requests may take to end when the server is stopped.",
        default=10.0,
    )
    download: bool = _field("", "Serve finished uploads to GET.", default=True)
    cache_control: FieldValue = _field(
        "TEXT", "Cache-Control of downloads.", default="private, no-cache"
    )
    disable: ExtensionNames = _field(
        "NAMES",
        f"Extensions to switch off, with commas between: {', '.join(EXTENSIONS)}.",
        default=(),
    )
    cors_origins: Origins = _field(
        "ORIGINS",
        "Web pages that may use the server, with commas between: https://example.org, "
        "https://*.example.org for its subdomains, * for all; empty for none.",
        default=(ANY_ORIGIN,),
    )
    cors_credentials: bool = _field(
        "", "Let those pages send cookies; needs origins that are named.", default=False
    )
    cors_headers: FieldNames = _field(
        "NAMES",
        "Request headers those pages may send beside the usual, with commas between.",
        default=(),
    )
    log_level: Literal["debug", "info", "warning", "error"] = _field(
        "LEVEL", "The least that is logged: debug, info, warning or error.", default="info"
    )

    def limits(self) -> Limits:
        """Give what holds for each upload; without expiration nothing expires."""
        if "expiration" in self.disable:
            return Limits(max_size=self.max_size, expire_after=None)
        return Limits(
            max_size=self.max_size,
            expire_after=self.expire_after,
            expire_finished=self.expire_finished,
        )

    @property
    def state_shown(self) -> str:
        """Name the state store without its password."""
        return hide_password(self.state)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library calls this by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing behind the back of an embedding application."""
        return (init_settings,)

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            settings = handler(values)
        except ValidationError as error:
            raise _first_fault(error) from None
        if settings.cors_credentials and ANY_ORIGIN in settings.cors_origins:
            # Any page at all could then act as whoever looks at it.
            reason = "name the pages in cors-origins: * would let every page use the cookies"
            raise ConfigError("cors_credentials", "true", reason)
        return settings

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        return check_public_url(value, base_path=str(info.data.get("base_path", "/")))


def _first_fault(error: ValidationError) -> ConfigError:
    fault = error.errors(include_url=False)[0]
    name = str(fault["loc"][0]) if fault["loc"] else "settings"
    value = fault["input"]
    if name == "state":
        value = hide_password(str(value))
    if fault["type"] == "extra_forbidden":
        return ConfigError(name, value, "there is no such setting")
    own = fault.get("ctx", {}).get("error")
    message = fault["msg"]
    reason = str(own) if isinstance(own, ValueError) else message[0].lower() + message[1:]
    return ConfigError(name, value, reason)


# --- the layers ---------------------------------------------------------------------------


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


def default_of(field: FieldInfo) -> str:
    """Write the default of a setting as an operator would."""
    match field.default:
        case None:
            shown = "never" if metavar_of(field) == "TIME" else "none"
        case bool():
            shown = "on" if field.default else "off"
        case Durability():
            shown = field.default.value
        case tuple():
            shown = ",".join(field.default) or "none"
        case float():
            shown = format_time(field.default)
        case int() if metavar_of(field) == "SIZE":
            shown = format_size(field.default)
        case _:
            shown = str(field.default)
    return shown


def metavar_of(field: FieldInfo) -> str:
    """Name the kind of value of a setting; empty for what is on or off."""
    extra = field.json_schema_extra
    return str(extra["metavar"]) if isinstance(extra, dict) else ""


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

    Variables that begin with TUSSERVER_ and mean nothing are logged. Raises: ConfigError, which
    names the flag or the variable as the operator knows it.
    """
    _warn_of_unknown_variables(environ)
    flags = _parse_flags(argv)
    variables = _Variables(environ)()
    labels = {name: variable_of(name) for name in variables}
    labels |= {name: flag_of(name) for name in flags}
    try:
        return Settings(**{**variables, **flags})
    except ConfigError as error:
        label = labels.get(error.key, flag_of(error.key))
        raise ConfigError(label, error.value, error.reason) from None


def _parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    try:
        flags, unknown = flag_parser().parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(error.argument_name or "flags", "", error.message) from None
    if not unknown:
        return vars(flags)
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
