"""The settings: one validated schema for flags, environment, file and embedding (floor 3).

Each group of settings stands in a module of its own. Sizes are in bytes, times in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from tusserver.config.access import AccessSettings, access_fault
from tusserver.config.fields import is_secret
from tusserver.config.hooking import HookingSettings
from tusserver.config.limiting import LimitingSettings
from tusserver.config.observing import ObservingSettings
from tusserver.config.paging import PagingSettings
from tusserver.config.publishing import PublishingSettings, publishing_fault
from tusserver.config.serving import ServingSettings, serving_fault
from tusserver.config.storing import StoringSettings
from tusserver.errors import ConfigError
from tusserver.upload import Limits
from tusserver.values import check_public_url, hide_password

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

PREFIX = "TUSSERVER_"
ANY_ORIGIN = "*"

GROUPS = (
    ServingSettings,
    PagingSettings,
    StoringSettings,
    PublishingSettings,
    AccessSettings,
    LimitingSettings,
    HookingSettings,
    ObservingSettings,
)
"""The groups, in the order in which people read them."""


class Settings(
    ObservingSettings,
    HookingSettings,
    LimitingSettings,
    AccessSettings,
    PublishingSettings,
    StoringSettings,
    PagingSettings,
    ServingSettings,
    BaseSettings,
):
    """Every setting, checked. Made by hand it reads nothing but its arguments.

    Sizes and times are taken as numbers or as text such as "10GiB" and "24h". Raises:
    ConfigError, for the first setting that is wrong.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
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
        fault = access_fault(settings) or serving_fault(settings)
        fault = fault or publishing_fault(
            settings.publish, settings.publish_dir, settings.upload_dir
        )
        if fault is not None:
            raise ConfigError(fault[0], "", fault[1])
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
    elif name in Settings.model_fields and is_secret(Settings.model_fields[name]):
        value = ""
    if fault["type"] == "extra_forbidden":
        return ConfigError(name, value, "there is no such setting")
    own = fault.get("ctx", {}).get("error")
    message = fault["msg"]
    if fault["type"] == "bool_parsing":
        message = "write on or off"
    reason = str(own) if isinstance(own, ValueError) else message[0].lower() + message[1:]
    return ConfigError(name, value, reason)
