"""Count what requests cost: `python -m tests.counts [--functions VERB] [--write]`.

Prints what a request of each verb costs with this version of Python, as JSON. --functions prints
where instructions of one verb are spent. --write records the counts as those that tests hold
against: run it with every version of Python that `recorded.json` names, and say in the commit why
what has risen had to rise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.request_path import Course, fork_client, serving
from tests.counts.counting import Buffers, Instructions
from tusserver.config import Settings, load_settings
from tusserver.logs import start_logging
from tusserver.storage import pool, pulse

VERBS = ("OPTIONS", "POST", "PATCH", "HEAD", "DELETE")
ROUNDS = 8
CHORES = 0.05
"""Seconds, not counted, in which what is still to do for the request before is done."""
UNCOUNTED = 3
"""Rounds that come before: what is imported, made or kept once does not count."""
SERVERS = 2
"""Servers that are asked for the copies: on a busy machine, the trial at the start may fail."""
QUIET = 0.01
"""Seconds in which what a request leaves behind gets done, to be counted with it."""
SMALL = bytes(4096)
LARGE = bytes(4 * 1024 * 1024)
RECORDED = Path(__file__).parent / "recorded.json"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

PATHS = {
    "portable": ("--ingest=portable",),
    "taken": ("--ingest=memory",),
    "drawn": ("--ingest=auto",),
}
"""The ways of a body into its file, and the settings that choose them."""


async def instructions(settings: Settings, course: Course) -> dict[str, list[Instructions]]:
    """Count each verb several times."""
    found: dict[str, list[Instructions]] = {verb: [] for verb in VERBS}
    async with serving(settings) as (host, port):
        await course.tell(f"{host} {port}")
        for number in range(UNCOUNTED + ROUNDS):
            for verb in VERBS:
                await asyncio.sleep(CHORES)
                count = Instructions()
                with count.counted():
                    await course.run(verb)
                    await asyncio.sleep(QUIET)
                if number >= UNCOUNTED:
                    found[verb].append(count)
    return found


async def copies(settings: Settings, course: Course) -> float:
    """Give how often each byte of a large body is copied; the least, as for instructions.

    More is copied where pieces are joined that have waited, which is a matter of time.
    """
    least = float("inf")
    async with serving(settings) as (host, port):
        await course.tell(f"{host} {port}")
        for _ in range(ROUNDS):
            await course.run("POST")
            buffers = Buffers()
            with buffers.counted():
                await course.run("PATCH")
            least = min(least, buffers.copied)
    return round(least / len(LARGE), 2)


def measure() -> tuple[dict[str, dict[str, float]], dict[str, list[Instructions]]]:
    """Count everything; give what is recorded, and the instructions by function."""
    folder = Path(tempfile.mkdtemp(prefix="tus-counts-"))
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    shown = os.dup(2)
    os.dup2(log, 2)
    start_logging("info")
    # One slow write would have all rounds of the next seconds counted with threads.
    pool.SLOW_WRITE = pulse.LATE_SECONDS = pulse.PAUSE_SECONDS = float("inf")
    # Nor is it the request's affair how long the machine lets a thread wait.
    pool.STUCK_SECONDS = 60.0
    try:
        small = _settings(folder / "small")
        # Before there is a thread.
        course = _course(small, SMALL)
        courses = {name: [_course(small, LARGE) for _ in range(SERVERS)] for name in PATHS}
        found = asyncio.run(instructions(small, course))
        copied = {}
        for name, words in PATHS.items():
            large = _settings(folder / name, *words)
            copied[name] = min(asyncio.run(copies(large, course)) for course in courses[name])
    except BaseException:
        os.write(shown, (folder / "log").read_bytes())
        raise
    finally:
        os.dup2(shown, 2)
        shutil.rmtree(folder, ignore_errors=True)
    # The least of several: what a timer does meanwhile is not the request's.
    counts = {
        "instructions": {verb: min(one.total for one in found[verb]) for verb in VERBS},
        "hops": {verb: min(one.hops for one in found[verb]) for verb in VERBS},
        "copies": copied,
    }
    return counts, found


def _settings(directory: Path, *words: str) -> Settings:
    return load_settings(["--port=0", f"--upload-dir={directory}", *words], {})


def _course(settings: Settings, body: bytes) -> Course:
    control = fork_client(settings.base_path, connections=1, count=1, body=body)
    return Course(control, 1)


def main() -> None:
    """Count, and print or record."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.counts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--functions", choices=VERBS, help="show where instructions are spent")
    parser.add_argument("--write", action="store_true", help="record the counts")
    arguments = parser.parse_args()
    counts, found = measure()
    if arguments.functions is not None:
        least = min(found[arguments.functions], key=lambda one: one.total)
        for place, number in least.by_function.most_common():
            sys.stdout.write(f"{number:6}  {place}\n")
        return
    sys.stdout.write(f"{json.dumps(counts, indent=2)}\n")
    if arguments.write:
        recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        text = json.dumps({**recorded, VERSION: counts}, indent=2, sort_keys=True)
        RECORDED.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
