"""`tusserver upload`: send files to a tus server (floor 6)."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tusserver.commands.command import ClientCommand
from tusserver.errors import ConfigError
from tusserver.protocol.headers import format_metadata
from tusserver.uploader import (
    ANY_ALGORITHM,
    CHECKSUMS,
    STDIN,
    Bars,
    JsonLines,
    Order,
    Outcome,
    Quiet,
    Reporter,
    Unsupported,
    check_endpoint,
    state_folder,
    upload_all,
)
from tusserver.values import parse_size, parse_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

FAILED = 1
WRONG = 2
LATER = 75
"""EX_TEMPFAIL of sysexits.h: run it again."""
INTERRUPTED = 130
MOST_PARTS = 64
TOKEN = "TUSSERVER_UPLOAD_TOKEN"  # noqa: S105 - its name
_HEADER = re.compile(
    r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)"
)
_OURS = {"tus-resumable", "content-length", "content-type", "transfer-encoding", "host"}
"""Headers that only the uploader sets, with all that begin with `upload-`."""


def upload(arguments: argparse.Namespace) -> int:
    """Send the files; give the status."""
    names: list[str] = arguments.files
    order = _order(arguments, os.environ)
    if not names:
        raise ConfigError("FILE", "", "name a file, or - for standard input")
    if names.count(STDIN) > 1:
        raise ConfigError("FILE", STDIN, "standard input can be sent once")
    reporter = _reporter(arguments, order)
    try:
        outcomes = asyncio.run(upload_all(order, names, reporter))
    except Unsupported as fault:
        print(f"tusserver: {fault}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        if not arguments.quiet:
            text = "\ntusserver: interrupted; the same command goes on with what is not finished"
            print(text, file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads the output any more; the interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status(outcomes)


def status(outcomes: list[Outcome]) -> int:
    """Give the exit status: what failed for good weighs more than what may pass."""
    if Outcome.FAILED in outcomes:
        return FAILED
    return LATER if Outcome.LATER in outcomes else 0


def _reporter(arguments: argparse.Namespace, order: Order) -> Reporter:
    if arguments.json:
        return JsonLines(order.endpoint)
    return Quiet(order.endpoint) if arguments.quiet else Bars(order.endpoint)


def _order(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Order:
    if arguments.to is None:
        raise ConfigError("--to", "", "name the creation URL, as http://127.0.0.1:1080/files/")
    chunk = _read("--chunk-size", arguments.chunk_size, parse_size)
    silence = _read("--timeout", arguments.timeout, parse_time)
    if chunk == 0 or silence == 0:
        key = "--timeout" if chunk else "--chunk-size"
        raise ConfigError(key, "0", "must be more than 0")
    try:
        endpoint = check_endpoint(arguments.to)
    except ValueError as failure:  # Not repeated: it may hold a password.
        raise ConfigError("--to", "", str(failure)) from None
    headers = _headers(arguments, environ)
    if "@" in urlsplit(endpoint).netloc and "authorization" in map(str.lower, headers):
        raise ConfigError("--to", "", "a password stands in it, and a token is given too")
    return Order(
        endpoint=endpoint,
        folder=state_folder(environ),
        headers=headers,
        metadata=_metadata(arguments),
        parts=_parts(arguments.parallel),
        chunk=chunk,
        algorithm=arguments.checksum,
        tls=_tls(arguments),
        patience=_read("--retry-for", arguments.retry_for, parse_time) or 0.0,
        silence=silence or 0.0,
    )


def _read(flag: str, given: str | None, parse: Callable[[object], T]) -> T | None:
    try:
        return None if given is None else parse(given)
    except ValueError as failure:
        raise ConfigError(flag, given, str(failure)) from None


def _parts(given: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", given) or not 1 <= int(given) <= MOST_PARTS:
        raise ConfigError("--parallel", given, f"not a number from 1 to {MOST_PARTS}")
    return int(given)


def _metadata(arguments: argparse.Namespace) -> dict[str, str]:
    found = {}
    for pair in arguments.metadata:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError("--metadata", pair, "write it as key=value")
        try:
            format_metadata({key: value.encode()})
        except UnicodeEncodeError:
            raise ConfigError("--metadata", key, "its value is no text in UTF-8") from None
        except ValueError as failure:
            raise ConfigError("--metadata", pair, str(failure)) from None
        found[key] = value
    return found


def _headers(arguments: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    headers = {}
    for line in arguments.header:
        match = _HEADER.fullmatch(line)
        if match is None:  # Not repeated: it may hold a credential.
            raise ConfigError("--header", "", "not a header: write it as 'Name: value'")
        name = match[1].lower()
        if name in _OURS or name.startswith("upload-"):
            raise ConfigError("--header", match[1], "the uploader sets this one itself")
        headers[match[1]] = match[2]
    token = _token(arguments, environ)
    if token is not None:
        if "authorization" in map(str.lower, headers):
            raise ConfigError("--header", "Authorization", "a token is given too: give one of both")
        if re.fullmatch(r"[\x21-\x7e]+", token) is None:
            raise ConfigError("--token", "", "not a token: it is empty, or has blanks in it")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _token(arguments: argparse.Namespace, environ: Mapping[str, str]) -> str | None:
    """Take the token from the flags, or else from the environment."""
    for text, file, label in (
        (arguments.token, arguments.token_file, "--token-file"),
        (environ.get(TOKEN), environ.get(f"{TOKEN}_FILE"), f"{TOKEN}_FILE"),
    ):
        if text is not None and file is not None:
            raise ConfigError(label, "", "the token itself is given too: give one of the two")
        if file is not None:
            return _token_of(file, label)
        if text is not None:
            return text
    return None


def _token_of(file: str, label: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(label, file, f"it cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(label, file, "it holds no token") from None


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | bool:
    if arguments.insecure:
        return False
    if arguments.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=arguments.ca_file)
    except OSError as error:  # ssl.SSLError is one.
        reason = error.strerror or "it holds no certificates in PEM"
        raise ConfigError("--ca-file", arguments.ca_file, reason) from None


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    add = parser.add_argument
    add("files", nargs="*", default=[], metavar="FILE", help="a file to send; - is standard input")
    add("--to", metavar="URL", default=None, help="where: the creation URL of a tus server")
    text = "send a file in so many parts at the same time (default: 1)"
    add("--parallel", metavar="NUMBER", default="1", help=text)
    text = "send each request with a checksum; without a name, the best that both sides know"
    add(
        "--checksum",
        metavar="ALGORITHM",
        nargs="?",
        choices=(ANY_ALGORITHM, *CHECKSUMS),
        const=ANY_ALGORITHM,
        default=None,
        help=f"{text} (of {', '.join(CHECKSUMS)})",
    )
    text = "send at most so much in a request (default: no limit; with --checksum, 8MiB)"
    add("--chunk-size", metavar="SIZE", default=None, help=text)
    text = "tell the server this of each file; repeatable (default: filename and filetype)"
    add("--metadata", metavar="KEY=VALUE", action="append", default=[], help=text)
    text = "a header to send with each request, as 'Name: value'; repeatable"
    add("--header", metavar="LINE", action="append", default=[], help=text)
    text = f"a bearer token; other users can see it here, but not in {TOKEN} or a file"
    add("--token", metavar="TOKEN", default=None, help=text)
    text = "a file that holds the token"
    add("--token-file", metavar="FILE", default=None, help=text)
    text = "keep trying for so long without any progress (default: 10m; 0: try once)"
    add("--retry-for", metavar="TIME", default="10m", help=text)
    text = "give a connection up on which nothing moves for so long (default: 60s)"
    add("--timeout", metavar="TIME", default="60s", help=text)
    text = "believe certificates that an authority in this file has signed (PEM)"
    add("--ca-file", metavar="FILE", default=None, help=text)
    text = "believe any certificate of the server"
    add("--insecure", action="store_true", default=False, help=text)
    text = "print events as JSON, one a line, instead of URLs (see docs/upload.md)"
    add("--json", action="store_true", default=False, help=text)
    text = "print finished URLs and failures only"
    add("--quiet", action="store_true", default=False, help=text)


UPLOAD = ClientCommand(
    name="upload",
    summary="send files to a tus server, and go on where an earlier run was broken off",
    run=upload,
    declare=declare,
)
