"""Files that stay open after their lease was let go: quick, and never believed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import data_path, ledger_path, open_files, opened, take
from tusserver.errors import UploadLocked
from tusserver.storage import holding
from tusserver.storage.pool import TimedWriter
from tusserver.upload import Status, new_upload_id

# Files stay open, and no thread is used, only while the disk is quick.
pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
async def upload(storage):
    """An upload that was just made, and that nobody holds."""
    made = make_upload(epoch=storage.epoch)
    await (await storage.create(made, sync=False)).release()
    return made


@pytest.fixture
async def other(tmp_path, storage):
    """A second storage on the same directory."""
    async with opened(tmp_path, mailbox="w11111111") as made:
        yield made


@pytest.fixture
def no_threads(storage, monkeypatch):
    """No call goes to a thread."""

    async def refuse(_function, **_options):
        raise AssertionError("a thread was used")

    def forbid():
        monkeypatch.setattr(storage._pool, "run", refuse)

    if storage._holdings._read is None:
        pytest.skip("this file system cannot read without waiting")
    return forbid


def kept(storage, upload):
    return upload.upload_id in storage._holdings._spares


async def test_a_small_upload_needs_no_thread_once_it_is_made(storage, upload, no_threads):
    no_threads()
    assert (await storage.peek(upload.upload_id)).record == upload
    lease = await take(storage, upload.upload_id)
    assert (await storage.peek(upload.upload_id)).holder.mailbox == "w00000000"
    done = upload.next(offset=1000, status=Status.COMPLETE)
    await storage.trim(lease, 1000)
    await storage.record(lease, done, sync=False)
    await lease.release()
    peek = await storage.peek(upload.upload_id)
    assert (peek.record, peek.holder) == (done, None)


async def test_what_another_process_wrote_is_read(storage, other, upload):
    for version in range(2, 7):
        lease = await take(other, upload.upload_id)
        assert (await storage.peek(upload.upload_id)).holder.mailbox == "w11111111"
        changed = make_upload(
            upload_id=upload.upload_id, epoch=upload.epoch, version=version, offset=version
        )
        await other.record(lease, changed, sync=False)
        assert (await storage.peek(upload.upload_id)).record == changed
        await lease.release()
        peek = await storage.peek(upload.upload_id)
        assert (peek.record, peek.holder) == (changed, None)
        assert kept(storage, upload)


async def test_who_holds_it_elsewhere_is_not_overlooked(storage, other, upload):
    lease = await take(other, upload.upload_id)
    with pytest.raises(UploadLocked):
        await take(storage, upload.upload_id)
    await lease.release()
    lease = await take(storage, upload.upload_id)
    with pytest.raises(UploadLocked):
        await take(other, upload.upload_id)
    await lease.release()
    await (await take(other, upload.upload_id)).release()


async def test_what_another_process_removed_is_gone(storage, other, upload):
    assert kept(storage, upload)
    await other.remove(await take(other, upload.upload_id))
    peek = await storage.peek(upload.upload_id)
    assert (peek.record, peek.holder) == (None, None)
    assert await take(storage, upload.upload_id) is None


async def test_a_removal_that_a_crash_broke_off_is_not_written_into(storage, other, upload):
    lease = await take(other, upload.upload_id)
    await other.record(lease, upload.next(status=Status.REMOVED), sync=False)
    await lease.release()
    assert (await storage.peek(upload.upload_id)).record.status is Status.REMOVED
    lease = await take(storage, upload.upload_id)
    assert lease.ledger.record.status is Status.REMOVED
    await lease.release()


async def test_a_file_that_took_the_name_is_the_one_that_is_written(storage, tmp_path, upload):
    path = data_path(tmp_path, upload.upload_id)
    new = tmp_path / "new"
    new.write_bytes(bytes(1000))
    new.replace(path)
    lease = await take(storage, upload.upload_id)
    assert path.samefile(f"/proc/self/fd/{lease.descriptor}")
    await lease.release()


async def test_a_ledger_that_took_the_name_is_the_one_that_is_read(
    storage, other, tmp_path, upload
):
    path = ledger_path(tmp_path, upload.upload_id)
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    lease = await take(other, upload.upload_id)
    second = upload.next(offset=7)
    await other.record(lease, second, sync=False)
    await lease.release()
    assert (await storage.peek(upload.upload_id)).record == second


async def test_a_data_file_that_was_cut_makes_its_upload_invalid(storage, tmp_path, upload):
    lease = await take(storage, upload.upload_id)
    await storage.record(lease, upload.next(offset=500), sync=False)
    await lease.release()
    assert kept(storage, upload)
    data_path(tmp_path, upload.upload_id).open("wb").close()
    lease = await take(storage, upload.upload_id)
    assert lease.ledger.record.status is Status.INVALID
    await lease.release()


@pytest.mark.parametrize("damage", [b"", b"torn" * 128], ids=["cut", "overwritten"])
async def test_a_damaged_ledger_is_not_believed_from_memory(storage, tmp_path, upload, damage):
    path = ledger_path(tmp_path, upload.upload_id)
    with path.open("r+b") as ledger:
        if damage:
            ledger.write(damage + damage)
        else:
            ledger.truncate(0)
    assert (await storage.peek(upload.upload_id)).record is None


async def test_on_a_disk_that_is_slow_files_are_opened_in_threads(storage, upload, monkeypatch):
    monkeypatch.setattr(TimedWriter, "_may_write", lambda *_: False)
    lease = await take(storage, upload.upload_id)
    assert (await storage.peek(upload.upload_id)).record == upload
    await lease.release()
    assert not kept(storage, upload)


async def test_only_so_many_files_stay_open_and_not_for_long(storage, monkeypatch):
    monkeypatch.setattr(storage._holdings, "_room", 4)
    monkeypatch.setattr(holding, "CLOSED_AT_ONCE", 1)
    before = open_files()
    for _ in range(40):
        await (await storage.create(make_upload(epoch=storage.epoch), sync=False)).release()
    assert len(storage._holdings._spares) <= 4
    monkeypatch.setattr(holding, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(holding, "LOOK_SECONDS", 0.01)
    storage._holdings._tend()
    async with asyncio.timeout(10):
        while open_files() > before:  # noqa: ASYNC110 - a thread closes them
            await asyncio.sleep(0.01)


async def test_a_closed_storage_leaves_no_file_open(tmp_path):
    before = open_files()
    async with opened(tmp_path / "own") as storage:
        for _ in range(3):
            await (await storage.create(make_upload(epoch=storage.epoch), sync=False)).release()
    assert open_files() == before
    assert threading.active_count() < 10


async def test_an_upload_that_is_not_there_is_asked_for_in_a_thread(storage):
    assert (await storage.peek(new_upload_id())).record is None
