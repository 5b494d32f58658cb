"""The program: commands, exit statuses, and everything it prints (floor 6).

Exit status 2 is a wrong setting, 1 a machine that does not let the server run; either comes
with one line on stderr. Log records go to stderr as well, what is asked for to stdout.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tusserver import compose
from tusserver.config import Settings, flag_of, flag_parser, load_settings
from tusserver.errors import ConfigError, StateUnavailable, TusError
from tusserver.values import LOCAL

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVE = "serve"
ADOPT = "adopt"
WRONG_SETTING = 2
INTERRUPTED = 130
"""What a shell makes of SIGINT."""

ABOUT = """\
A server for the tus resumable upload protocol.

commands:
  serve    take uploads until SIGTERM or SIGINT (what happens without a command)
  adopt    bind the upload directory to the state store that --state names

Every flag can be given as an environment variable: --max-size as TUSSERVER_MAX_SIZE."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not listened on


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; give the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        parser = flag_parser()
        parser.usage = f"tusserver [{SERVE} | {ADOPT}] [--FLAG VALUE ...]\n\n{ABOUT}"
        parser.print_help()
        return 0
    if "--version" in words:
        print("tusserver", installed_version())
        return 0
    start_logging()
    try:
        command = take_command(words)
        settings = load_settings(words, os.environ)
    except ConfigError as error:
        return complain(_line(error), status=WRONG_SETTING)
    logging.getLogger().setLevel(settings.log_level.upper())
    return run(command, settings)


def installed_version() -> str:
    """Give the version of the installed package."""
    try:
        return version("tusserver")
    except PackageNotFoundError:
        return "(run from its source, not installed)"


def take_command(words: list[str]) -> str:
    """Take the command off the front of the arguments. Raises: ConfigError."""
    if not words or words[0].startswith("-"):
        return SERVE
    command = words.pop(0)
    if command not in {SERVE, ADOPT}:
        raise ConfigError("command", command, f"there are only {SERVE} and {ADOPT}")
    return command


def run(command: str, settings: Settings) -> int:
    """Serve or adopt; give the exit status, with one line on stderr if it is not 0."""

    def announce(host: str, port: int) -> None:
        _say(greeting(settings, host, port))

    try:
        if command == ADOPT:
            print(asyncio.run(compose.adopt(settings)))
        else:
            asyncio.run(compose.serve(settings, announce=announce))
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
    return 0


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


def greeting(settings: Settings, host: str, port: int) -> list[str]:
    """Give the lines that say where a server listens, what it uses and how to try it.

    `host` and `port` are those that it really listens on.
    """
    url = _url(_EVERYWHERE.get(host, host), port, settings.base_path)
    state = "local (records beside the data)" if settings.state == LOCAL else settings.state_shown
    return [
        f"tusserver listens on {_url(host, port, settings.base_path)}",
        f"uploads are kept in  {settings.upload_dir.absolute()}",
        f"state is kept in     {state}",
        f"try it with          {_trial(settings, url)}",
    ]


def _url(host: str, port: int, path: str) -> str:
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


def _trial(settings: Settings, url: str) -> str:
    if {"creation", "creation-with-upload"} & set(settings.disable):
        return f"curl -i -X OPTIONS -H 'Tus-Resumable: 1.0.0' '{url}'"
    headers = "Tus-Resumable: 1.0.0", "Upload-Length: 5"
    typed = "Content-Type: application/offset+octet-stream"
    flags = " ".join(f"-H '{header}'" for header in (*headers, typed))
    return f"curl -i {flags} --data-binary hello '{url}'"


def start_logging() -> None:
    """Send log records to stderr: time in UTC, level, logger, message."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    formatter.converter = time.gmtime
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03dZ"
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def complain(text: str, *, status: int = 1) -> int:
    """Print one line on stderr, whatever is in it; give the exit status."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    print(f"tusserver: {line}", file=sys.stderr)
    return status


def _say(lines: Sequence[str]) -> None:
    print(*lines, sep="\n", flush=True)


def _line(error: ConfigError) -> str:
    key = flag_of(error.key) if error.key in Settings.model_fields else error.key
    return f"{key}: {error.reason}" if error.value == "" else f"{key}={error.value}: {error.reason}"
