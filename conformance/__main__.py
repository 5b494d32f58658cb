"""`python3 -m conformance URL`: run the suite against a server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.clauses import PROFILES, choose, read_clauses
from conformance.report import Console
from conformance.report_html import as_html
from conformance.report_json import as_json
from conformance.runner import ERROR, chosen_checks, run
from conformance.target import Settings, Target
from conformance.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.runner import Run

UNUSABLE = 2
"""Exit status: the suite could not run, or stumbled itself."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m conformance",
        description="Check a server of the tus 1.0 resumable upload protocol.",
        epilog="Exit status: 0 no MUST violated, 1 some violated, 2 the suite could not run.",
    )
    add = parser.add_argument
    add("url", nargs="?", help="creation URL of the server, such as http://host:1080/files/")
    add("--only", default="", help="beginnings of requirement ids, such as CORE or CHK,CAT-03")
    add("--profile", default="all", choices=["all", *PROFILES], help="which rows count")
    add("--json", type=Path, metavar="FILE", help="write the results as JSON")
    add("--html", type=Path, metavar="FILE", help="write the results as one page")
    add("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent with all")
    add("--insecure", action="store_true", help="take any certificate")
    add("--timeout", type=float, default=10.0, metavar="SECONDS", help="for each answer")
    add("--expiry-wait", type=float, default=0.0, metavar="SECONDS", help="wait for expiry")
    add("--stall-wait", type=float, default=0.0, metavar="SECONDS", help="wait for time-outs")
    add("--jobs", type=int, default=Settings().jobs, help="how many checks run at once")
    add("--quiet", action="store_true", help="no line for each check while they run")
    add("--list", action="store_true", help="list the requirements and their checks, and end")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    headers = {}
    for text in options.header:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"--header {text!r} is not 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    if options.jobs < 1:
        raise ValueError("--jobs must be 1 or more")
    return Settings(
        timeout=options.timeout,
        headers=headers,
        is_insecure=options.insecure,
        expiry_wait=options.expiry_wait,
        stall_wait=options.stall_wait,
        jobs=options.jobs,
    )


def _list(only: str, profile: str) -> None:
    checks = chosen_checks(only, profile)
    for clause_id, clause in choose(read_clauses(), only, profile).items():
        print(f"{clause_id:<14} {clause.word:<7} {clause.text} [{clause.source}]")
        for one in checks:
            if clause_id in one.clauses:
                print(f"{'':<14} {one.name}: {one.text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        _list(options.only, options.profile)
        return 0
    if options.url is None:
        parser.error("the creation URL of a server is missing")
    try:
        target = Target(options.url, _settings(options))
    except (ValueError, WireError, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return UNUSABLE
    console = Console()
    on_result = None if options.quiet else console.progress
    found = run(target, only=options.only, profile=options.profile, on_result=on_result)
    if not found.rows:
        print(f"conformance: no requirement begins with {options.only}", file=sys.stderr)
        return UNUSABLE
    console.finish(found)
    try:
        if options.json is not None:
            options.json.write_text(as_json(found), encoding="utf-8")
        if options.html is not None:
            options.html.write_text(as_html(found), encoding="utf-8")
    except OSError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return UNUSABLE
    return _status(found)


def _status(found: Run) -> int:
    if found.gone:
        print(f"conformance: the server answers no more: {found.gone}", file=sys.stderr)
        return UNUSABLE
    if found.violations:
        return 1
    return UNUSABLE if any(one.outcome == ERROR for one in found.results) else 0


if __name__ == "__main__":
    sys.exit(main())
