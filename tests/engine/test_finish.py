"""What follows the last byte: hooks, durability, the finish event."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.engine.conftest import FedBody, TurnedClock, eventually
from tusserver.body import BodyEnd
from tusserver.errors import HookFailed, Rejected, ShuttingDown, UploadLocked, UploadNotFound
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision
from tusserver.upload import EventState


class Listener:
    """An application that notes the events it is told."""

    def __init__(self):
        self.events = []
        self.failing = 0

    async def __call__(self, event):
        self.events.append(event)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("the application is down")


@pytest.mark.clause("CRE-09", "CWU-03")
async def test_an_empty_upload_is_finished_at_creation_with_one_event(build):
    told = Listener()
    house = await build(hooks=CallableHooks(post_finish=told))
    upload = await house.create(0)
    assert upload.is_complete
    await eventually(lambda: told.events)
    await asyncio.sleep(0.05)
    assert [event.upload.upload_id for event in told.events] == [upload.upload_id]
    assert await house.content(upload) == b""


async def test_a_failed_pre_finish_leaves_the_upload_open_one_commit_before_its_end(build):
    asked = Listener()
    asked.failing = 1
    house = await build(hooks=CallableHooks(pre_finish=asked))
    upload = await house.create(10)
    with pytest.raises(HookFailed):
        await house.append(upload, 0, FedBody(b"0123456789"))
    described = await house.head(upload)
    assert described.offset == 9
    assert not described.upload.is_complete
    done = await house.append(upload, 9, FedBody(b"9"))
    assert done.is_complete
    assert len(asked.events) == 2
    assert await house.content(upload) == b"0123456789"


async def test_pre_finish_sees_the_upload_as_it_will_be_and_adds_to_the_answer(build):
    async def pre_finish(event):
        assert event.upload.offset == event.upload.length == 5
        return Decision(headers={"X-Place": "shelf"}, body="thank you")

    house = await build(hooks=CallableHooks(pre_finish=pre_finish))
    upload = await house.create(5)
    from tusserver.protocol.messages import Append  # noqa: PLC0415

    command = Append(upload_id=upload.upload_id, offset=0)

    async def proceed():
        return None

    done = await house.engine.append(command, FedBody(b"hello"), proceed=proceed)
    assert done.extras.headers == {"X-Place": "shelf"}
    assert done.extras.body == "thank you"


async def test_pre_create_may_reject_and_may_change_metadata(build):
    async def pre_create(event):
        if event.upload.length == 13:
            return Decision(reject=(422, "Thirteen is not accepted."))
        return Decision(metadata={"filename": b"safe.txt"})

    house = await build(hooks=CallableHooks(pre_create=pre_create))
    with pytest.raises(Rejected) as refused:
        await house.create(13)
    assert refused.value.status == 422
    upload = await house.create(5, metadata="filename ZXZpbA==")
    assert (await house.record(upload)).metadata == "filename c2FmZS50eHQ="
    assert await house.parts.state.list(None, 10) == [await house.record(upload)]


async def test_the_finish_event_is_told_until_it_is_taken(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.events.RETRY_FIRST", 0.02)
    told = Listener()
    told.failing = 2
    house = await build(hooks=CallableHooks(post_finish=told))
    upload = await house.create(5)
    done = await house.append(upload, 0, FedBody(b"hello"))
    assert done.event is EventState.PENDING

    async def sent():
        return (await house.record(upload)).event is EventState.SENT

    assert await eventually(sent)
    assert len(told.events) == 3
    assert len({event.event_id for event in told.events}) == 1


async def test_a_pending_event_is_told_after_a_restart_with_the_same_id(build):
    first, second = Listener(), Listener()
    first.failing = 1000
    house = await build(hooks=CallableHooks(post_finish=first))
    upload = await house.create(5)
    await house.append(upload, 0, FedBody(b"hello"))
    await eventually(lambda: first.events)
    house.engine.stop_bodies()
    after = await build(hooks=CallableHooks(post_finish=second))
    # One process sweeps: the first one must have resigned.
    await house.parts.storage.resign("sweep")
    await after.engine.sweeper.sweep()
    assert await eventually(lambda: second.events)
    assert second.events[0].event_id == first.events[0].event_id


@pytest.mark.clause("CAT-19")
async def test_parts_have_no_finish_event_and_no_finish_hook(build):
    told = Listener()
    house = await build(hooks=CallableHooks(pre_finish=told, post_finish=told))
    part = await house.create(5, partial=True)
    done = await house.append(part, 0, FedBody(b"hello"))
    await asyncio.sleep(0.05)
    assert done.is_complete
    assert not told.events


async def test_post_receive_is_told_while_the_body_streams_but_not_for_each_commit(build):
    told = Listener()
    house = await build(hooks=CallableHooks(post_receive=told))
    upload = await house.create(1000)
    body = FedBody(b"x", end=None)
    append = house.start_append(upload, 0, body)
    await house.receiving(upload)
    begun = time.monotonic()
    for _ in range(24):
        await asyncio.sleep(0.1)
        body.feed(b"x")
        await house.parts.slots.holder(upload.upload_id).progress.commit_now(at_once=True)
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(Exception, match="well-formed"):
        await append
    assert 1 <= len(told.events) <= time.monotonic() - begun + 2


async def test_while_a_pre_hook_runs_patch_and_delete_are_refused_and_head_answers(build):
    gate = asyncio.Event()

    async def pre_finish(_event):
        await gate.wait()

    house = await build(hooks=CallableHooks(pre_finish=pre_finish))
    upload = await house.create(5)
    body = FedBody(b"hello", end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    body.finish()
    await eventually(lambda: work.phase.value == "hook")
    with pytest.raises(UploadLocked):
        await house.append(upload, 4, FedBody(b"o"))
    with pytest.raises(UploadLocked):
        await house.engine.terminate(upload.upload_id)
    assert (await house.head(upload)).offset == 4
    gate.set()
    assert (await append).is_complete


async def test_pre_terminate_may_refuse_without_disturbing_an_append(build):
    async def pre_terminate(_event):
        return Decision(reject=(403, "Keep it."))

    house = await build(hooks=CallableHooks(pre_terminate=pre_terminate))
    upload = await house.create(5)
    body = FedBody(b"he", end=None)
    append = house.start_append(upload, 0, body)
    await house.receiving(upload)
    with pytest.raises(Rejected):
        await house.engine.terminate(upload.upload_id)
    body.feed(b"llo")
    body.finish()
    assert (await append).is_complete


async def test_events_around_creation_and_termination_are_told(build):
    created, terminated = Listener(), Listener()
    house = await build(hooks=CallableHooks(post_create=created, post_terminate=terminated))
    upload = await house.create(5)
    await house.engine.terminate(upload.upload_id)
    assert await eventually(lambda: created.events and terminated.events)
    with pytest.raises(UploadNotFound):
        await house.head(upload)


async def test_a_stopping_engine_takes_no_new_work_and_keeps_what_it_received(build):
    house = await build(started=False)
    await house.engine.start()
    upload = await house.create(100)
    append = house.start_append(upload, 0, FedBody(b"x" * 60, end=None))
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 60)
    house.engine.stop_bodies()
    with pytest.raises(ShuttingDown):
        await append
    with pytest.raises(ShuttingDown):
        await house.create(5)
    await house.engine.close()
    after = await build(clock=TurnedClock())
    assert (await after.head(upload)).offset == 60


async def test_a_file_that_the_application_moved_away_is_told_once_and_logged(build, caplog):
    told = []

    async def after_finish(event):
        told.append(event.event_id)
        path = house.directory / event.upload.upload_id[:2] / event.upload.upload_id
        path.rename(house.directory / "mine")

    house = await build(hooks=CallableHooks(post_finish=after_finish), chores=False)
    upload = await house.create(5, body=FedBody(b"hello"))
    assert await eventually(lambda: "its data file is gone" in caplog.text)
    for _ in range(3):
        await house.engine.sweeper.sweep()
        await asyncio.sleep(0.05)
    assert len(told) == 1
    assert caplog.text.count(upload.upload_id) == 1


async def test_an_upload_that_is_removed_while_its_finish_is_told_is_not_missed(build, caplog):
    told = []

    async def after_finish(event):
        await house.engine.terminate(event.upload.upload_id)
        told.append(event.upload.upload_id)

    house = await build(hooks=CallableHooks(post_finish=after_finish), chores=False)
    upload = await house.create(5, body=FedBody(b"hello"))
    assert await eventually(lambda: told)
    await asyncio.sleep(0.05)
    assert upload.upload_id not in caplog.text
