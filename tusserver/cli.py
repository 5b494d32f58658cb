"""The program: commands, exit statuses, and everything it prints (floor 6).

Exit status 2 is a wrong setting, 1 a machine that does not let the server run; either comes
with one line on stderr. Log records go to stderr as well, what is asked for to stdout.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tusserver.commands.adopt import ADOPT
from tusserver.commands.check import CHECK
from tusserver.commands.command import ClientCommand
from tusserver.commands.events import EVENTS, RESEND
from tusserver.commands.list import LIST
from tusserver.commands.remove import REMOVE
from tusserver.commands.serve import SERVE
from tusserver.commands.settings import SETTINGS
from tusserver.commands.show import SHOW
from tusserver.commands.sign import SIGN
from tusserver.commands.sweep import SWEEP
from tusserver.commands.upload import UPLOAD
from tusserver.config import (
    Settings,
    flag_of,
    flag_parser,
    load_arguments,
    load_command,
    own_parser,
)
from tusserver.errors import ConfigError, StateUnavailable, TusError
from tusserver.logs import start_logging

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tusserver.commands.command import Command

COMMANDS: dict[str, Command | ClientCommand] = {
    command.name: command
    for command in (
        SERVE,
        UPLOAD,
        ADOPT,
        CHECK,
        SETTINGS,
        LIST,
        SHOW,
        REMOVE,
        SWEEP,
        SIGN,
        EVENTS,
        RESEND,
    )
}
"""The commands, in the order in which `--help` lists them."""

WRONG_SETTING = 2
INTERRUPTED = 130
"""What a shell makes of SIGINT."""

ABOUT = """\
A server for the tus resumable upload protocol.

commands:
{commands}

Every flag can be given as an environment variable, --max-size as TUSSERVER_MAX_SIZE, and in a
TOML file that --config names: max-size = "10GiB"."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; give the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        _help(words)
        return 0
    if "--version" in words:
        print("tusserver", installed_version())
        return 0
    start_logging()
    try:
        command = take_command(words)
        if isinstance(command, ClientCommand):
            return command.run(load_arguments(words, command.declare))
        settings, arguments = load_command(words, os.environ, declare=command.declare)
    except ConfigError as error:
        return complain(_line(error), status=WRONG_SETTING)
    start_logging(settings.log_level, settings.log_format)
    return run(command, settings, arguments)


def _help(words: list[str]) -> None:
    """Print the help of the program, or of the command that the first word names."""
    named = COMMANDS.get(words[0]) if words else None
    parser = own_parser() if isinstance(named, ClientCommand) else flag_parser()
    if named is not None:
        named.declare(parser)
        parser.usage = f"tusserver {named.name} [ARGUMENTS] [--FLAG VALUE ...]\n\n{named.summary}"
    else:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
        about = ABOUT.format(commands="\n".join(lines))
        parser.usage = f"tusserver [COMMAND] [--FLAG VALUE ...]\n\n{about}"
    parser.print_help()


def installed_version() -> str:
    """Give the version of the installed package."""
    try:
        return version("tusserver")
    except PackageNotFoundError:
        return "(run from its source, not installed)"


def take_command(words: list[str]) -> Command | ClientCommand:
    """Take the command off the front of the arguments. Raises: ConfigError."""
    if not words or words[0].startswith("-"):
        return SERVE
    word = words.pop(0)
    if word not in COMMANDS:
        raise ConfigError("command", word, f"there are only {', '.join(COMMANDS)}")
    return COMMANDS[word]


def run(command: Command, settings: Settings, arguments: argparse.Namespace) -> int:
    """Run a command; give the exit status, with one line on stderr if it is not 0."""
    try:
        return command.run(settings, arguments)
    except ConfigError as error:
        return complain(_line(error), status=WRONG_SETTING)
    except StateUnavailable:
        place = settings.state_shown
        return complain(f"the state store {place} does not answer: start it, or correct --state")
    except TusError as error:
        return complain(explain_storage(error, settings))
    except OSError as error:
        return complain(explain(error, settings))
    except KeyboardInterrupt:  # before it listened
        return INTERRUPTED


def explain(error: OSError, settings: Settings) -> str:
    """Say what the system refused, and what to do about it."""
    if error.filename is not None:
        reason = error.strerror or "it cannot be used"
        return f"{error.filename}: {reason}: make it usable, or choose another --upload-dir"
    place = f"{settings.host} port {settings.port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{place} is in use: stop what listens there, or choose another --port"
        case errno.EACCES | errno.EPERM:
            return f"{place} may not be used by this user: choose a --port of 1024 or more"
        # Python 3.13 says without a number that none of the addresses could be used.
        case errno.EADDRNOTAVAIL | None:
            return f"{settings.host} is not an address of this machine: correct --host"
        case _:
            pass
    return f"{place} cannot be listened on: {error.strerror or error}: correct --host or --port"


def explain_storage(error: TusError, settings: Settings) -> str:
    """Say why the upload directory cannot be used, and what to do about it."""
    reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.message
    return (
        f"{settings.upload_dir.absolute()} cannot be used ({reason}): make it a directory that "
        "this user can write, or choose another --upload-dir"
    )


def complain(text: str, *, status: int = 1) -> int:
    """Print one line on stderr, whatever is in it; give the exit status."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    print(f"tusserver: {line}", file=sys.stderr)
    return status


def _line(error: ConfigError) -> str:
    key = flag_of(error.key) if error.key in Settings.model_fields else error.key
    return f"{key}: {error.reason}" if error.value == "" else f"{key}={error.value}: {error.reason}"
