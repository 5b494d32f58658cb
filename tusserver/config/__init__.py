"""The settings and how they are read (floor 3)."""

from tusserver.config.fields import default_of, hidden, is_secret, metavar_of, text_of
from tusserver.config.layers import (
    OTHER_VARIABLES,
    SECRET_FILES,
    Origin,
    flag_of,
    flag_parser,
    known_variables,
    load_arguments,
    load_command,
    load_settings,
    own_parser,
    variable_of,
)
from tusserver.config.schema import GROUPS, Settings

__all__ = [
    "GROUPS",
    "OTHER_VARIABLES",
    "SECRET_FILES",
    "Origin",
    "Settings",
    "default_of",
    "flag_of",
    "flag_parser",
    "hidden",
    "is_secret",
    "known_variables",
    "load_arguments",
    "load_command",
    "load_settings",
    "metavar_of",
    "own_parser",
    "text_of",
    "variable_of",
]
