"""Hooks that are the application's own coroutines."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from tusserver.errors import HookFailed, Rejected
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision, Event, EventKind
from tusserver.upload import Upload, new_upload_id

PRE = [EventKind.PRE_CREATE, EventKind.PRE_FINISH, EventKind.PRE_TERMINATE]
POST = [kind for kind in EventKind if kind not in PRE]


def event_of(kind: EventKind) -> Event:
    upload = Upload(upload_id=new_upload_id(), created_at=datetime.now(UTC), length=3)
    return Event(kind, upload, "event-1")


def hooks_with(kind: EventKind, hook, **more) -> CallableHooks:
    return CallableHooks(**{kind.value.replace("-", "_"): hook}, **more)


@pytest.mark.parametrize("kind", EventKind, ids=lambda kind: kind.value)
async def test_only_what_was_given_is_wanted(kind):
    async def hook(_event):
        pass

    hooks = hooks_with(kind, hook)
    assert [other for other in EventKind if hooks.wants(other)] == [kind]


@pytest.mark.parametrize("kind", PRE, ids=lambda kind: kind.value)
async def test_what_a_hook_before_decides_is_given_on(kind):
    decision = Decision(reject=(403, "No."), headers={"X-Why": "because"})
    seen = []

    async def hook(event):
        seen.append(event)
        return decision

    event = event_of(kind)
    assert await hooks_with(kind, hook).before(event) is decision
    assert seen == [event]


@pytest.mark.parametrize("kind", PRE, ids=lambda kind: kind.value)
async def test_a_hook_before_that_gives_nothing_lets_the_request_go_on(kind):
    async def hook(_event):
        return None

    assert await hooks_with(kind, hook).before(event_of(kind)) == Decision()


async def test_without_a_hook_everything_goes_on():
    for kind in PRE:
        assert await CallableHooks().before(event_of(kind)) == Decision()
    for kind in POST:
        await CallableHooks().after(event_of(kind))


@pytest.mark.parametrize("kind", POST, ids=lambda kind: kind.value)
async def test_a_hook_after_is_told_the_event(kind):
    seen = []

    async def hook(event):
        seen.append(event)

    event = event_of(kind)
    await hooks_with(kind, hook).after(event)
    assert seen == [event]


async def test_a_rejection_that_is_raised_is_the_answer():
    rejected = Rejected(402, "Pay first.")

    async def hook(_event):
        raise rejected

    with pytest.raises(Rejected) as caught:
        await CallableHooks(pre_create=hook).before(event_of(EventKind.PRE_CREATE))
    assert caught.value is rejected


@pytest.mark.parametrize("kind", EventKind, ids=lambda kind: kind.value)
async def test_the_fault_of_a_hook_is_logged_and_hidden_from_the_client(kind, caplog):
    async def hook(_event):
        raise LookupError("no such customer")

    event = event_of(kind)
    hooks = hooks_with(kind, hook)
    with pytest.raises(HookFailed) as caught:
        await (hooks.before(event) if kind in PRE else hooks.after(event))
    assert "customer" not in caught.value.message
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert event.upload.upload_id in record.getMessage()
    assert isinstance(record.exc_info[1], LookupError)


async def test_an_error_of_ours_after_the_fact_is_a_failed_hook():
    async def hook(_event):
        raise Rejected(403, "Too late.")

    with pytest.raises(HookFailed):
        await CallableHooks(post_finish=hook).after(event_of(EventKind.POST_FINISH))


async def test_a_hook_before_that_takes_too_long_fails(caplog):
    ended = asyncio.Event()

    async def hook(_event):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    hooks = CallableHooks(pre_finish=hook, timeout=0.05)
    with pytest.raises(HookFailed):
        await hooks.before(event_of(EventKind.PRE_FINISH))
    assert ended.is_set()
    assert "took longer than 0.05 s" in caplog.text


async def test_a_hook_after_that_takes_too_long_fails_and_is_told_again_by_who_calls(caplog):
    async def hook(_event):
        await asyncio.sleep(60)

    with pytest.raises(HookFailed):
        await CallableHooks(post_finish=hook, timeout=0.05).after(event_of(EventKind.POST_FINISH))
    assert "took longer than 0.05 s" in caplog.text


async def test_a_time_out_inside_a_hook_is_not_mistaken_for_ours(caplog):
    async def hook(_event):
        raise TimeoutError("the database")

    with pytest.raises(HookFailed):
        await CallableHooks(pre_finish=hook).before(event_of(EventKind.PRE_FINISH))
    assert "took longer" not in caplog.text
    assert "the database" in caplog.text


@pytest.mark.parametrize(
    "decision",
    [
        pytest.param(False, id="a boolean"),
        pytest.param((403, "No."), id="a bare pair"),
        pytest.param(Decision(reject=(200, "Fine.")), id="a status that says success"),
        pytest.param(Decision(reject=(600, "?")), id="a status beyond the last"),
    ],
)
async def test_a_decision_that_makes_no_sense_fails_instead_of_letting_the_request_pass(decision):
    async def hook(_event):
        return decision

    with pytest.raises(HookFailed):
        await CallableHooks(pre_create=hook).before(event_of(EventKind.PRE_CREATE))


@pytest.mark.parametrize(
    "kind", [EventKind.PRE_FINISH, EventKind.POST_FINISH], ids=lambda kind: kind.value
)
async def test_a_cancellation_passes_through(kind):
    started = asyncio.Event()

    async def hook(_event):
        started.set()
        await asyncio.sleep(60)

    hooks = hooks_with(kind, hook)
    call = hooks.before if kind in PRE else hooks.after
    task = asyncio.create_task(call(event_of(kind)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
