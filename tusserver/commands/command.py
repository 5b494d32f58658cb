"""What a command of the program is (floor 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from tusserver.config import Settings


def _nothing(_parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One word after `tusserver`, and what it does.

    `run` gives the exit status; it may raise ConfigError (status 2), another TusError or an
    OSError (status 1): each comes out as one line on stderr.
    """

    name: str
    summary: str
    """What `--help` says of it, in one line."""
    run: Callable[[Settings, argparse.Namespace], int]
    declare: Callable[[argparse.ArgumentParser], object] = _nothing
    """Adds arguments of its own beside the flags of the settings, which every command takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCommand:
    """One word after `tusserver` that needs no server, and so none of its settings.

    It takes its own arguments only; no flag, variable or file of the settings is read for it.
    """

    name: str
    summary: str
    """What `--help` says of it, in one line."""
    run: Callable[[argparse.Namespace], int]
    """Gives the exit status; it may raise ConfigError (status 2) and nothing else."""
    declare: Callable[[argparse.ArgumentParser], object]
