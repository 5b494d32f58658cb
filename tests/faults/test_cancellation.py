"""A cancellation at every await of every command: nothing is left, the upload goes on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.engine.conftest import build, eventually
from tests.faults.commands import COMMANDS
from tests.faults.stepping import Cancellation, Moment, Victim
from tusserver.errors import TusError

__all__ = ["build"]

MOST = 400
"""Suspensions of a command that nobody expects to be reached."""
MOST_THREADS = 48
"""What the pools of one store make as they need them."""


@pytest.fixture
def share(state_url, amount):
    """How many of a hundred suspensions are tried: Redis adds many that are alike."""
    return 100 if state_url == "local" else amount(12, 100)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", Victim, ids=lambda victim: victim.name.lower())
async def test_a_command_that_is_cancelled_at_any_await_leaves_the_upload_whole(
    build, state_url, *, victim, share, dice, figures
):
    house = await build(state_url=None if state_url == "local" else state_url)
    before, cancelled = threading.active_count(), 0
    for command in COMMANDS:
        for moment in Moment:
            stride = 100 // share
            cancelled += await cancel_at_each(
                house,
                command,
                moment=moment,
                victim=victim,
                first=1 + dice.randrange(stride),
                stride=stride,
            )
    figures["cancellations"] = cancelled
    assert cancelled >= len(COMMANDS)
    assert await closed(house) == []
    assert threading.active_count() <= before + MOST_THREADS


async def cancel_at_each(house, command, *, moment, victim, first, stride):
    """Run a command again and again, cancelled later each time, until it was not; count."""
    for number in range(first, MOST, stride):
        at = await command.before(house)
        cancellation = Cancellation(number, moment=moment, victim=victim)
        outcome = await cancellation.run(command.run(at))
        where = (
            f"{command.name}; {victim.value} is cancelled {moment.value}, at suspension {number}: "
            f"{cancellation.struck or 'none'}; that gave {outcome!r}"
        )
        allowed = TusError | asyncio.CancelledError
        assert not isinstance(outcome, BaseException) or isinstance(outcome, allowed), where
        try:
            await command.after(at, outcome)
        except Exception as error:
            raise AssertionError(f"{where}; then {error!r}") from error
        left = await what_is_left(house)
        assert not left, f"{where}; left: {left}"
        if not cancellation.struck:
            return (number - first) // stride
    raise AssertionError(f"{command.name} has no end")


async def what_is_left(house):
    """Name what a command left behind, once all that it began has ended."""

    def look():
        slots, parts = house.parts.slots, house.parts
        found = {
            "turns": [*slots._holders, *slots._waiters],
            "coming": [*slots._coming],
            "asking": [*slots.asking],
            "leases": [*parts.storage._held],
            "tasks": [task.get_name() for task in parts.crew._tasks],
        }
        return {name: what for name, what in found.items() if what}

    await eventually(lambda: not look())
    return look()


async def closed(house):
    """Close what is kept open for the next request; name what is open all the same."""
    holdings = house.parts.storage._holdings
    for upload_id in list(holdings._spares):
        holdings._drop(upload_id)
    holdings._close_some()
    await eventually(lambda: not _open_files(house.directory))
    return _open_files(house.directory)


def _open_files(directory):
    """Name the data files and ledgers that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = entry.readlink()
        except OSError:
            continue
        if target.is_relative_to(directory) and ".tusserver" not in target.parts:
            found.append(target.name)
    return sorted(found)
