"""`tusserver check`: are the settings, the machine and the proxy as they must be (floor 6)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING

from tusserver.check import Finding, Level, check_settings, check_url
from tusserver.commands.command import Command
from tusserver.commands.printing import counted, declare_json, output_may_end, print_json, printable
from tusserver.errors import ConfigError
from tusserver.values import check_public_url, parse_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from tusserver.config import Settings

_HEADER = re.compile(
    r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)"
)


def check(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what was found; status 1 if something of it is an error."""
    url = _url(settings, arguments)
    headers = _headers(arguments)
    patience = _patience(arguments)
    findings = check_settings(settings)
    if url is not None:
        insecure: bool = arguments.insecure
        findings += asyncio.run(
            check_url(url, headers=headers, insecure=insecure, patience=patience)
        )
    failed = any(finding.level is Level.ERROR for finding in findings)
    with output_may_end():
        if arguments.json:
            print_json({"ok": not failed, "findings": [_entry(finding) for finding in findings]})
        else:
            print(*_lines(findings), sep="\n")
    return 1 if failed else 0


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare where the proxy is."""
    parser.add_argument(
        "--url",
        metavar="URL",
        help="try out the proxy in front of a running server: the creation URL as clients know it",
    )
    parser.add_argument(
        "--header",
        metavar="LINE",
        action="append",
        help="a header to send with each request, such as 'Authorization: Bearer ...'; repeatable",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=False,
        help="believe any certificate of the proxy",
    )
    parser.add_argument(
        "--patience", metavar="TIME", help="how long an answer may take (default: 10s)"
    )
    declare_json(parser)


def _url(settings: Settings, arguments: argparse.Namespace) -> str | None:
    given = getattr(arguments, "url", None)
    if given is None:
        return None
    try:
        check_public_url(given, base_path=settings.base_path)
    except ValueError as failure:
        raise ConfigError("--url", given, str(failure)) from None
    # Without a path, the base path is meant; otherwise the URL is asked exactly as it is given.
    origin = re.fullmatch(r"(https?://[^/]+)/?", given)
    return given if origin is None else origin[1] + settings.base_path


def _headers(arguments: argparse.Namespace) -> dict[str, str]:
    headers = {}
    for line in getattr(arguments, "header", []):
        match = _HEADER.fullmatch(line)
        if match is None:
            # Not repeated: it may hold a credential.
            raise ConfigError("--header", "", "not a header: write it as 'Name: value'")
        headers[match[1]] = match[2]
    return headers


def _patience(arguments: argparse.Namespace) -> float:
    given = getattr(arguments, "patience", "10s")
    try:
        patience = parse_time(given)
    except ValueError as failure:
        raise ConfigError("--patience", given, str(failure)) from None
    if patience == 0:
        raise ConfigError("--patience", given, "must be longer than 0")
    return patience


def _entry(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value,
        "code": finding.code,
        "text": finding.text,
        "remedy": finding.remedy,
    }


def _lines(findings: Iterable[Finding]) -> Iterable[str]:
    count: Counter[Level] = Counter()
    for finding in findings:
        count[finding.level] += 1
        yield f"{finding.level.value:8} {printable(finding.text)}"
        if finding.remedy:
            yield f"{'':8} change: {printable(finding.remedy)}"
    found = counted(count[Level.ERROR], "error"), counted(count[Level.WARNING], "warning")
    yield f"{', '.join(found)}, {count[Level.OK]} ok"


CHECK = Command(
    name="check",
    summary="look at the settings and what they rely on; with --url also at the proxy in front",
    run=check,
    declare=declare,
)
