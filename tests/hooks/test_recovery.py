"""What a crash left half said: the records tell whether it happened."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.engine.conftest import FedBody, House
from tests.hooks.receivers import HookReceiver, Reply, receiving
from tests.support.raw import Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tusserver.compose import build_engine
from tusserver.config import Settings
from tusserver.errors import StorageFull
from tusserver.hooks.shelf import Entry, Shelf, ShelfDamaged
from tusserver.protocol.messages import Create, Part
from tusserver.upload import EventState, new_upload_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AFTER = "post-create,post-receive,post-finish,post-terminate"
CREATE, FINISH, TERMINATE = "post-create", "post-finish", "post-terminate"


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def server(receiver: HookReceiver) -> Iterator[TusServer]:
    with TusServer("--webhook-url", receiver.url, "--webhook-events", AFTER) as server:
        yield server
        server.check_log()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "events.db", targets=1)
    yield shelf
    shelf.close()


def file_of(server: TusServer) -> Path:
    return server.upload_dir / ".tusserver" / "outbox" / "events.db"


def entry(upload_id: str, kind: str, event_id: str = "") -> Entry:
    body = json.dumps({"Type": kind, "Tusserver": {"UploadID": upload_id}}).encode()
    event_id = event_id or f"{upload_id}-{kind}"
    return Entry(event_id=event_id, upload_id=upload_id, kind=kind, body=body)


def intend(server: TusServer, *entries: Entry) -> None:
    """Leave what a process leaves that died between the intent and what it was about."""
    shelf = Shelf(file_of(server), targets=1)
    for one in entries:
        shelf.put(one, owner="a process that died", now=time.time())
    shelf.close()


def waiting(server: TusServer) -> list[str]:
    """Name the events that the server has not noted as taken."""
    shelf = Shelf(file_of(server), targets=1)
    rows = shelf.listed(dead=False, after=0, limit=100)
    shelf.close()
    return [row.kind for row in rows]


def id_of(target: str) -> str:
    return target.rpartition("/")[2]


def test_the_records_tell_whether_an_intended_event_happened(server, receiver):
    tus = Tus(server.url)
    there, gone = tus.create(5), tus.create(5)
    assert tus.delete(gone).status == 204
    assert eventually(lambda: len(receiver.got) == 3 and not waiting(server))
    server.kill()
    before = len(receiver.got)
    never = new_upload_id()
    intend(
        server,
        entry(id_of(there), CREATE, "it was created"),
        entry(never, CREATE, "it was not created"),
        entry(id_of(there), TERMINATE, "it was not removed"),
        entry(id_of(gone), CREATE, "it was created once"),
        entry(id_of(gone), TERMINATE, "it was removed"),
    )
    server.start()
    told = {"it was created", "it was created once", "it was removed"}
    assert eventually(lambda: {got.event_id for got in receiver.got[before:]} == told, within=8)
    time.sleep(0.5)
    assert {got.event_id for got in receiver.got[before:]} == told
    assert receiver.kinds(id_of(gone))[-2:] == [CREATE, TERMINATE]


def test_a_living_process_is_not_taken_for_dead(server, receiver):
    tus = Tus(server.url)
    with TusServer("--webhook-url", receiver.url, upload_dir=server.upload_dir) as other:
        signs = list(file_of(server).parent.glob("*.alive"))
        assert len(signs) == 2
        intend_as = [sign.stem for sign in signs]
        shelf = Shelf(file_of(server), targets=1)
        for owner in intend_as:
            shelf.put(entry(new_upload_id(), CREATE, owner), owner=owner, now=time.time())
        time.sleep(2.5)
        assert sorted(shelf.owners()) == sorted(intend_as)
        server.kill()
        other.kill()
        server.start()
        assert eventually(lambda: shelf.owners() == [], within=4)
        shelf.close()
    assert tus.options().status == 204


def test_a_finish_is_told_though_it_could_not_be_noted_when_it_happened(server, receiver):
    tus = Tus(server.url)
    target = tus.create(5)
    assert eventually(lambda: receiver.kinds() == [CREATE] and not waiting(server))
    blocker = sqlite3.connect(file_of(server), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert tus.patch(target, 0, b"hello").status == 204
    server.kill()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert receiver.kinds() == [CREATE]
    server.start()
    assert eventually(lambda: receiver.kinds() == [CREATE, FINISH], within=8)


def test_a_finish_is_told_before_the_end_though_both_come_at_once(server, receiver):
    tus = Tus(server.url)
    targets = [tus.create(1) for _ in range(20)]
    for target in targets:
        assert tus.patch(target, 0, b"x").status == 204
        assert tus.delete(target).status == 204
    wanted = [CREATE, FINISH, TERMINATE]
    assert eventually(lambda: all(receiver.kinds(id_of(one)) == wanted for one in targets))


def run(*statements: str):
    def step(shelf: Shelf) -> None:
        for statement in statements:
            shelf._db.execute(statement)

    return step


async def fill(clerk) -> None:
    """Let nothing more fit into the file of events."""
    await clerk.do(run("CREATE TABLE filler (data BLOB)", "PRAGMA max_page_count = 1"))
    for size in (3000, 1, 1, 1):
        with suppress(StorageFull):
            for _ in range(1000):
                await clerk.do(run(f"INSERT INTO filler VALUES (zeroblob({size}))"))  # noqa: S608


async def test_without_space_for_a_finish_nothing_is_removed_before_it_is_told(receiver, tmp_path):
    receiver.answer = lambda _got: Reply(status=503)
    settings = Settings(
        upload_dir=tmp_path, reserve=0, webhook_url=receiver.url, webhook_events=AFTER
    )
    engine = build_engine(settings)
    house = House(engine, tmp_path, None)
    clerk = engine.parts.outbox._clerk
    await engine.start()
    try:
        metadata = "name " + base64.b64encode(bytes(30_000)).decode()
        upload = await house.create(5, metadata=metadata)
        await fill(clerk)
        done = await house.append(upload, 0, FedBody(b"hello"))
        assert done.is_complete
        with pytest.raises(StorageFull):
            await engine.terminate(upload.upload_id)
        assert (await house.record(upload)).event is EventState.PENDING
        await clerk.do(run("PRAGMA max_page_count = 100000"))
        await engine.terminate(upload.upload_id)
        receiver.answer = lambda _got: None
        for _ in range(100):
            await asyncio.sleep(0.05)
            if TERMINATE in receiver.kinds():
                break
        told = [kind for kind in dict.fromkeys(receiver.kinds()) if kind.startswith("post")]
        assert told == [CREATE, FINISH, TERMINATE]
    finally:
        await engine.close()


@pytest.fixture
async def told_of(receiver, tmp_path):
    """An engine whose events go to the receiver."""
    settings = Settings(
        upload_dir=tmp_path,
        reserve=0,
        webhook_url=receiver.url,
        webhook_events=AFTER,
        digest="sha-256",
        digest_metadata="checksum",
    )
    engine = build_engine(settings)
    await engine.start()
    yield House(engine, tmp_path, None)
    await engine.close()


async def kinds_of(receiver, upload, count):
    for _ in range(100):
        await asyncio.sleep(0.02)
        if len(receiver.kinds(upload.upload_id)) >= count:
            break
    return receiver.kinds(upload.upload_id)


async def test_a_joined_upload_that_goes_before_its_parts_are_one_file_was_never_finished(
    told_of, receiver, monkeypatch
):
    parts = [await told_of.create(5, body=FedBody(b"hello"), partial=True) for _ in range(2)]

    async def never(lease, pieces, *, stop):
        return False

    monkeypatch.setattr(told_of.parts.storage, "concat", never)
    final = await told_of.join(*parts)
    assert final.is_complete
    await told_of.engine.terminate(final.upload_id)
    assert await kinds_of(receiver, final, 3) == [CREATE, TERMINATE]


async def test_a_joined_upload_that_is_something_else_was_never_finished(told_of, receiver):
    part = await told_of.create(5, body=FedBody(b"hello"), partial=True)
    wrong = hashlib.sha256(b"other").hexdigest()
    metadata = "checksum " + base64.b64encode(f"sha256 {wrong}".encode()).decode()
    command = Create(
        length=None,
        parts=(Part(upload_id=part.upload_id),),
        concat="final;...",
        metadata=metadata,
    )

    async def proceed():
        return None

    final = (await told_of.engine.create(command, FedBody(), proceed=proceed)).upload
    for _ in range(200):
        if await told_of.record(final) is None:
            break
        await asyncio.sleep(0.02)
    await told_of.create(0)
    assert await kinds_of(receiver, final, 2) == [CREATE]


# --- the file of events -------------------------------------------------------------------


def test_the_same_event_again_is_no_new_one_also_after_it_was_delivered(shelf):
    shelf.put(entry("u", FINISH), owner="", now=1)
    shelf.put(entry("u", FINISH), owner="", now=2)
    (row,) = shelf.heads(0, 5, 10)
    shelf.delivered(row, now=3)
    shelf.put(entry("u", FINISH), owner="", now=4)
    assert shelf.heads(0, 5, 10) == []


def test_only_the_first_event_of_an_upload_has_its_turn(shelf):
    shelf.put(entry("u", CREATE), owner="me", now=1)
    shelf.put(entry("u", FINISH), owner="", now=1)
    shelf.put(entry("v", FINISH), owner="", now=1)
    assert [row.upload_id for row in shelf.heads(0, 5, 10)] == ["v"]
    shelf.confirm("u-post-create", now=2)
    assert [(row.upload_id, row.kind) for row in shelf.heads(0, 5, 10)] == [
        ("v", FINISH), ("u", CREATE),
    ]  # fmt: skip


def test_of_progress_only_the_newest_waits_and_none_after_the_finish(shelf):
    shelf.progress([entry("u", "post-receive", "u-1")], now=1)
    shelf.progress([entry("u", "post-receive", "u-2")], now=2)
    assert [row.event_id for row in shelf.heads(0, 5, 10)] == ["u-2"]
    shelf.put(entry("u", FINISH), owner="", now=3)
    shelf.progress([entry("u", "post-receive", "u-3")], now=4)
    assert [row.kind for row in shelf.heads(0, 5, 10)] == [FINISH]


def test_what_was_sent_while_newer_progress_came_takes_nothing_with_it(shelf):
    shelf.progress([entry("u", "post-receive", "u-1")], now=1)
    (row,) = shelf.heads(0, 5, 10)
    shelf.progress([entry("u", "post-receive", "u-2")], now=2)
    shelf.delivered(row, now=3)
    assert [row.event_id for row in shelf.heads(0, 5, 10)] == ["u-2"]


def test_what_follows_a_failed_event_waits_with_it(shelf):
    shelf.put(entry("u", CREATE), owner="", now=1)
    shelf.put(entry("u", FINISH), owner="", now=1)
    (row,) = shelf.heads(0, 5, 10)
    shelf.failed(row, "answered 500", due=50.0)
    assert shelf.heads(0, 40, 10) == []
    assert [row.kind for row in shelf.heads(0, 60, 10)] == [CREATE]
    shelf.failed(row, "answered 500", due=None)
    assert [row.kind for row in shelf.heads(0, 60, 10)] == [FINISH]
    assert [row.kind for row in shelf.listed(dead=True, after=0, limit=9)] == [CREATE]


def test_events_for_receivers_that_are_no_more_are_set_aside(tmp_path):
    two = Shelf(tmp_path / "events.db", targets=2)
    two.put(entry("u", CREATE), owner="", now=1)
    two.close()
    one = Shelf(tmp_path / "events.db", targets=1)
    assert one.give_up_on_targets("gone") == 1
    assert [row.target for row in one.listed(dead=True, after=0, limit=9)] == [1]
    one.close()


def test_old_ids_and_dead_events_of_long_ago_are_forgotten(shelf):
    shelf.put(entry("u", CREATE), owner="", now=1)
    (row,) = shelf.heads(0, 5, 10)
    shelf.failed(row, "no", due=None)
    assert shelf.tidy(now=20 * 86_400) == 0
    assert shelf.tidy(now=40 * 86_400) == 1


def test_the_file_of_another_version_is_left_alone(tmp_path):
    Shelf(tmp_path / "events.db", targets=1).close()
    other = sqlite3.connect(tmp_path / "events.db")
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ShelfDamaged, match="format 99"):
        Shelf(tmp_path / "events.db", targets=1)


def test_no_step_looks_through_all_that_waits(shelf):
    seen = []
    shelf._db.set_trace_callback(seen.append)
    shelf.put(entry("u", CREATE), owner="me", now=1)
    shelf.confirm("u-post-create", now=1)
    shelf.put(entry("u", FINISH), owner="", now=1)
    shelf.progress([entry("v", "post-receive")], now=1)
    row = shelf.heads(0, 5, 10)[0]
    shelf.failed(row, "no", due=3.0)
    shelf.delivered(row, now=4)
    shelf._db.set_trace_callback(None)
    for statement in {one for one in seen if "events" in one}:
        plan = [step[3] for step in shelf._db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in plan if step.startswith("SCAN e")], statement
        if " e WHERE" not in statement:
            assert not [step for step in plan if "events_due" in step], statement
