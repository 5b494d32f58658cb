"""The settings and how they are read (floor 3)."""

from tusserver.config.fields import default_of, is_secret, metavar_of
from tusserver.config.layers import (
    OTHER_VARIABLES,
    flag_of,
    flag_parser,
    load_command,
    load_settings,
    variable_of,
)
from tusserver.config.schema import GROUPS, Settings

__all__ = [
    "GROUPS",
    "OTHER_VARIABLES",
    "Settings",
    "default_of",
    "flag_of",
    "flag_parser",
    "is_secret",
    "load_command",
    "load_settings",
    "metavar_of",
    "variable_of",
]
