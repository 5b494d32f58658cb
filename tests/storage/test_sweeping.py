"""Listing what is there, and deleting what belongs to nobody."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import data_path, ledger_path, opened, take
from tusserver.errors import StorageFault
from tusserver.storage import sweeping
from tusserver.storage.ledger import SECTOR, format_ledger
from tusserver.storage.ledgerfile import LedgerReader
from tusserver.storage.pool import FilePool
from tusserver.upload import Status, UploadId, new_upload_id

DAY = 86_400.0


async def create(storage, **fields):
    upload = make_upload(**fields)
    await (await storage.create(upload, sync=False)).release()
    return upload


async def record(storage, upload):
    lease = await take(storage, upload.upload_id)
    await storage.record(lease, upload, sync=False)
    await lease.release()


def age(directory, *upload_ids, seconds=2 * DAY):
    """Make files look as if they had not been touched for long."""
    for upload_id in upload_ids:
        for path in (data_path(directory, upload_id), ledger_path(directory, upload_id)):
            if path.exists():
                os.utime(path, (time.time() - seconds, time.time() - seconds))


def in_shard(shard, number=None):
    """Make an id that lies in a directory, at a place among others."""
    made = new_upload_id()
    return UploadId(shard + made[2:] if number is None else f"{shard}{number:02x}{made[4:]}")


def by_id(upload):
    return upload.upload_id


def present(directory):
    return {path.name for path in directory.glob("??/*")}


# --- scan -----------------------------------------------------------------------------------


async def pages(storage, limit, *, gently=False):
    found, after = [], None
    while page := await storage.scan(after, limit, gently=gently):
        assert len(page) <= limit
        found += page
        after = page[-1].upload_id
    return found


@pytest.mark.parametrize("gently", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 7, 12, 1000])
async def test_all_records_are_listed_once_in_the_order_of_their_ids(storage, limit, gently):
    uploads = [await create(storage) for _ in range(12)]
    uploads += [
        await create(storage, upload_id=UploadId("ab" + new_upload_id()[2:])) for _ in range(12)
    ]
    uploads.sort(key=lambda upload: upload.upload_id)
    assert await pages(storage, limit, gently=gently) == uploads
    ids = await storage.scan_ids(None, 1000)
    assert ids == [upload.upload_id for upload in uploads]
    assert await storage.scan_ids(ids[4], 3) == ids[5:8]


async def test_an_empty_store_lists_nothing(storage):
    assert await storage.scan(None, 10) == []


async def test_what_is_no_valid_record_is_passed_over_and_does_not_end_the_list(
    storage, tmp_path, caplog
):
    uploads = sorted([await create(storage) for _ in range(9)], key=lambda found: found.upload_id)
    for upload in uploads[:5]:
        ledger_path(tmp_path, upload.upload_id).write_bytes(b"damaged")
    (tmp_path / "not a shard").mkdir()
    (tmp_path / "00").mkdir(exist_ok=True)
    (tmp_path / "00" / "stranger.meta").write_text("x")
    (tmp_path / "0f").write_text("a file") if not (tmp_path / "0f").exists() else None
    assert await pages(storage, 2) == uploads[5:]
    assert await pages(storage, 2) == uploads[5:]
    assert len(caplog.records) == 5


async def test_a_record_that_cannot_be_read_ends_neither_the_list_nor_the_tidying(
    storage, tmp_path, caplog
):
    uploads = sorted([await create(storage) for _ in range(5)], key=by_id)
    broken, gone = uploads[1], uploads[3]
    ledger_path(tmp_path, broken.upload_id).unlink()
    ledger_path(tmp_path, broken.upload_id).mkdir()
    ledger_path(tmp_path, gone.upload_id).unlink()
    age(tmp_path, broken.upload_id, gone.upload_id)
    left = [upload for upload in uploads if upload not in (broken, gone)]
    for _ in range(3):
        assert await pages(storage, 2) == left
    assert caplog.text.count("Is a directory") == 1
    assert "check who may read the file" in caplog.text
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert broken.upload_id in present(tmp_path)
    assert gone.upload_id not in present(tmp_path)


async def test_a_machine_that_can_open_no_more_files_ends_the_list(storage, monkeypatch):
    await create(storage)

    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(LedgerReader, "read", refuse)
    with pytest.raises(StorageFault):
        await pages(storage, 2)


@pytest.fixture
def looks(monkeypatch):
    """Count how often each directory is listed."""
    looks = Counter()
    names = sweeping._names

    def counted(directory):
        looks[directory.name] += 1
        return names(directory)

    monkeypatch.setattr(sweeping, "_names", counted)
    return looks


async def test_a_directory_is_listed_once_however_small_the_pages_are(storage, looks):
    uploads = [await create(storage, upload_id=in_shard("ab")) for _ in range(20)]
    uploads += [await create(storage, upload_id=in_shard("cd")) for _ in range(20)]
    found = await pages(storage, 3)
    assert len(found) == len(uploads)
    assert looks == {"ab": 1, "cd": 1}


async def test_many_who_read_on_keep_no_list_each_for_ever(storage, looks):
    uploads = [await create(storage, upload_id=in_shard("ab")) for _ in range(40)]
    for upload in sorted(uploads, key=by_id)[:-1]:
        await storage.scan_ids(upload.upload_id, 1)
    assert len(storage._scanner._rests) == sweeping.RESTS


async def test_who_reads_on_later_gets_what_was_made_meanwhile(storage, monkeypatch):
    first, _, third = [await create(storage, upload_id=in_shard("ab", n)) for n in (1, 2, 7)]
    page = await storage.scan_ids(None, 1)
    monkeypatch.setattr(sweeping, "GOOD_FOR", 0.0)
    made = await create(storage, upload_id=in_shard("ab", 3))
    rest = await storage.scan_ids(page[-1], 10)
    assert page == [first.upload_id]
    assert rest[1:] == [made.upload_id, third.upload_id]


async def test_what_was_removed_after_its_directory_was_listed_is_not_given(storage):
    uploads = [await create(storage, upload_id=in_shard("ab", n)) for n in (1, 2, 7)]
    page = await storage.scan(None, 1)
    lease = await take(storage, uploads[1].upload_id)
    await storage.remove(lease)
    assert await storage.scan(page[-1].upload_id, 10) == [uploads[2]]


async def test_who_reads_gently_goes_to_a_thread_few_times(storage, monkeypatch):
    runs = Counter()
    run = FilePool.run

    async def counted(pool, function, **options):
        runs["all"] += 1
        return await run(pool, function, **options)

    for _ in range(200):
        await create(storage)
    monkeypatch.setattr(sweeping, "SLICE", 0.0)
    monkeypatch.setattr(FilePool, "run", counted)
    assert len(await storage.scan(None, 200)) == 200
    hasty = runs.pop("all")
    assert len(await storage.scan(None, 200, gently=True)) == 200
    assert hasty >= 200
    assert runs["all"] < hasty / 4


# --- orphans --------------------------------------------------------------------------------


async def test_uploads_are_never_swept_however_old(storage, tmp_path):
    statuses = [Status.OPEN, Status.COMPLETE, Status.INVALID]
    for status in statuses:
        offset = 1000 if status is Status.COMPLETE else 0
        upload = await create(storage, status=status, offset=offset)
        age(tmp_path, upload.upload_id)
    before = present(tmp_path)
    assert await storage.sweep_orphans(older_than=DAY) == 0
    assert present(tmp_path) == before


async def test_data_without_a_ledger_is_deleted_when_it_is_old(storage, tmp_path):
    old, young = await create(storage), await create(storage)
    for upload in (old, young):
        ledger_path(tmp_path, upload.upload_id).unlink()
    age(tmp_path, old.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert present(tmp_path) == {young.upload_id}


async def test_data_with_a_ledger_that_is_no_ledger_is_deleted_with_it(storage, tmp_path):
    upload = await create(storage)
    ledger_path(tmp_path, upload.upload_id).write_bytes(b"")
    age(tmp_path, upload.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert present(tmp_path) == set()


async def test_a_ledger_that_is_no_ledger_and_has_no_data_is_deleted(storage, tmp_path):
    upload = await create(storage)
    data_path(tmp_path, upload.upload_id).unlink()
    ledger_path(tmp_path, upload.upload_id).write_bytes(b"")
    age(tmp_path, upload.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert present(tmp_path) == set()


async def test_a_record_without_data_stays_unless_it_was_removed(storage, tmp_path):
    kept, removed = await create(storage), await create(storage)
    await record(storage, removed.next(status=Status.REMOVED))
    for upload in (kept, removed):
        data_path(tmp_path, upload.upload_id).unlink()
        age(tmp_path, upload.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert present(tmp_path) == {f"{kept.upload_id}.meta"}


async def test_a_removal_that_a_crash_broke_off_is_finished(storage, tmp_path):
    upload = await create(storage)
    await record(storage, upload.next(status=Status.REMOVED))
    await storage.pin(upload.upload_id, new_upload_id(), sync=False)
    assert await storage.sweep_orphans(older_than=DAY) == 0
    age(tmp_path, upload.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert present(tmp_path) == set()
    assert await storage.pins(upload.upload_id) == ()


async def test_what_is_locked_is_not_touched(storage, tmp_path):
    upload = await create(storage)
    ledger_path(tmp_path, upload.upload_id).unlink()
    lease = await take(storage, upload.upload_id)
    age(tmp_path, upload.upload_id)
    async with opened(tmp_path) as other:
        assert await other.sweep_orphans(older_than=DAY) == 0
    assert present(tmp_path) == {upload.upload_id}
    await lease.release()


async def test_what_the_state_store_knows_is_not_an_orphan(storage, tmp_path):
    """Its ledger is damaged, but Redis still has the record."""
    known, unknown, removed = [await create(storage) for _ in range(3)]
    await record(storage, removed.next(status=Status.REMOVED))
    for upload in (known, unknown):
        ledger_path(tmp_path, upload.upload_id).unlink()
    age(tmp_path, known.upload_id, unknown.upload_id, removed.upload_id)

    async def is_known(upload_id):
        return upload_id != unknown.upload_id

    assert await storage.sweep_orphans(older_than=DAY, known=is_known) == 2
    assert present(tmp_path) == {known.upload_id}


async def test_an_upload_with_both_slots_damaged_is_left_to_the_operator(storage, tmp_path):
    upload = await create(storage)
    with ledger_path(tmp_path, upload.upload_id).open("r+b") as ledger:
        ledger.write(bytes(2 * SECTOR))
    age(tmp_path, upload.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 0
    assert len(present(tmp_path)) == 2


async def test_an_upload_of_another_store_is_never_swept(storage, tmp_path):
    upload = await create(storage)
    removed = upload.next(status=Status.REMOVED)
    ledger_path(tmp_path, upload.upload_id).write_bytes(format_ledger(removed, "other", None))
    age(tmp_path, upload.upload_id)
    assert await storage.sweep_orphans(older_than=DAY) == 0
    assert len(present(tmp_path)) == 2


async def test_files_that_never_got_their_name_are_deleted_when_they_are_old(storage, tmp_path):
    upload = await create(storage)
    shard = data_path(tmp_path, upload.upload_id).parent
    old, young = shard / "x.meta.00000000.tmp", shard / "y.meta.00000000.tmp"
    for path in (old, young):
        path.write_text("")
    os.utime(old, (0, 0))
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert not old.exists()
    assert young.exists()


async def test_what_is_no_file_of_ours_does_not_end_the_tidying(storage, tmp_path):
    stranger, orphan = UploadId("00" * 16), UploadId("ff" * 16)
    data_path(tmp_path, stranger).mkdir(parents=True)
    data_path(tmp_path, orphan).parent.mkdir(parents=True)
    data_path(tmp_path, orphan).write_bytes(b"x")
    age(tmp_path, stranger, orphan)
    assert await storage.sweep_orphans(older_than=DAY) == 1
    assert present(tmp_path) == {stranger}


async def test_files_of_others_are_left_alone(storage, tmp_path):
    upload = await create(storage)
    shard = data_path(tmp_path, upload.upload_id).parent
    strangers = [tmp_path / "notes.txt", shard / "notes.txt", tmp_path / "zz" / ("0" * 32)]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        os.utime(path, (0, 0))
    assert await storage.sweep_orphans(older_than=DAY) == 0
    assert all(path.exists() for path in strangers)
