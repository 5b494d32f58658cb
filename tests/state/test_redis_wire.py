"""Commands of many callers over one connection: each gets its own replies, or its own error."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from tests.support.ports import free_port
from tusserver.state import wire as wires
from tusserver.state.wire import RedisWire

ECHO = "return ARGV[1]"


@pytest.fixture
async def wire(redis_server):
    opened = RedisWire(redis_server.url, patience=2.5)
    yield opened
    await opened.close()


def reads(server):
    """Count how often Redis has read from a connection: a write of ours is one, if it is short."""
    return server.cli("INFO", "stats")["total_reads_processed"]


async def test_what_is_asked_in_one_turn_goes_out_in_one_write(wire, redis_server):
    await wire.ask([("PING",)])
    before = reads(redis_server)

    replies = await asyncio.gather(*(wire.ask([("ECHO", number)]) for number in range(100)))

    assert replies == [[str(number).encode()] for number in range(100)]
    assert reads(redis_server) - before < 20


async def test_what_is_asked_while_an_answer_is_under_way_goes_together(wire, redis_server):
    await wire.ask([("PING",)])
    before = reads(redis_server)

    async def many():
        for number in range(20):
            assert await wire.ask([("ECHO", number), ("PING",)]) == [b"%d" % number, b"PONG"]

    await asyncio.gather(*(many() for _ in range(50)))

    assert reads(redis_server) - before < 20 * 50 / 5


async def test_more_callers_than_go_together_are_all_answered(wire):
    count = 3 * wires.MOST_TOGETHER + 1

    replies = await asyncio.gather(*(wire.ask([("ECHO", number)]) for number in range(count)))

    assert replies == [[str(number).encode()] for number in range(count)]


async def test_an_error_reaches_only_who_made_it(wire):
    good, wrong, bad_script, after = await asyncio.gather(
        wire.ask([("SET", "text", "a")]),
        wire.ask([("ECHO", "x"), ("INCR", "text"), ("NO-SUCH-COMMAND",)]),
        wire.ask([("EVAL", "return redis.call('INCR', KEYS[1])", 1, "text")]),
        wire.ask([("GET", "text")]),
        return_exceptions=True,
    )

    assert good == [b"OK"]
    assert isinstance(wrong, ResponseError)
    assert "not an integer" in str(wrong)
    assert isinstance(bad_script, ResponseError)
    assert after == [b"a"]


async def test_what_cannot_be_sent_reaches_only_who_asked_it(wire):
    wrong, good = await asyncio.gather(
        wire.ask([("ECHO", None)]), wire.ask([("ECHO", "x")]), return_exceptions=True
    )

    assert isinstance(wrong, TypeError)
    assert good == [b"x"]


async def test_only_the_calls_whose_script_was_unknown_are_repeated(wire, redis_server):
    redis_server.flush()
    sha = wire.digest(ECHO)

    replies = await asyncio.gather(
        wire.ask([("INCR", "number")]),
        wire.ask([("EVALSHA", sha, 0, "a")]),
        wire.ask([("INCR", "number")]),
        wire.ask([("EVALSHA", sha, 0, "b")]),
    )

    assert replies == [[1], [b"a"], [2], [b"b"]]


async def test_a_script_that_was_never_named_is_an_error_of_its_caller(wire):
    lost, good = await asyncio.gather(
        wire.ask([("EVALSHA", "0" * 40, 0)]), wire.ask([("PING",)]), return_exceptions=True
    )

    assert isinstance(lost, ResponseError)
    assert good == [b"PONG"]


async def test_who_is_cancelled_disturbs_nobody_and_is_carried_to_its_end(wire):
    async def shortly(number):
        asking = asyncio.create_task(wire.ask([("INCR", "number")]))
        await asyncio.sleep(0.0005 * (number % 3))
        asking.cancel()

    for number in range(30):
        _, reply = await asyncio.gather(shortly(number), wire.ask([("ECHO", number)]))
        assert reply == [b"%d" % number]

    assert await wire.ask([("GET", "number")]) == [b"30"]


async def test_closing_waits_for_what_was_asked(redis_server):
    wire = RedisWire(redis_server.url, patience=2.5)
    asking = [asyncio.create_task(wire.ask([("INCR", "number")])) for _ in range(500)]
    await asyncio.sleep(0)

    await wire.close()

    assert sorted(reply for (reply,) in await asyncio.gather(*asking)) == list(range(1, 501))


async def test_a_server_that_went_away_is_an_error_of_all_who_wait():
    wire = RedisWire(f"redis://127.0.0.1:{free_port()}/0", patience=2.5)

    outcomes = await asyncio.gather(
        *(wire.ask([("PING",)]) for _ in range(20)), return_exceptions=True
    )
    await wire.close()

    assert all(isinstance(outcome, RedisConnectionError) for outcome in outcomes)


async def test_who_comes_later_is_given_up_later(redis_server):
    wire = RedisWire(redis_server.url, patience=1.5)
    await wire.ask([("PING",)])
    redis_server.pause()
    given_up = []

    async def wait(pause):
        await asyncio.sleep(pause)
        with pytest.raises(TimeoutError):
            await wire.ask([("INCR", "number")])
        given_up.append(pause)

    try:
        await asyncio.gather(wait(0.9), wait(0), wait(0.45), wait(1.35))
    finally:
        redis_server.resume()

    assert given_up == [0, 0.45, 0.9, 1.35]
    assert await wire.ask([("PING",)]) == [b"PONG"]
    await wire.close()


async def test_too_many_who_wait_are_refused_at_once(redis_server, monkeypatch):
    monkeypatch.setattr(wires, "MOST_WAITING", 10)
    wire = RedisWire(redis_server.url, patience=2.5)

    outcomes = await asyncio.gather(
        *(wire.ask([("ECHO", number)]) for number in range(12)), return_exceptions=True
    )
    await wire.close()

    assert outcomes[:10] == [[b"%d" % number] for number in range(10)]
    assert all("No connection available" in str(outcome) for outcome in outcomes[10:])
