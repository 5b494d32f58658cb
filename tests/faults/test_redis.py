"""Redis that dies, hangs, fills up or loses what it had: uploads wait and go on, and lose nothing.

The ledger beside the data is written first and repairs what Redis lost; so nothing depends on how
often Redis syncs its own file.
"""

from __future__ import annotations

import time

import pytest

from tests.faults.clients import Crowd, Refused, Upload, create
from tests.faults.disks import MIB, SmallDisk
from tests.faults.sentinels import Watched
from tests.support.proxy import ANSWER, FIN, RST, Proxy, seeded_cuts
from tests.support.raw import Tus
from tests.support.redis_fixture import need_redis_server
from tests.support.waiting import eventually

KIB = 1024
PIECE = 100 * KIB
CLIENTS = 3


def sources(dice):
    return [dice.randbytes(MIB) for _ in range(CLIENTS)]


def served(state, make_server, dice):
    """Give a server on this state, and a crowd of clients of it."""
    tus = Tus(make_server(state=state).url)
    return tus, Crowd(tus, sources(dice), size=PIECE)


def test_redis_is_killed_again_and_again(start_redis, make_server, dice, amount, figures):
    """With `appendfsync everysec`, so that each kill may cost it the last second."""
    redis = start_redis()
    _, crowd = served(redis.url, make_server, dice)
    rounds = amount(3, 100)
    with crowd:
        for _ in range(rounds):
            time.sleep(dice.uniform(0.2, 0.6))
            redis.kill()
            time.sleep(dice.uniform(0.0, 0.5))
            redis.start()
    for upload in crowd.finished:
        upload.check()
        assert upload.offset() == MIB
    figures |= {"kills of Redis": rounds, "uploads": len(crowd.finished)}
    assert crowd.refusals <= {423, 503}


def test_redis_hangs_for_a_while(start_redis, make_server, dice, amount, figures):
    redis = start_redis()
    server = make_server(state=redis.url)
    tus = Tus(server.url)
    upload = Upload(tus, dice.randbytes(MIB))
    assert upload.send(PIECE).status == 204
    seconds = amount(4, 30)
    with Crowd(tus, sources(dice), size=PIECE) as crowd:
        redis.pause()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                assert upload.ask().status == 423
                assert upload.send(PIECE).status == 503
                with pytest.raises(Refused, match="state_unavailable"):
                    create(tus, 5)
        finally:
            redis.resume()
        upload.complete()
        before = len(crowd.finished)
        assert eventually(lambda: len(crowd.finished) >= before + CLIENTS, within=30.0)
    assert server.said("it does not answer in time")
    assert server.said("answers again")
    figures |= {"seconds of silence": seconds, "uploads": len(crowd.finished)}


def test_connections_to_redis_break_in_the_middle_of_scripts(
    redis_server, make_server, dice, amount, figures
):
    """Some before the script has arrived as a whole, some when it was run and not answered."""
    count = amount(40, 2000)
    cuts = seeded_cuts(dice.randrange(2**30), count=count, mean=8 * KIB, kinds=(FIN, RST, ANSWER))
    with Proxy(redis_server.port, cuts=cuts, scheme="redis", path="/0") as between:
        _, crowd = served(between.url, make_server, dice)
        with crowd:
            assert eventually(lambda: between.cuts_made >= count, within=60.0 + count / 5)
        for upload in crowd.finished:
            upload.check()
    figures |= {"cuts": count, "uploads": len(crowd.finished)}
    assert crowd.refusals <= {423, 503}


def test_a_redis_without_memory_keeps_uploads_waiting(start_redis, make_server, dice):
    redis = start_redis(maxmemory_policy="noeviction")
    server = make_server(state=redis.url)
    upload = Upload(Tus(server.url), dice.randbytes(MIB))
    assert upload.send(PIECE).status == 204
    redis.cli("CONFIG", "SET", "maxmemory", "1")
    answer = upload.send(PIECE)
    assert (answer.status, answer.code) == (503, "state_unavailable")
    with pytest.raises(Refused, match="state_unavailable"):
        create(upload.tus, 5)
    assert upload.ask().status in {200, 423}
    assert server.said("its memory is full: raise maxmemory"), server.log
    redis.cli("CONFIG", "SET", "maxmemory", "0")
    # The ledger was ahead: what came while Redis was full is not sent again.
    assert upload.offset() == 2 * PIECE
    upload.complete()


def test_a_redis_whose_disk_is_full_keeps_uploads_waiting(make_server, start_redis, dice):
    with SmallDisk(6 * MIB) as small:
        redis = start_redis(dir=str(small.place))
        server = make_server(state=redis.url)
        upload = Upload(Tus(server.url), dice.randbytes(MIB))
        assert upload.send(PIECE).status == 204
        small.fill()
        assert eventually(lambda: upload.send(100).status == 503, within=20.0), server.log
        assert server.said("it cannot write to its disk: look at its log and at the disk")
        small.make_room()
        upload.complete()
        redis.stop()


def test_forgotten_scripts_are_noticed_by_nobody(redis_server, make_server, dice, amount, figures):
    _, crowd = served(redis_server.url, make_server, dice)
    count = amount(50, 2000)
    with crowd:
        for _ in range(count):
            redis_server.cli("SCRIPT", "FLUSH")
            time.sleep(0.02)
    assert crowd.refusals == set()
    assert crowd.finished
    figures |= {"times all scripts were dropped": count, "uploads": len(crowd.finished)}


@pytest.mark.parametrize("lost", [0.1, 0.9], ids=["a little", "nearly all"])
def test_the_end_of_the_file_of_redis_is_lost(start_redis, make_server, dice, lost):
    redis = start_redis()
    tus = Tus(make_server(state=redis.url).url)
    done = [Upload(tus, dice.randbytes(PIECE)).complete() for _ in range(10)]
    half = [Upload(tus, dice.randbytes(MIB)) for _ in range(10)]
    for upload in half:
        upload.send(PIECE)
        upload.send(PIECE)
    gone = Upload(tus, b"never mind")
    assert tus.delete(gone.target).status == 204
    redis.kill()
    [file] = redis.directory.glob("**/*.incr.aof")
    size = file.stat().st_size
    with file.open("r+b") as end:
        end.truncate(int(size * (1 - lost)))
    redis.start()
    for upload in (*done, *half):
        assert upload.offset() == upload.told
    for upload in (*done, *half):
        upload.complete()
    assert tus.head(gone.target).status == 404


def test_sentinels_make_a_replica_that_lags_the_primary(make_server, dice, figures):
    """What clients did last is unknown to the new primary: the ledger tells it."""
    need_redis_server()
    with Watched() as redis:
        server = make_server(state=redis.address.url)
        tus = Tus(server.url)
        early = [Upload(tus, dice.randbytes(MIB)) for _ in range(5)]
        gone = Upload(tus, dice.randbytes(PIECE))
        for upload in early:
            upload.send(PIECE)
        assert eventually(redis.is_in_step, within=10.0)
        redis.hold_replica_back()
        # From here on the primary alone knows.
        for upload in early[:3]:
            upload.send(PIECE)
        early[3].complete(size=PIECE)
        late = [Upload(tus, dice.randbytes(MIB)) for _ in range(3)]
        late[0].send(PIECE)
        late[1].complete()
        assert tus.delete(gone.target).status == 204
        with Crowd(tus, sources(dice), size=PIECE) as crowd:
            seconds = redis.fail_over()
            for upload in (*early, *late):
                told = upload.told
                assert upload.offset() == told
            assert tus.head(gone.target).status == 404
            for upload in (*early, *late):
                upload.complete(size=PIECE)
            assert eventually(lambda: len(crowd.finished) >= 2 * CLIENTS, within=30.0)
        assert tus.head(gone.target).status == 404
        for upload in crowd.finished:
            upload.check()
        figures |= {
            "seconds of the failover": round(seconds, 1),
            "uploads": len(early) + len(late) + len(crowd.finished),
        }
        assert crowd.refusals <= {423, 503}
