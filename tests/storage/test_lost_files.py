"""Data files that are gone, or shorter than the bytes that were promised."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import data_path, take
from tusserver.errors import StateConflict, UploadLocked
from tusserver.upload import Status


@pytest.fixture
async def upload(storage):
    """An upload that nobody holds."""
    made = make_upload(epoch=storage.epoch)
    await (await storage.create(made, sync=False)).release()
    return made


async def test_a_record_without_its_file_gets_an_empty_one(storage, tmp_path, upload):
    path = data_path(tmp_path, upload.upload_id)
    path.unlink()
    lease = await storage.revive(upload)
    assert path.stat().st_size == 1000
    assert (await storage.peek(upload.upload_id)).record == upload
    with pytest.raises(UploadLocked):
        await take(storage, upload.upload_id)
    await lease.release()


async def test_a_record_that_only_the_state_store_had_gets_a_ledger_too(storage):
    upload = make_upload()
    lease = await storage.revive(upload)
    assert (await storage.peek(upload.upload_id)).record == upload
    await lease.release()


async def test_a_file_that_is_there_is_not_revived(storage, upload):
    assert await storage.revive(upload) is None


async def test_reviving_never_goes_back_behind_the_ledger(storage, tmp_path, upload):
    lease = await take(storage, upload.upload_id)
    await storage.record(lease, upload.next(), sync=False)
    await lease.release()
    path = data_path(tmp_path, upload.upload_id)
    path.unlink()
    with pytest.raises(StateConflict):
        await storage.revive(upload)
    assert not path.exists()
    assert (await storage.peek(upload.upload_id)).record == upload.next()


async def test_a_crash_between_reviving_and_marking_invalid_serves_no_wrong_byte(
    storage, tmp_path, upload, caplog
):
    """Bytes were stored, the file is lost, its empty successor is there, the process dies."""
    lease = await take(storage, upload.upload_id)
    record = upload.next(offset=500)
    await storage.record(lease, record, sync=False)
    await lease.release()
    data_path(tmp_path, upload.upload_id).unlink()
    lease = await storage.revive(record)
    await lease.release()
    with caplog.at_level(logging.ERROR):
        lease = await take(storage, upload.upload_id)
    found = (await storage.peek(upload.upload_id)).record
    assert (found.status, found.version) == (Status.INVALID, 3)
    assert "500 were stored" in caplog.text
    await lease.release()


async def test_a_file_that_was_cut_is_invalid(storage, tmp_path, upload):
    lease = await take(storage, upload.upload_id)
    await storage.record(lease, upload.next(offset=500), sync=False)
    await lease.release()
    os.truncate(data_path(tmp_path, upload.upload_id), 499)
    await (await take(storage, upload.upload_id)).release()
    assert (await storage.peek(upload.upload_id)).record.status is Status.INVALID


@pytest.mark.parametrize(
    ("epoch", "synced", "status"),
    [(None, 0, Status.INVALID), ("before", 0, Status.OPEN), ("before", 500, Status.INVALID)],
    ids=["this boot", "never synced", "synced before"],
)
async def test_after_a_power_cut_only_synced_bytes_count_as_promised(
    storage, tmp_path, epoch, synced, status
):
    upload = make_upload(epoch=epoch or storage.epoch)
    lease = await storage.create(upload, sync=False)
    await storage.record(lease, upload.next(offset=600, synced=synced), sync=False)
    await lease.release()
    os.truncate(data_path(tmp_path, upload.upload_id), 0)
    await (await take(storage, upload.upload_id)).release()
    assert (await storage.peek(upload.upload_id)).record.status is status


async def test_a_final_upload_that_is_not_assembled_promises_no_byte_of_its_own(storage, tmp_path):
    upload = make_upload(epoch=storage.epoch, assembled=False)
    lease = await storage.create(upload, sync=False)
    complete = replace(upload, offset=1000, status=Status.COMPLETE, version=2)
    await storage.record(lease, complete, sync=False)
    await lease.release()
    os.truncate(data_path(tmp_path, upload.upload_id), 0)
    await (await take(storage, upload.upload_id)).release()
    assert (await storage.peek(upload.upload_id)).record == complete
