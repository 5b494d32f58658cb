"""No change makes a request dearer unnoticed: counts are held against those on record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.counts.__main__ import PATHS, RECORDED, VERBS, VERSION
from tests.counts.counting import Buffers, Instructions
from tusserver.body import Running
from tusserver.protocol.headers import parse_integer

ROOT = Path(__file__).resolve().parents[2]
SHARE = 1.05
"""A request may take so many times the recorded instructions."""
PART = 0.5
"""How much of a body may be copied once more: pieces that wait are joined."""
SPARE = {"DELETE": 1}
"""Calls more: what is noted for the limits is counted at a time of its own."""

pytestmark = pytest.mark.timeout(180)


def advice(what: str, verb: str, count: float, recorded: float) -> str:
    return (
        f"{verb}: {count} {what}, and {recorded} are on record. See where with "
        f"`python -m tests.counts --functions {verb}`. If it has to be so, record the new counts "
        "with `python -m tests.counts --write` (each version of Python in recorded.json), and say "
        "in the commit what they buy."
    )


@pytest.fixture(scope="module")
def counts():
    done = subprocess.run(
        [sys.executable, "-m", "tests.counts"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def recorded():
    known = json.loads(RECORDED.read_text(encoding="utf-8"))
    if VERSION not in known:
        pytest.skip(f"no counts are on record for Python {VERSION}: python -m tests.counts --write")
    return known[VERSION]


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_takes_no_more_instructions_than_are_on_record(counts, recorded, verb):
    count, limit = counts["instructions"][verb], recorded["instructions"][verb]
    assert count <= limit * SHARE, advice("instructions", verb, count, limit)


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_is_handed_to_threads_no_more_often_than_is_on_record(counts, recorded, verb):
    count, limit = counts["hops"][verb], recorded["hops"][verb]
    assert count <= limit + SPARE.get(verb, 0), advice("calls of threads", verb, count, limit)


@pytest.mark.parametrize("path", PATHS)
def test_a_byte_of_a_body_is_copied_no_more_often_than_is_on_record(counts, recorded, path):
    count, limit = counts["copies"][path], recorded["copies"][path]
    assert count <= limit + PART, advice("copies of a byte", path, count, limit)


# --- the counting itself --------------------------------------------------------------------


def test_instructions_of_ours_are_counted_and_always_the_same():
    found = []
    for _ in range(3):
        count = Instructions()
        with count.counted():
            parse_integer("Upload-Offset", "12")
        found.append(count.total)
    assert found[0] > 10
    assert set(found) == {found[0]}


def test_instructions_of_others_are_not_counted():
    count = Instructions()
    with count.counted():
        json.dumps({"a": [1, 2, 3]}, indent=2)
    assert count.total == 0


def test_a_buffer_counts_once_however_often_it_is_handed_on():
    data, buffers = bytes(5000), Buffers()
    digests = Running(("sha256",))
    with buffers.counted():
        digests.update(data)
        digests.update(data)
    assert buffers.copied == 5000
