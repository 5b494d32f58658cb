"""Power cuts in the middle of everything: what was complete is whole, the rest goes on."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

import pytest

from tests.faults.checks import check_all, check_events, run_clients, settle
from tests.faults.model import Promise, Wrong
from tests.faults.power import Machine, cut_again_and_again
from tests.faults.stream import content
from tests.faults.world import World
from tests.hooks.receivers import receiving
from tests.support.disk import MIB, made_disk
from tests.support.raw import Tus
from tests.support.redis_fixture import need_redis_server
from tests.support.redis_server import RedisServer
from tests.support.watching import watch

EXPIRE_AFTER = 8.0
FLAGS = [
    "--expire-after", f"{EXPIRE_AFTER:.0f}s", "--sweep-interval", "1s", "--sweep-grace", "0s",
    "--max-open", "none", "--no-page", "--no-access-log", "--webhook-events", "post-finish",
]  # fmt: skip
PIECE = 65_536
LOSS = "after it was complete|wrong from|bytes instead of"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def start(request, amount):
    """Start a machine: `start(kind, redis, *flags)`; give it and who is told what it finishes."""
    # What is complete stays: fifty rounds make gigabytes.
    size = amount(2048, 16_384) * MIB
    with ExitStack() as stack:

        def make(kind: str, redis: str, *flags: str):
            disk = stack.enter_context(made_disk(kind, size=size))
            receiver = stack.enter_context(receiving())
            store = None
            if redis != "local":
                need_redis_server()
                options = {"dir": str(disk.mount_point)} if redis == "same" else {}
                store = stack.enter_context(RedisServer(**options))
            own = store if redis == "same" else None
            state = "local" if store is None else store.url
            flags = (*FLAGS, "--webhook-url", receiver.url, *flags)
            machine = Machine(disk, *flags, state=state, redis=own)
            stack.enter_context(watch(request, machine.server))
            return machine, receiver

        yield make


def run(machine, receiver, *, rounds, seed, figures, strict=False):
    """Cut the power again and again, then check all that must hold."""
    promise = Promise(expire_after=EXPIRE_AFTER, strict=strict)
    world = World(promise, machine.server.upload_dir)
    world.begin(machine.server.url)
    clients = run_clients(world, seed)
    try:
        cut_again_and_again(machine, world, clients, rounds=rounds, dice=random.Random(seed))
        settle(world, clients)
    finally:
        world.ending.set()
        world.open_gate()
        figures.update(world.figures())
    unknown = check_all(machine.server, world, seed)
    check_events(receiver, world, unknown)
    assert machine.server.terminate() == 0
    machine.server.check_log()
    figures.update(world.figures())


@pytest.mark.parametrize("redis", ["local", "same", "other"], ids=str)
def test_a_power_cut_takes_nothing_that_was_complete(start, redis, amount, seed, figures):
    machine, receiver = start("ext4", redis)
    rounds = amount(2 if redis == "other" else 3, 50)
    run(machine, receiver, rounds=rounds, seed=seed, figures=figures)


def test_on_xfs_a_power_cut_takes_nothing_that_was_complete(start, amount, seed, figures):
    machine, receiver = start("xfs", "local")
    run(machine, receiver, rounds=amount(1, 25), seed=seed, figures=figures)


def test_strict_loses_nothing_that_was_answered(start, amount, seed, figures):
    machine, receiver = start("ext4", "local", "--durability", "strict")
    run(machine, receiver, rounds=amount(1, 25), seed=seed, figures=figures, strict=True)


def test_without_syncs_the_same_test_finds_the_loss(start, seed, figures):
    """The control: these tests can fail."""
    machine, receiver = start("ext4", "local", "--durability", "process")
    with pytest.raises(Wrong, match=LOSS):
        run(machine, receiver, rounds=5, seed=seed, figures=figures)


def test_a_power_cut_takes_no_more_than_what_came_since_the_last_background_sync(
    start, seed, figures
):
    machine, _ = start("ext4", "local", "--expire-after", "1h")
    tus = Tus(machine.server.url)
    length = 64 * MIB
    target, sent = tus.create(length), [(time.monotonic(), 0)]
    with tus.wire() as wire:
        fields = {"Content-Length": str(length)}
        wire.send(tus.append_message(target, 0, b"", fields))
        while sent[-1][0] - sent[0][0] < 14:
            stop = sent[-1][1] + PIECE
            wire.send(content(seed, sent[-1][1], stop))
            sent.append((time.monotonic(), stop))
            time.sleep(0.05)
        machine.lose_power()
    cut = sent[-1][0]
    machine.restart()
    offset = tus.offset(target)
    lost = cut - next(moment for moment, stop in sent if stop >= offset)
    figures["seconds that were lost"] = round(lost, 1)
    # One commit, five seconds, one sync; and a busy machine.
    assert lost < 1 + 5 + 5, f"{lost:.1f} s before the cut are lost"
    assert tus.patch(target, offset, content(seed, offset, length)).status == 204
    assert tus.content(target) == content(seed, 0, length)
