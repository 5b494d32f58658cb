"""The ledger's file: written under the lease, read by anybody at any moment."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import data_path, ledger_path, opened, take
from tusserver.errors import StateConflict, StorageFault
from tusserver.storage import ledgerfile, pins
from tusserver.storage.ledger import FIXED_AT, SECTOR, format_slot, slot_at
from tusserver.storage.ledgerfile import LedgerReader
from tusserver.upload import EventState, Kind, Status, new_upload_id


@pytest.fixture
async def upload(storage):
    return make_upload(epoch=storage.epoch, metadata="filename d29ybGQ=")


@pytest.fixture
async def lease(storage, upload):
    made = await storage.create(upload, sync=False)
    yield made
    await made.release()


async def recorded(storage, upload):
    return (await storage.peek(upload.upload_id)).record


@pytest.mark.parametrize("sync", [False, True], ids=["unsynced", "synced"])
async def test_a_created_upload_is_recorded(storage, tmp_path, sync):
    upload = make_upload(
        kind=Kind.FINAL, parts=(new_upload_id(), new_upload_id()), concat="final;a b"
    )
    lease = await storage.create(upload, sync=sync)
    assert await recorded(storage, upload) == upload
    assert data_path(tmp_path, upload.upload_id).stat().st_size == 1000
    await lease.release()
    async with opened(tmp_path) as again:
        assert await recorded(again, upload) == upload


async def test_an_upload_that_was_never_made_has_no_record(storage):
    peek = await storage.peek(new_upload_id())
    assert (peek.record, peek.holder) == (None, None)


async def test_files_of_uploads_are_not_for_everybody(storage, tmp_path, upload, lease):
    for path in (data_path(tmp_path, upload.upload_id), ledger_path(tmp_path, upload.upload_id)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    shard = data_path(tmp_path, upload.upload_id).parent
    assert stat.S_IMODE(shard.stat().st_mode) & 0o027 == 0


@pytest.mark.parametrize("sync", [False, True], ids=["unsynced", "synced"])
async def test_each_commit_is_read_back_at_once(storage, upload, lease, sync):
    for changes in (
        {"offset": 5, "synced": 3},
        {"expires_at": upload.created_at},
        {"length": 900},
        {"offset": 900, "status": Status.COMPLETE, "event": EventState.PENDING, "event_id": "e"},
        {"event": EventState.SENT},
        {"status": Status.REMOVED},
    ):
        upload = upload.next(**changes)
        await storage.record(lease, upload, sync=sync)
        assert await recorded(storage, upload) == upload


async def test_what_crashed_in_the_middle_of_a_commit_leaves_the_one_before(
    storage, tmp_path, upload, lease
):
    second = upload.next(offset=5)
    await storage.record(lease, second, sync=False)
    path = ledger_path(tmp_path, upload.upload_id)
    torn = format_slot(second.next(offset=9))[:300]
    with path.open("r+b") as ledger:
        ledger.seek(slot_at(3))
        ledger.write(torn)
    assert await recorded(storage, upload) == second


async def test_after_a_torn_slot_commits_go_on(storage, tmp_path, upload, lease):
    await storage.record(lease, upload.next(offset=5), sync=False)
    await lease.release()
    path = ledger_path(tmp_path, upload.upload_id)
    with path.open("r+b") as ledger:
        ledger.seek(slot_at(2))
        ledger.write(b"torn")
    lease = await take(storage, upload.upload_id)
    assert await recorded(storage, upload) == upload
    for version in range(2, 6):
        now = replace(upload, offset=version, version=version)
        await storage.record(lease, now, sync=False)
        assert await recorded(storage, upload) == now
    await lease.release()


async def test_readers_never_see_anything_but_whole_records_in_order(
    storage, tmp_path, upload, lease
):
    """A reader in a thread of its own, as fast as it can, while commits are written."""
    path, reader = ledger_path(tmp_path, upload.upload_id), LedgerReader(storage.store_id)
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            ledger, _ = reader.read(path, upload.upload_id)
            seen.append((ledger.record.version, ledger.record.offset))

    reading = asyncio.create_task(asyncio.to_thread(read))
    await asyncio.sleep(0.01)
    for version in range(2, 90_000):
        await storage.record(lease, replace(upload, version=version, offset=version), sync=False)
        if version % 10 == 0:
            await asyncio.sleep(0)
            # On a busy machine the reader gets its turn late.
            if version >= 900 and len(set(seen)) > 3:
                break
    await asyncio.sleep(0.01)
    done.set()
    await reading
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert all(version in (1, offset) for version, offset in seen)


async def test_the_same_version_again_replaces_it(storage, upload, lease):
    second = upload.next(offset=5)
    await storage.record(lease, second, sync=False)
    fallen = replace(second, offset=3)
    await storage.record(lease, fallen, sync=False)
    assert await recorded(storage, upload) == fallen


async def test_a_version_that_was_left_out_does_not_put_the_newest_at_risk(
    storage, tmp_path, upload, lease, monkeypatch
):
    """Redis had a newer record: version 3 follows 1, whose slot it would be written over."""
    third = replace(upload, version=3, offset=7)
    real, writes = ledgerfile.write_all, []

    def torn_then_real(descriptor, data, offset):
        writes.append(offset)
        real(descriptor, data[:200] if len(writes) == 1 else data, offset)
        if len(writes) == 1:
            assert (
                LedgerReader(storage.store_id)
                .read(ledger_path(tmp_path, upload.upload_id), upload.upload_id)[0]
                .record
                == upload
            )
            real(descriptor, data, offset)

    monkeypatch.setattr(ledgerfile, "write_all", torn_then_real)
    await storage.record(lease, third, sync=True)
    assert writes == [slot_at(2), slot_at(3)]
    assert await recorded(storage, upload) == third
    fourth = third.next(offset=8)
    await storage.record(lease, fourth, sync=True)
    assert writes[2:] == [slot_at(4)]
    assert await recorded(storage, upload) == fourth


async def test_an_older_version_is_refused(storage, upload, lease):
    second = upload.next(offset=5)
    await storage.record(lease, second, sync=False)
    with pytest.raises(StateConflict):
        await storage.record(lease, upload, sync=False)
    assert await recorded(storage, upload) == second


async def test_a_record_whose_sync_failed_does_not_count(storage, upload, lease, monkeypatch):
    second = upload.next(offset=5)
    await storage.record(lease, second, sync=True)

    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    third = second.next(offset=9)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StorageFault):
        await storage.record(lease, third, sync=True)
    monkeypatch.undo()
    assert await recorded(storage, upload) == second
    await storage.record(lease, replace(third, offset=6), sync=True)
    assert (await recorded(storage, upload)).offset == 6


@pytest.mark.parametrize("damage", ["missing", "empty", "zeros", "text"])
async def test_a_lost_or_damaged_ledger_is_no_record_and_is_written_anew(
    storage, tmp_path, upload, lease, *, damage, caplog
):
    await lease.release()
    path = ledger_path(tmp_path, upload.upload_id)
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "zeros":
            path.write_bytes(bytes(2000))
        case "text":
            path.write_text("what is this\n" * 200)
    with caplog.at_level(logging.WARNING):
        assert await recorded(storage, upload) is None
        assert await recorded(storage, upload) is None
    assert len(caplog.records) == (damage != "missing")
    taken = await take(storage, upload.upload_id)
    second = upload.next(offset=5)
    await storage.record(taken, second, sync=False)
    assert await recorded(storage, upload) == second
    third = second.next(offset=6)
    await storage.record(taken, third, sync=False)
    peek = await storage.peek(upload.upload_id)
    assert (peek.record, peek.holder.mailbox) == (third, "w00000000")
    await taken.release()


async def test_a_change_of_what_is_fixed_writes_the_whole_ledger(storage, upload, lease):
    second = upload.next(metadata="other")
    await storage.record(lease, second, sync=False)
    assert await recorded(storage, upload) == second
    third = second.next(offset=3)
    await storage.record(lease, third, sync=False)
    assert await recorded(storage, upload) == third


async def test_a_read_that_two_commits_passed_beneath_is_made_again(
    storage, tmp_path, upload, lease, monkeypatch
):
    real, reads = ledgerfile.read_file, []

    def torn_at_first(path):
        reads.append(path)
        whole = real(path)
        return bytes(2 * SECTOR) + whole[2 * SECTOR :] if len(reads) < 3 else whole

    monkeypatch.setattr(ledgerfile, "read_file", torn_at_first)
    assert await recorded(storage, upload) == upload


async def test_with_both_slots_damaged_there_is_no_record_and_no_guess(
    storage, tmp_path, upload, lease, caplog
):
    path = ledger_path(tmp_path, upload.upload_id)
    with path.open("r+b") as ledger:
        ledger.write(bytes(2 * SECTOR))
    with caplog.at_level(logging.WARNING):
        assert await recorded(storage, upload) is None
    assert "both slots" in caplog.text
    await storage.record(lease, upload.next(offset=1), sync=False)
    assert (await recorded(storage, upload)).offset == 1


async def test_a_ledger_can_be_read_by_people(storage, tmp_path, upload, lease):
    await storage.record(lease, upload.next(offset=5), sync=False)
    text = ledger_path(tmp_path, upload.upload_id).read_text("ascii")
    for word in ("offset=5", "length=1000", f"pid={os.getpid()}", "filename d29ybGQ="):
        assert word in text
    assert "\0" not in text
    assert text.count("\n") == 5
    assert text[FIXED_AT - 1] == "\n"


async def test_a_lease_of_another_storage_is_a_mistake_of_the_caller(storage, upload):
    with pytest.raises(TypeError):
        await storage.record(object(), upload, sync=False)


# --- removal --------------------------------------------------------------------------------


async def test_removing_deletes_data_ledger_and_pins_and_ends_the_lease(
    storage, tmp_path, upload, lease
):
    final_id = new_upload_id()
    await storage.pin(upload.upload_id, final_id, sync=True)
    bystander = make_upload(upload_id=upload.upload_id[:2] + new_upload_id()[2:])
    await (await storage.create(bystander, sync=False)).release()
    await storage.remove(lease)
    assert not data_path(tmp_path, upload.upload_id).exists()
    assert not ledger_path(tmp_path, upload.upload_id).exists()
    assert await storage.pins(upload.upload_id) == ()
    assert await recorded(storage, bystander) == bystander
    assert await take(storage, upload.upload_id) is None
    await storage.remove(lease)


async def test_the_data_goes_before_the_ledger(storage, tmp_path, upload, lease, monkeypatch):
    """What a crash leaves is a ledger with the removal mark, never data that nobody knows."""
    removed = upload.next(status=Status.REMOVED)
    await storage.record(lease, removed, sync=False)
    unlinked = []
    path_type = type(tmp_path)
    real = path_type.unlink

    def unlink(path, *args, **kwargs):
        unlinked.append(path.name)
        real(path, *args, **kwargs)

    monkeypatch.setattr(path_type, "unlink", unlink)
    await storage.remove(lease)
    assert unlinked == [upload.upload_id, f"{upload.upload_id}.meta"]


# --- pins -----------------------------------------------------------------------------------


async def test_pins_are_noted_told_and_taken_back(storage, tmp_path):
    part, first, second = sorted(new_upload_id() for _ in range(3))
    assert await storage.pins(part) == ()
    for final in (second, first, second):
        await storage.pin(part, final, sync=False)
    assert await storage.pins(part) == (first, second)
    async with opened(tmp_path) as other:
        assert await other.pins(part) == (first, second)
    await storage.unpin(part, first)
    assert await storage.pins(part) == (second,)
    await storage.unpin(part, second)
    await storage.unpin(part, second)
    assert await storage.pins(part) == ()
    assert list((tmp_path / ".tusserver" / "pins").iterdir()) == []


async def test_a_pin_survives_that_the_last_other_one_is_taken_back_in_between(
    storage, tmp_path, monkeypatch
):
    part, final = new_upload_id(), new_upload_id()
    real, made = pins.make_directory, []

    def vanishing(path, *, mode):
        real(path, mode=mode)
        made.append(path)
        if len(made) == 1:
            path.rmdir()

    monkeypatch.setattr(pins, "make_directory", vanishing)
    await storage.pin(part, final, sync=True)
    assert await storage.pins(part) == (final,)


async def test_pinning_and_unpinning_at_once_loses_no_pin(storage):
    part = new_upload_id()
    kept = [new_upload_id() for _ in range(20)]
    passing = [new_upload_id() for _ in range(20)]
    for final in passing:
        await storage.pin(part, final, sync=False)
    await asyncio.gather(
        *(storage.unpin(part, final) for final in passing),
        *(storage.pin(part, final, sync=False) for final in kept),
    )
    assert await storage.pins(part) == tuple(sorted(kept))


async def test_a_pin_survives_that_its_directory_goes_while_it_is_looked_at(
    storage, tmp_path, monkeypatch
):
    part, other, final = new_upload_id(), new_upload_id(), new_upload_id()
    await storage.pin(part, other, sync=False)
    real = Path.is_dir

    def late(path, *args, **kwargs):
        if path.name == part:
            pins.unpin(path.parent, part, other)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "is_dir", late)
    await storage.pin(part, final, sync=True)
    assert await storage.pins(part) == (final,)
