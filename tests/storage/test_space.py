"""Space: reserved at creation, never all of it, on real small disks where that needs one."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import (
    Count,
    FedBody,
    append,
    data_path,
    ledger_path,
    open_files,
    opened,
    take,
)
from tusserver.body import BodyEnd
from tusserver.errors import MaxSizeExceeded, StorageFull
from tusserver.storage import files
from tusserver.storage.files import free_space
from tusserver.upload import MAX_INTEGER, Kind

MIB = 1024 * 1024


def allocated(path):
    return path.stat().st_blocks * 512


def uploads_in(directory):
    return list(directory.glob("??/*"))


async def test_the_declared_length_is_reserved_at_creation(storage, tmp_path):
    upload = make_upload(length=8 * MIB)
    lease = await storage.create(upload, sync=False)
    path = data_path(tmp_path, upload.upload_id)
    assert allocated(path) >= 8 * MIB
    assert path.stat().st_size == 8 * MIB
    await lease.release()


async def test_of_a_deferred_length_64_mib_are_reserved_ahead_and_given_back(storage, tmp_path):
    upload = make_upload(length=None)
    lease = await storage.create(upload, sync=False)
    path = data_path(tmp_path, upload.upload_id)
    assert allocated(path) >= 64 * MIB
    body = FedBody(b"x" * 100)
    await append(storage, lease, body, offset=64 * MIB - 50)
    assert allocated(path) >= 128 * MIB
    await storage.trim(lease, 10)
    assert path.stat().st_size == 10
    assert allocated(path) <= 8192
    await lease.release()


async def test_not_more_is_reserved_ahead_than_may_come(storage, tmp_path):
    upload = make_upload(length=None)
    lease = await storage.create(upload, sync=False)
    await storage.trim(lease, 0)
    await append(storage, lease, FedBody(b"x"), window=5000)
    assert data_path(tmp_path, upload.upload_id).stat().st_size == 5000
    await lease.release()


async def test_an_empty_upload_and_a_final_one_of_unknown_length_reserve_nothing(storage, tmp_path):
    for upload in (make_upload(length=0), make_upload(length=None, kind=Kind.FINAL)):
        lease = await storage.create(upload, sync=False)
        assert allocated(data_path(tmp_path, upload.upload_id)) == 0
        await lease.release()


async def test_a_length_no_file_system_can_address_is_too_large_not_full(storage, tmp_path):
    before = open_files()
    with pytest.raises(MaxSizeExceeded):
        await storage.create(make_upload(length=MAX_INTEGER), sync=False)
    assert uploads_in(tmp_path) == []
    assert open_files() == before


async def test_more_than_the_disk_holds_is_refused_and_leaves_nothing(storage, tmp_path, caplog):
    before = open_files()
    more = shutil.disk_usage(tmp_path).total + 100 * MIB
    with caplog.at_level(logging.WARNING), pytest.raises(StorageFull):
        await storage.create(make_upload(length=more), sync=False)
    assert uploads_in(tmp_path) == []
    assert open_files() == before
    assert "free some space" in caplog.text


async def test_the_reserve_is_never_given_away(small_disk):
    async with opened(small_disk, reserve=free_space(small_disk) - 4 * MIB) as storage:
        await storage.check_space(2 * MIB)
        with pytest.raises(StorageFull):
            await storage.check_space(5 * MIB)
        with pytest.raises(StorageFull):
            await storage.create(make_upload(length=5 * MIB), sync=False)
        assert uploads_in(small_disk) == []


async def test_on_a_full_disk_creation_fails_whole_and_later_works(small_disk):
    async with opened(small_disk) as storage:
        first = await storage.create(make_upload(length=6 * MIB), sync=False)
        with pytest.raises(StorageFull):
            await storage.create(make_upload(length=6 * MIB), sync=False)
        assert len(uploads_in(small_disk)) == 2
        await storage.remove(first)
        await (await storage.create(make_upload(length=6 * MIB), sync=False)).release()


async def test_a_reservation_that_the_kernel_refuses_leaves_nothing(small_disk, monkeypatch):
    """Somebody else takes the space between our look at it and the reservation."""
    async with opened(small_disk) as storage:
        monkeypatch.setattr(storage._store.space, "check", lambda _needed: None)
        before = open_files()
        with pytest.raises(StorageFull):
            await storage.create(make_upload(length=20 * MIB), sync=False)
        assert uploads_in(small_disk) == []
        assert open_files() == before
        assert free_space(small_disk) > 7 * MIB


async def test_two_that_reserve_at_the_same_time_do_not_both_get_the_reserve(
    small_disk, monkeypatch
):
    async with opened(small_disk, reserve=4 * MIB) as storage:
        space, real = storage._store.space, storage._store.space.check
        # The first look passes, as it would for two at once; what counts is the second.
        monkeypatch.setattr(space, "check", lambda needed: None if needed else real(0))
        with pytest.raises(StorageFull):
            await storage.create(make_upload(length=6 * MIB), sync=False)
        assert uploads_in(small_disk) == []


async def test_a_disk_that_fills_up_under_a_deferred_upload_keeps_what_came(small_disk):
    async with opened(small_disk) as storage:
        upload = make_upload(length=MIB)
        lease = await storage.create(upload, sync=False)
        await storage.trim(lease, 0)
        body, progress = FedBody(*[b"x" * MIB] * 20, end=None), Count()
        with pytest.raises(StorageFull):
            await append(storage, lease, body, progress=progress)
        assert body.end is BodyEnd.REFUSED
        # Nothing was reserved of the 64 MiB ahead that could not be had.
        assert progress.stored == 0
        assert free_space(small_disk) > 7 * MIB
        await lease.release()


async def test_a_disk_without_room_for_a_ledger_makes_no_upload(small_disk):
    async with opened(small_disk) as storage:
        blocker = small_disk / "blocker"
        blocker.write_bytes(bytes(free_space(small_disk)))
        with pytest.raises(StorageFull):
            await storage.create(make_upload(length=0), sync=False)
        assert uploads_in(small_disk) == []
        blocker.unlink()


# --- file systems that cannot reserve -------------------------------------------------------


@pytest.fixture
def fallocate(monkeypatch):
    """Make the C library's call fail with an errno; notes its calls."""
    calls = []

    def install(*numbers):
        numbers = list(numbers)

        def call(*args):
            calls.append(args)
            ctypes.set_errno(numbers.pop(0) if len(numbers) > 1 else numbers[0])
            return -1 if ctypes.get_errno() else 0

        monkeypatch.setattr(files, "_fallocate", call)
        return calls

    return install


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS], ids=["EOPNOTSUPP", "ENOSYS"])
async def test_where_space_cannot_be_reserved_one_warning_names_the_file_system(
    tmp_path, fallocate, caplog, number
):
    calls = fallocate(number)
    with caplog.at_level(logging.WARNING):
        async with opened(tmp_path) as storage:
            for _ in range(3):
                upload = make_upload(length=MIB)
                await (await storage.create(upload, sync=False)).release()
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 1
    assert "cannot reserve" in warnings[0]
    assert storage._store.space._file_system in warnings[0]
    assert len(calls) == 1
    path = data_path(tmp_path, upload.upload_id)
    assert path.stat().st_size == MIB
    assert allocated(path) == 0


async def test_where_space_cannot_be_reserved_bytes_arrive_all_the_same(tmp_path, fallocate):
    fallocate(errno.EOPNOTSUPP)
    async with opened(tmp_path) as storage:
        for length in (1000, None):
            upload = make_upload(length=length)
            lease = await storage.create(upload, sync=False)
            assert await append(storage, lease, FedBody(b"abc"), offset=2, window=998) == 3
            await lease.release()
            assert data_path(tmp_path, upload.upload_id).read_bytes()[:5] == b"\0\0abc"
            await (await take(storage, upload.upload_id)).release()


async def test_where_space_cannot_be_reserved_the_reserve_is_watched_while_bytes_arrive(
    tmp_path, fallocate, monkeypatch
):
    fallocate(errno.EOPNOTSUPP)
    async with opened(tmp_path) as storage:
        upload = make_upload(length=1000)
        lease = await storage.create(upload, sync=False)
        monkeypatch.setattr(storage._store.space, "_reserve", free_space(tmp_path) * 2)
        with pytest.raises(StorageFull):
            await append(storage, lease, FedBody(b"abc"), window=1000)
        await lease.release()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EFBIG, MaxSizeExceeded)],
    ids=["ENOSPC", "EDQUOT", "EFBIG"],
)
async def test_a_refused_reservation_leaves_nothing(storage, tmp_path, fallocate, number, error):
    fallocate(number)
    upload = make_upload(length=MIB)
    with pytest.raises(error):
        await storage.create(upload, sync=False)
    assert not data_path(tmp_path, upload.upload_id).exists()
    assert not ledger_path(tmp_path, upload.upload_id).exists()


async def test_a_reservation_that_failed_half_way_is_taken_back(storage, tmp_path, monkeypatch):
    """As ext4 does it: what could be reserved stays, and the file is longer."""
    upload = make_upload(length=1000)
    lease = await storage.create(upload, sync=False)

    def half(descriptor, _mode, offset, count):
        os.ftruncate(descriptor, offset + count // 2)
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(files, "_fallocate", half)
    with pytest.raises(StorageFull):
        await append(storage, lease, FedBody(b"x" * 1001))
    assert data_path(tmp_path, upload.upload_id).stat().st_size == 1000
    await lease.release()


async def test_an_interrupted_reservation_is_tried_again(storage, fallocate):
    calls = fallocate(errno.EINTR, errno.EINTR, 0)
    await (await storage.create(make_upload(length=MIB), sync=False)).release()
    assert len(calls) == 3
