"""How much of a turn of the loop each body is given."""

from __future__ import annotations

from tusserver.web.turns import BUFFER, GRAIN, QUIET_AFTER, QUIET_TURN, SHARE, TURN, Turns


def test_one_fast_body_gets_a_whole_turn():
    turns = Turns()
    turns.note(one := object(), len(turns.room(2**30, 0.0)))
    assert len(turns.room(2**30, 0.0)) == BUFFER
    assert len(turns.room(10, 0.0)) == 10
    turns.leave(one)


def test_several_share_a_turn_while_small_requests_come():
    turns = Turns()
    bodies = [object() for _ in range(32)]
    for count, body in enumerate(bodies, 1):
        assert (
            len(turns.room(2**30, 0.0))
            == min(QUIET_TURN // max(count - 1, 1), BUFFER) // GRAIN * GRAIN
        )
        turns.note(body, BUFFER)
    for body in bodies[4:]:
        turns.leave(body)
    assert len(turns.room(2**30, 0.0)) == BUFFER
    turns.note_small(5.0)
    assert len(turns.room(2**30, 5.0)) == TURN // 4
    assert len(turns.room(2**30, 5.0 + 2 * QUIET_AFTER)) == BUFFER
    assert QUIET_TURN // 32 < BUFFER


def test_nobody_gets_less_than_is_worth_a_turn():
    turns = Turns()
    turns.note_small(0.0)
    bodies = [object() for _ in range(100)]
    for body in bodies:
        turns.note(body, BUFFER)
    assert len(turns.room(2**30, 0.0)) == SHARE


def test_slow_and_ended_bodies_take_nothing_from_the_fast():
    turns = Turns()
    turns.note_small(0.0)
    fast, slow, ended = object(), object(), object()
    for body in (fast, slow, ended):
        turns.note(body, BUFFER)
    turns.note(slow, 1000)
    turns.leave(ended)
    assert len(turns.room(2**30, 0.0)) == BUFFER


def test_a_piece_ends_where_the_file_likes_the_next_one_to_begin():
    turns = Turns()
    assert len(turns.room(2**30, 0.0, skew=5000)) == BUFFER - 5000
    assert len(turns.room(2**30, 0.0, most=2 * SHARE, skew=5000)) == 2 * SHARE - 5000
    assert len(turns.room(10, 0.0, skew=5000)) == 10
    for body in [object() for _ in range(5)]:
        turns.note(body, BUFFER)
    assert len(turns.room(2**30, 0.0, skew=5000)) % GRAIN == GRAIN - 5000


def test_wants_that_are_smaller_than_a_share_are_not_cut():
    assert len(Turns().room(2**30, 0.0, most=1000, skew=5000)) == 1000


def arrive(turns: Turns, body: object, data: bytes) -> memoryview:
    room = turns.room(2**30, 0.0)
    count = min(len(data), len(room))
    room[:count] = data[:count]
    return turns.note(body, count)


def test_what_is_lent_stays_as_it_is_while_more_arrives():
    turns, body = Turns(), object()
    pieces = [
        bytes([number]) * size for number, size in enumerate([BUFFER, 10, BUFFER // 3, BUFFER] * 5)
    ]
    kept = []
    for piece in pieces:
        kept.append(arrive(turns, body, piece))
        turns.lend(kept[-1])
    for piece, one in zip(pieces, kept, strict=True):
        assert len(one) > 0
        assert bytes(one) == piece[: len(one)]
    for one in kept:
        turns.take_back(one)
    assert len(turns.room(2**30, 0.0)) == BUFFER


def test_memory_that_came_back_is_used_again():
    turns, body = Turns(), object()
    seen = set()
    for number in range(100):
        data = arrive(turns, body, bytes([number]) * BUFFER)
        seen.add(id(data.obj))
        turns.lend(data)
        turns.take_back(data)
    assert len(seen) == 1


def test_a_part_of_what_arrived_can_be_lent():
    turns, body = Turns(), object()
    data = arrive(turns, body, b"written" + b"x" * SHARE)
    rest = data[7:]
    turns.lend(rest)
    arrive(turns, body, b"y" * SHARE)
    assert bytes(rest) == b"x" * SHARE
    turns.take_back(rest)
