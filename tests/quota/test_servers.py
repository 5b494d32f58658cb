"""Limits as clients meet them: several real processes on one directory."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest

from tests.auth.credentials import SECRET, Bearer, token
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.waiting import eventually


def creation(length):
    return {"Upload-Length": str(length)}


def start_all(make_server, state_url, upload_dir, *flags, count=3):
    """Start servers on one directory at the same time; give them, and clients of theirs."""

    def start(_):
        return make_server(*flags, state=state_url, upload_dir=upload_dir)

    with ThreadPoolExecutor(count) as pool:
        servers = list(pool.map(start, range(count)))
    return servers, [Tus(server.url) for server in servers]


def hammer(sites, ask, *, times):
    """Ask all servers at once, so many times; give the answers."""
    turns = cycle(sites)
    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(ask, [next(turns) for _ in range(times)]))


def statuses(answers):
    return sorted({answer.status for answer in answers})


def made(answers):
    return [answer for answer in answers if answer.status == 201]


# --- several processes at once


@pytest.mark.parametrize(
    "case",
    [
        (("--max-open", "17"), 5, 17, (429, "too_many_uploads")),
        (("--owner-max-stored", "1000"), 60, 16, (413, "quota_exceeded")),
        (("--max-creations", "19"), 0, 19, (429, "too_many_requests")),
    ],
    ids=["open", "stored by an owner", "creations"],
)
def test_three_processes_give_exactly_what_there_is(make_server, state_url, upload_dir, case):
    flags, length, fits, refusal = case
    _, sites = start_all(make_server, state_url, upload_dir, *flags)
    answers = hammer(sites, lambda tus: tus.post(creation(length)), times=60)
    assert len(made(answers)) == fits
    refused = [answer for answer in answers if answer.status != 201]
    assert {(answer.status, answer.code) for answer in refused} == {refusal}
    waits = [int(answer.get("Retry-After") or 0) for answer in refused]
    if refusal[1] == "too_many_requests":
        assert all(50 <= wait <= 60 for wait in waits)
    elif refusal[0] != 413:
        assert min(waits) > 0


def test_three_processes_that_hold_places_ahead_give_exactly_what_there_is(
    make_server, state_url, upload_dir
):
    _, sites = start_all(make_server, state_url, upload_dir, "--max-open", "400")

    def create_some(number):
        tus = sites[number % 3]
        with tus.wire() as wire:
            return [tus.post(creation(5), wire=wire) for _ in range(45)]

    with ThreadPoolExecutor(12) as pool:
        answers = [answer for some in pool.map(create_some, range(12)) for answer in some]
    assert len(made(answers)) == 400
    assert {one.code for one in answers if one.status != 201} == {"too_many_uploads"}


def test_what_is_finished_or_removed_makes_room_for_the_next(make_server, state_url, upload_dir):
    _, sites = start_all(make_server, state_url, upload_dir, "--max-open", "4", count=2)
    here, there = sites

    def take_turns(number):
        for turn in range(12):
            target = here.create(5)
            if turn % 2:
                assert here.patch(target, 0, b"12345").status == 204
            else:
                assert here.delete(target).status == 204
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(take_turns, range(4))) == [0, 1, 2, 3]
    target = here.create(5)
    for _ in range(3):
        here.create(5)
    assert there.post(creation(5)).status == 429
    here.delete(target)
    assert eventually(lambda: there.post(creation(5)).status == 201, within=1.0)


def test_as_many_appends_run_as_may_and_a_killed_process_frees_its_own(
    make_server, state_url, upload_dir
):
    (first, _), sites = start_all(make_server, state_url, upload_dir, "--max-appends", "3", count=2)
    here, there = sites
    targets = [there.create(100) for _ in range(4)]
    wires = []
    for tus, target in zip((here, here, there), targets, strict=False):
        wires.append(begin(tus, target, 0))
    refused = there.patch(targets[3], 0, bytes(100))
    assert (refused.status, refused.code) == (429, "too_many_appends")
    assert refused.get("Retry-After") == "5"
    with_data = {**creation(100), "Content-Type": OFFSET_STREAM}
    assert there.post(with_data, b"12345").code == "too_many_appends"
    # Whoever takes over what is running takes its place too.
    assert there.patch(targets[2], 0, b"x" * 100).status == 204
    assert there.patch(targets[3], 0, b"x").status == 204
    wires.append(begin(there, targets[3], 1))
    assert there.post(with_data, b"12345").status == 429
    first.kill()
    within = 1.0 if state_url == "local" else 14.0
    assert eventually(lambda: there.post(with_data, b"12345").status == 201, within=within)
    for wire in wires:
        wire.close()


def begin(tus, target, offset):
    """Begin an append that sends nothing; give its connection."""
    wire = tus.wire()
    fields = append_fields(offset, 100 - offset) | {"Expect": "100-continue"}
    wire.send(tus.message("PATCH", target, fields))
    assert wire.interim().status == 100
    return wire


def append_fields(offset, length):
    return {
        "Upload-Offset": str(offset),
        "Content-Type": OFFSET_STREAM,
        "Content-Length": str(length),
    }


def test_counts_outlive_all_processes(make_server, state_url, upload_dir):
    (server,), (tus,) = start_all(
        make_server, state_url, upload_dir, "--max-open", "2", "--max-stored", "1KiB", count=1
    )
    target = tus.create(1000)
    server.kill()
    server.start()
    assert tus.post(creation(25)).status == 507
    tus.create(24)
    server.terminate()
    server.start()
    assert tus.post(creation(0)).status == 429
    assert tus.delete(target).status == 204
    tus.create(1000)


# --- owners


def test_owners_have_limits_of_their_own(make_server, upload_dir):
    server = make_server(
        *("--jwt-secret", SECRET, "--owner-max-open", "2", "--max-open", "3"), upload_dir=upload_dir
    )
    ann, bob = (Bearer(server.url, token(sub=name)) for name in ("ann", "bob"))
    for _ in range(2):
        ann.create(5)
    refused = ann.post(creation(5))
    assert (refused.status, refused.code) == (429, "too_many_uploads")
    bob.create(5)
    refused = bob.post(creation(5))
    assert (refused.status, refused.code) == (429, "too_many_uploads")
    assert b"ann" not in refused.body
    assert server.said("--owner-max-open is 2"), server.log
    assert server.said("--max-open is 3"), server.log


# --- bodies


def test_a_chunked_body_of_unknown_length_ends_where_the_quota_does(
    make_server, state_url, upload_dir
):
    (_,), (tus,) = start_all(
        make_server, state_url, upload_dir, "--owner-max-stored", "300KB", count=1
    )
    target = tus.create(None)
    fields = {
        "Upload-Offset": "0",
        "Content-Type": OFFSET_STREAM,
        "Content-Length": None,
        "Transfer-Encoding": "chunked",
    }
    data = random.Random(1).randbytes(400_000)
    answer = tus.request("PATCH", target, fields, chunked(data))
    assert (answer.status, answer.code) == (413, "quota_exceeded")
    assert tus.offset(target) == 300_000
    assert tus.post(creation(1)).status == 413
    answer = tus.patch(target, 300_000, b"", {"Upload-Length": "300000"})
    assert answer.status == 204, answer
    assert tus.get(target).body == data[:300_000]


def test_parts_and_the_whole_count_each_for_themselves(make_server, state_url, upload_dir):
    (_,), (tus,) = start_all(
        make_server, state_url, upload_dir, "--owner-max-stored", "30", count=1
    )
    parts = [tus.upload(b"12345", {"Upload-Concat": "partial"}) for _ in range(3)]
    final = tus.post({"Upload-Concat": "final;" + " ".join(parts)})
    assert final.status == 201, final
    assert tus.post(creation(1)).status == 413
    target = tus.target(final.get("Location") or "")
    assert eventually(lambda: tus.delete(target).status == 204)
    assert tus.post(creation(15)).status == 201


def test_what_the_disk_refuses_counts_for_nothing(make_server, state_url, upload_dir):
    (_,), (tus,) = start_all(
        make_server, state_url, upload_dir, "--max-open", "1", "--reserve", "900TiB", count=1
    )
    for _ in range(3):
        assert tus.post(creation(5)).code == "storage_full"


def test_what_expires_makes_room(make_server, state_url, upload_dir):
    flags = "--expire-after", "500ms", "--sweep-interval", "200ms", "--sweep-grace", "0"
    (_,), (tus,) = start_all(make_server, state_url, upload_dir, "--max-open", "1", *flags, count=1)
    tus.create(5)
    assert tus.post(creation(5)).status == 429
    assert eventually(lambda: tus.post(creation(5)).status == 201, within=5.0)


def test_two_processes_share_the_bandwidth(make_server, state_url, upload_dir):
    rate = 2_000_000
    servers, sites = start_all(
        make_server,
        state_url,
        upload_dir,
        "--max-bandwidth",
        "2MB",
        "--body-timeout",
        "1s",
        count=2,
    )
    size = 100_000_000
    targets = [tus.create(size) for tus in sites]
    wires, senders = [], []
    for tus, target in zip(sites, targets, strict=True):
        wire = tus.wire()
        wire.send(tus.message("PATCH", target, append_fields(0, size)))
        senders.append(threading.Thread(target=wire.flood, args=(size,), daemon=True))
        senders[-1].start()
        wires.append(wire)
    time.sleep(0.5)

    def received():
        return [tus.offset(target) for tus, target in zip(sites, targets, strict=True)]

    before, start = received(), time.monotonic()
    time.sleep(3.0)
    after, took = received(), time.monotonic() - start
    got = [b - a for a, b in zip(before, after, strict=True)]
    assert 0.8 * rate < sum(got) / took < 1.2 * rate
    assert min(got) > 0.6 * max(got)
    # A body that waits for its turn is no silent one: it is neither ended nor slow to stop.
    start = time.monotonic()
    assert sites[1].delete(targets[0]).status == 204
    assert time.monotonic() - start < 1.0
    for server, sender in zip(servers, senders, strict=True):
        server.kill()
        sender.join(10)
    for wire in wires:
        wire.close()


# --- what goes wrong


def test_a_thousand_unfinished_uploads_are_enough_where_anybody_may_create_them(
    make_server, upload_dir
):
    server = make_server(upload_dir=upload_dir)
    tus = Tus(server.url)
    answers = []

    def create_some(_):
        with tus.wire() as wire:
            return [tus.post(creation(1), wire=wire) for _ in range(250)]

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for some in pool.map(create_some, range(4)) for answer in some]
    assert statuses(answers) == [201]
    refused = tus.post(creation(1))
    assert (refused.status, refused.code) == (429, "too_many_uploads")
    assert refused.body == (
        b"too_many_uploads: There are too many unfinished uploads: finish or remove some first.\n"
    )
    assert server.said("--max-open is 1000"), server.log


def test_with_authorisation_there_is_no_such_limit(make_server, upload_dir):
    make_server("--jwt-secret", SECRET, upload_dir=upload_dir)
    assert not (upload_dir / ".tusserver" / "counts").exists()


def test_drift_is_mended_when_a_process_starts(make_server, upload_dir):
    server = make_server("--max-open", "2", upload_dir=upload_dir)
    tus = Tus(server.url)
    tus.create(5)
    tus.create(5)
    server.terminate()
    (database,) = (upload_dir / ".tusserver" / "counts").glob("*.db")
    with sqlite3.connect(database) as connection:
        # One that never came to be, and one that nobody counted.
        connection.execute("UPDATE uploads SET upload_id = '0' || substr(upload_id, 2), at = 1")
    server.start()
    assert eventually(lambda: "compared the counts of 2 uploads" in server.log, within=8.0)
    assert tus.post(creation(5)).status == 429


def test_a_lost_database_is_filled_from_the_records(make_server, upload_dir):
    server = make_server("--max-stored", "100", upload_dir=upload_dir)
    tus = Tus(server.url)
    tus.upload(b"x" * 60)
    for path in (upload_dir / ".tusserver" / "counts").glob("*.db*"):
        path.unlink()
    refused = tus.post(creation(40))
    assert (refused.status, refused.code, refused.get("Retry-After")) == (
        429,
        "too_many_requests",
        "5",
    )
    assert eventually(lambda: tus.post(creation(40)).status == 201, within=9.0)
    assert tus.post(creation(1)).status == 507


def test_a_directory_that_was_made_without_limits_is_counted(make_server, upload_dir):
    server = make_server("--max-open", "none", upload_dir=upload_dir)
    Tus(server.url).upload(b"x" * 60)
    server.close()
    tus = Tus(make_server("--max-stored", "100", upload_dir=upload_dir).url)
    assert eventually(lambda: tus.post(creation(40)).status == 201, within=5.0)
    assert tus.post(creation(1)).status == 507


def test_without_redis_nothing_is_created(make_server, start_redis, upload_dir):
    redis = start_redis()
    tus = Tus(make_server("--max-stored", "100", state=redis.url, upload_dir=upload_dir).url)
    tus.create(50)
    redis.kill()
    refused = tus.post(creation(10))
    assert (refused.status, refused.code) == (503, "state_unavailable")
    redis.start()
    assert eventually(lambda: tus.post(creation(50)).status == 201, within=9.0)
    assert tus.post(creation(1)).status == 507


def test_a_redis_that_lost_its_data_is_filled_from_the_records(
    make_server, redis_server, upload_dir
):
    server = make_server("--max-stored", "100", state=redis_server.url, upload_dir=upload_dir)
    tus = Tus(server.url)
    tus.upload(b"x" * 60)
    redis_server.flush()
    assert tus.post(creation(40)).status == 429
    assert eventually(lambda: tus.post(creation(40)).status == 201, within=9.0)
    assert tus.post(creation(1)).status == 507
