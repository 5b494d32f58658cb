"""How a setting is declared (floor 3): its text stands once, at its field.

`--help` and docs/settings.md are made from it.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tusserver.values import format_size, format_time, hide_password

if TYPE_CHECKING:
    from pydantic.config import JsonDict
    from pydantic.fields import FieldInfo

STATE = "state"
"""The one secret of which most may be shown: the address of a state store."""
HIDDEN = "***"


def setting(metavar: str, description: str, *, default: Any, secret: bool = False) -> Any:
    """Declare a setting.

    `metavar` names the kind of its value to people; empty: it is on or off. The value of a
    `secret` one is never printed, and can be read from a file.
    """
    extra: JsonDict = {"metavar": metavar, "secret": secret}
    return Field(default, description=description, repr=not secret, json_schema_extra=extra)


def metavar_of(field: FieldInfo) -> str:
    """Name the kind of value of a setting; empty for what is on or off."""
    extra = field.json_schema_extra
    return str(extra["metavar"]) if isinstance(extra, dict) else ""


def is_secret(field: FieldInfo) -> bool:
    """Tell whether the value of a setting must not be shown."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra["secret"])


def default_of(field: FieldInfo) -> str:
    """Write the default of a setting as an operator would."""
    return text_of(field, field.default)


def text_of(field: FieldInfo, value: object) -> str:
    """Write the value of a setting as an operator would; a secret is not hidden."""
    match value:
        case None:
            shown = "never" if metavar_of(field) == "TIME" else "none"
        case bool():
            shown = "on" if value else "off"
        case Enum():
            shown = str(value.value)
        case tuple():
            shown = ",".join(map(str, value)) or "none"
        case float():
            shown = format_time(value)
        case int() if metavar_of(field) == "SIZE":
            shown = format_size(value)
        case int() if metavar_of(field) == "MODE":
            shown = f"{value:o}"
        case _:
            shown = str(value)
    return shown


def hidden(name: str, value: str) -> str:
    """Give what may be shown of a secret; of a state store all but the password."""
    return hide_password(value) if name == STATE else HIDDEN
