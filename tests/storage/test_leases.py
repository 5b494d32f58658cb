"""The lease: the kernel's lock, from one process to the next."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import data_path, ledger_path, open_files, opened, take
from tests.support.waiting import soon
from tusserver.errors import StoreMismatch, UploadLocked
from tusserver.ports import Outcome, Verb
from tusserver.storage import leases as leases_module
from tusserver.storage.wake import DatagramMailbox


@pytest.fixture
async def upload(storage):
    """An upload that nobody holds."""
    made = make_upload(epoch=storage.epoch)
    await (await storage.create(made, sync=False)).release()
    return made


@pytest.fixture
async def other(tmp_path, storage):
    """A second storage on the same directory."""
    async with opened(tmp_path, mailbox="w11111111") as made:
        yield made


async def test_a_free_lease_is_taken_and_names_the_upload(storage, upload):
    lease = await take(storage, upload.upload_id)
    assert lease.upload_id == upload.upload_id
    await lease.release()


async def test_without_a_data_file_there_is_no_lease(storage, upload):
    data_path(storage._places.root, upload.upload_id).unlink()
    assert await take(storage, upload.upload_id) is None
    assert await take(storage, make_upload().upload_id) is None


async def test_two_storages_exclude_each_other(storage, other, upload):
    lease = await take(storage, upload.upload_id)
    with pytest.raises(UploadLocked):
        await take(other, upload.upload_id)
    await lease.release()
    await (await take(other, upload.upload_id)).release()


async def test_one_storage_excludes_itself(storage, upload):
    lease = await take(storage, upload.upload_id)
    with pytest.raises(UploadLocked):
        await take(storage, upload.upload_id)
    await lease.release()


async def test_nothing_is_recorded_under_a_lease_that_was_let_go(storage, upload):
    lease = await take(storage, upload.upload_id)
    await lease.release()
    before = ledger_path(storage._places.root, upload.upload_id).read_bytes()
    with pytest.raises(RuntimeError, match="let go"):
        await storage.record(lease, upload.next(offset=0), sync=True)
    assert ledger_path(storage._places.root, upload.upload_id).read_bytes() == before


async def test_the_lease_of_a_new_upload_is_held(storage, other):
    upload = make_upload()
    lease = await storage.create(upload, sync=False)
    with pytest.raises(UploadLocked):
        await take(other, upload.upload_id)
    await lease.release()


async def test_releasing_twice_does_nothing_to_the_next_holder(storage, other, upload):
    lease = await take(storage, upload.upload_id)
    await lease.release()
    successor = await take(other, upload.upload_id)
    await lease.release()
    with pytest.raises(UploadLocked):
        await take(storage, upload.upload_id)
    await successor.release()


async def test_the_ledger_names_the_holder_while_it_holds(storage, other, upload):
    assert (await other.peek(upload.upload_id)).holder is None
    before = datetime.now(UTC)
    lease = await take(storage, upload.upload_id)
    holder = (await other.peek(upload.upload_id)).holder
    assert (holder.pid, holder.mailbox) == (os.getpid(), "w00000000")
    assert timedelta() <= holder.since - before < timedelta(seconds=5)
    assert (await storage.peek(upload.upload_id)).holder == holder
    await lease.release()
    assert (await other.peek(upload.upload_id)).holder is None


async def test_who_is_contended_is_told_the_holder_and_takes_what_it_lets_go(
    storage, other, upload
):
    lease = await take(storage, upload.upload_id)
    asked = []

    async def ask(holder):
        asked.append(holder.mailbox)
        await lease.release()

    successor = await take(other, upload.upload_id, on_contended=ask)
    assert successor is not None
    assert asked == ["w00000000"]
    await successor.release()


async def test_a_holder_is_asked_again_until_time_is_up_without_busy_waiting(
    storage, other, upload, caplog
):
    lease = await take(storage, upload.upload_id)
    asked = []

    async def ask(holder):
        asked.append(holder)

    loop = asyncio.get_running_loop()
    start = loop.time()
    with caplog.at_level(logging.WARNING), pytest.raises(UploadLocked):
        await take(other, upload.upload_id, timeout=2, on_contended=ask)
    assert 2 <= loop.time() - start < 10
    assert 3 <= len(asked) <= 20
    assert f"process {os.getpid()} holds it since 20" in caplog.text
    await lease.release()


async def test_what_the_asking_raises_ends_the_attempt(storage, other, upload):
    lease = await take(storage, upload.upload_id)

    async def refuse(_holder):
        raise UploadLocked("a hook runs")

    with pytest.raises(UploadLocked, match="a hook runs"):
        await take(other, upload.upload_id, timeout=5, on_contended=refuse)
    await lease.release()


async def test_who_waited_for_an_upload_that_was_removed_gets_none(storage, other, upload):
    lease = await take(storage, upload.upload_id)

    async def remove(_holder):
        await storage.remove(lease)

    assert await take(other, upload.upload_id, timeout=1, on_contended=remove) is None


async def test_a_lock_on_a_file_that_lost_its_name_meanwhile_counts_for_nothing(
    storage, upload, monkeypatch
):
    path = data_path(storage._places.root, upload.upload_id)
    real, swapped = leases_module.lock, []

    def lock_late(descriptor):
        if not swapped:
            swapped.append(descriptor)
            path.rename(path.with_name("gone"))
            path.write_bytes(bytes(1000))
        return real(descriptor)

    monkeypatch.setattr(leases_module, "lock", lock_late)
    lease = await take(storage, upload.upload_id)
    assert os.fstat(lease.descriptor).st_ino == path.stat().st_ino
    await lease.release()


async def test_a_ledger_of_another_store_gives_no_lease_and_keeps_no_lock(storage, upload):
    path = ledger_path(storage._places.root, upload.upload_id)
    whole = path.read_bytes()
    store_json = storage._places.identity
    store_json.unlink()
    async with opened(storage._places.root) as stranger:
        with pytest.raises(StoreMismatch):
            await take(stranger, upload.upload_id)
    assert path.read_bytes() == whole
    await (await take(storage, upload.upload_id)).release()


# --- cancellation ---------------------------------------------------------------------------


async def test_a_cancelled_attempt_leaks_neither_lock_nor_file(other, upload, monkeypatch):
    """The thread takes the lock while its caller is being cancelled."""
    entered, go_on = threading.Event(), threading.Event()
    real = leases_module.lock

    def slow(descriptor):
        locked = real(descriptor)
        entered.set()
        go_on.wait(5)
        return locked

    before = open_files()
    monkeypatch.setattr(leases_module, "lock", slow)
    attempt = asyncio.create_task(take(other, upload.upload_id))
    await asyncio.to_thread(entered.wait, 5)
    attempt.cancel()
    await asyncio.sleep(0.02)
    assert not attempt.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    monkeypatch.undo()
    assert open_files() == before
    await (await take(other, upload.upload_id)).release()


async def test_a_cancelled_creation_leaves_nothing_behind(storage, tmp_path, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    real = leases_module.lock

    def slow(descriptor):
        entered.set()
        go_on.wait(5)
        return real(descriptor)

    before = open_files()
    monkeypatch.setattr(leases_module, "lock", slow)
    creation = asyncio.create_task(storage.create(make_upload(), sync=False))
    await asyncio.to_thread(entered.wait, 5)
    creation.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await creation
    assert list(tmp_path.glob("??/*")) == []
    assert open_files() == before


async def test_cancelling_a_release_does_not_stop_it(storage, other, upload, monkeypatch):
    lease = await take(storage, upload.upload_id)
    monkeypatch.setattr(storage._holdings, "_read", None)  # in a thread, as on a network
    release = asyncio.create_task(lease.release())
    await asyncio.sleep(0)
    release.cancel()
    with pytest.raises(asyncio.CancelledError):
        await release
    await (await take(other, upload.upload_id)).release()


async def test_many_attempts_cancelled_at_random_leave_the_lease_free(other, upload, monkeypatch):
    storage, before = other, open_files()
    monkeypatch.setattr(storage._holdings, "_read", None)  # in a thread, as on a network
    for pause in range(40):
        attempt = asyncio.create_task(take(storage, upload.upload_id))
        await asyncio.sleep(pause * 0.00002)
        attempt.cancel()
        try:
            await (await attempt).release()
        except asyncio.CancelledError:
            continue
    await (await take(storage, upload.upload_id)).release()
    assert open_files() == before


# --- other processes ------------------------------------------------------------------------


async def test_another_process_is_excluded_until_it_dies(storage, upload, start_worker):
    worker = start_worker("hold", upload.upload_id)
    assert (await storage.peek(upload.upload_id)).holder.pid == worker.process.pid
    with pytest.raises(UploadLocked):
        await take(storage, upload.upload_id)
    worker.kill()
    with soon():
        lease = await take(storage, upload.upload_id)
    assert (await storage.peek(upload.upload_id)).holder.pid == os.getpid()
    await lease.release()


async def test_a_holder_that_died_is_no_holder_although_it_left_its_name(
    storage, upload, start_worker
):
    worker = start_worker("hold", upload.upload_id)
    worker.kill()
    assert b"pid=" in ledger_path(storage._places.root, upload.upload_id).read_bytes()
    assert (await storage.peek(upload.upload_id)).holder is None


async def test_a_stopped_holder_times_out_and_the_log_says_who_and_since_when(
    tmp_path, storage, upload, start_worker, caplog
):
    worker = start_worker("hold", upload.upload_id)
    worker.signal(signal.SIGSTOP)
    mailbox = DatagramMailbox(tmp_path)
    await mailbox.open()
    answers = []

    async def ask(holder):
        answer = await mailbox.ask(holder.mailbox, Verb.STOP, upload.upload_id, timeout=0.3)
        answers.append(answer)

    with caplog.at_level(logging.WARNING), pytest.raises(UploadLocked):
        await take(storage, upload.upload_id, timeout=0.3, on_contended=ask)
    assert answers == [None]
    assert f"process {worker.process.pid} holds it since" in caplog.text
    worker.signal(signal.SIGCONT)
    await mailbox.close()


async def test_taking_over_a_running_append_loses_and_harms_no_byte(
    tmp_path, storage, start_worker
):
    """The holder writes until it is asked; after the lease has passed it writes nothing."""
    upload = make_upload(length=10_000_000, epoch=storage.epoch)
    await (await storage.create(upload, sync=False)).release()
    worker = start_worker("flow", upload.upload_id)
    mailbox = DatagramMailbox(tmp_path)
    await mailbox.open()
    await asyncio.sleep(0.1)

    async def ask(holder):
        answer = await mailbox.ask(holder.mailbox, Verb.STOP, upload.upload_id, timeout=2)
        assert answer.outcome is Outcome.FREE

    lease = await take(storage, upload.upload_id, timeout=2, on_contended=ask)
    # The commit came before the lock was given back.
    offset = (await storage.peek(upload.upload_id)).record.offset
    assert offset > 0
    os.pwrite(lease.descriptor, b"N" * 5000, offset)
    worker.read("released")
    await asyncio.sleep(0.05)
    data = data_path(tmp_path, upload.upload_id).read_bytes()
    assert data[:offset] == b"H" * offset
    assert data[offset : offset + 5000] == b"N" * 5000
    assert not data[offset + 5000 :].strip(b"\0")
    await lease.release()
    await mailbox.close()


# --- elections ------------------------------------------------------------------------------


async def test_one_process_of_a_store_is_elected_until_it_resigns(storage, other):
    assert await storage.elect("sweep")
    assert await storage.elect("sweep")
    assert not await other.elect("sweep")
    assert await other.elect("something else")
    await storage.resign("sweep")
    assert await other.elect("sweep")
    await storage.resign("sweep")
    assert not await storage.elect("sweep")
