"""`tusserver settings`: what holds, and where it came from (floor 6)."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.commands.command import Command
from tusserver.commands.printing import columns, declare_json, output_may_end, print_json
from tusserver.config import Settings, flag_of, hidden, is_secret, text_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from tusserver.config import Origin

Plain = str | int | float | bool | list[str] | None


def settings(chosen: Settings, arguments: argparse.Namespace) -> int:
    """Print every setting, its value and its origin; secrets are hidden."""
    origins: Mapping[str, Origin] = arguments.origins
    with output_may_end():
        if arguments.json:
            print_json({name: _entry(chosen, name, origins[name]) for name in origins})
        else:
            rows = [(flag_of(name), _text(chosen, name), _from(origins[name])) for name in origins]
            print(*columns(rows, head=("SETTING", "VALUE", "FROM")), sep="\n")
    return 0


def _entry(chosen: Settings, name: str, origin: Origin) -> dict[str, Plain]:
    return {"value": _plain(chosen, name), "origin": origin.origin, "label": origin.label}


def _from(origin: Origin) -> str:
    return origin.label or origin.origin


def _text(chosen: Settings, name: str) -> str:
    field, value = Settings.model_fields[name], getattr(chosen, name)
    return hidden(name, value) if is_secret(field) and value else text_of(field, value)


def _plain(chosen: Settings, name: str) -> Plain:
    """Give a value as JSON has it: sizes in bytes, times in seconds."""
    value = getattr(chosen, name)
    if is_secret(Settings.model_fields[name]) and value:
        return hidden(name, value)
    match value:
        case Enum():
            return str(value.value)
        case tuple():
            return [str(entry) for entry in value]
        case str() | int() | float() | None:
            return value
        case Path() | _:
            return str(value)


SETTINGS = Command(
    name="settings",
    summary="print every setting, its value and where that came from",
    run=settings,
    declare=declare_json,
)
