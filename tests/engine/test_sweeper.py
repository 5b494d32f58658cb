"""Expiry, and what a crash left half done."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.body import BodyEnd
from tusserver.errors import UploadNotFound
from tusserver.upload import Limits, Status


@pytest.fixture
async def house(build):
    return await build(limits=Limits(expire_after=100.0))


async def swept(house):
    return await house.engine.sweeper.sweep()


@pytest.mark.clause("EXP-06", "TER-04")
async def test_an_expired_upload_is_gone_for_clients_at_once_and_removed_after_the_grace(house):
    upload = await house.create(10)
    path = house.directory / upload.upload_id[:2] / upload.upload_id
    await swept(house)
    house.clock.pass_(101)
    with pytest.raises(UploadNotFound):
        await house.head(upload)
    with pytest.raises(UploadNotFound):
        await house.append(upload, 0, FedBody(b"x"))
    assert await swept(house) == 0
    house.clock.pass_(299)
    assert await swept(house) == 0
    assert path.exists()
    house.clock.pass_(2)
    assert await swept(house) == 1
    assert not path.exists()
    assert not path.with_suffix(".meta").exists()


async def test_finished_uploads_stay_unless_they_have_a_time_of_their_own(build):
    house = await build(limits=Limits(expire_after=100.0), grace=0.0, chores=False)
    upload = await house.create(5)
    await house.append(upload, 0, FedBody(b"hello"))
    house.clock.pass_(1000)
    await swept(house)
    house.clock.pass_(50)
    assert await swept(house) == 0
    assert await house.content(upload) == b"hello"


async def test_finished_uploads_expire_when_they_are_to(build):
    house = await build(
        limits=Limits(expire_after=100.0, expire_finished=500.0), grace=0.0, chores=False
    )
    upload = await house.create(5)
    await house.append(upload, 0, FedBody(b"hello"))
    house.clock.pass_(400)
    assert await house.content(upload) == b"hello"
    await swept(house)
    house.clock.pass_(59)
    assert await swept(house) == 0
    house.clock.pass_(50)
    assert await swept(house) == 1
    with pytest.raises(UploadNotFound):
        await house.head(upload)


@pytest.mark.clause("EXP-08")
async def test_nothing_is_removed_under_a_running_writer(build):
    house = await build(limits=Limits(expire_after=100.0), grace=0.0, chores=False)
    upload = await house.create(10)
    body = FedBody(b"01234", end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 5)
    house.clock.pass_(101)
    await swept(house)
    house.clock.pass_(10)
    assert await swept(house) == 0
    body.feed(b"56789")
    body.finish()
    assert (await append).is_complete
    assert await house.content(upload) == b"0123456789"


async def test_a_clock_that_jumps_removes_nothing(house):
    upload = await house.create(10)
    await swept(house)
    house.clock.wall += timedelta(days=30)
    assert await swept(house) == 0
    house.clock.wall -= timedelta(days=30)
    assert await swept(house) == 0
    house.clock.pass_(50)
    assert (await house.head(upload)).offset == 0


async def test_the_removal_that_a_crash_broke_off_is_finished(house):
    upload = await house.create(10)

    async def leave(_holder):
        return None

    lease = await house.parts.storage.lease(upload.upload_id, on_contended=leave, timeout=1)
    record = await house.record(upload)
    await house.parts.records.commit(lease, record.next(status=Status.REMOVED))
    await lease.release()
    with pytest.raises(UploadNotFound):
        await house.head(upload)
    await swept(house)  # or the round with which the engine began: it may still be under way
    assert await eventually(lambda: not list(house.directory.glob(f"*/{upload.upload_id}*")))


async def test_only_one_process_of_a_store_sweeps(build):
    first = await build(limits=Limits(expire_after=100.0), grace=0.0, chores=False)
    clock = first.clock
    second = await build(limits=Limits(expire_after=100.0), grace=0.0, clock=clock, chores=False)
    await first.create(10)
    await swept(first)
    clock.pass_(101)
    assert await swept(second) == 0
    assert await swept(first) == 1


async def test_a_file_removed_behind_the_servers_back_makes_the_upload_invalid(house):
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234", end=BodyEnd.COMPLETE))
    (house.directory / upload.upload_id[:2] / upload.upload_id).unlink()
    with pytest.raises(UploadNotFound):
        await house.append(upload, 5, FedBody(b"56789"))
    with pytest.raises(UploadNotFound):
        await house.head(upload)
    assert (await house.record(upload)).status is Status.INVALID


async def test_a_file_that_a_power_cut_took_before_its_first_sync_is_made_anew(
    build, tmp_path, monkeypatch
):
    boot = tmp_path / "boot-id"
    boot.write_text("first life")
    monkeypatch.setenv("TUSSERVER_BOOT_ID_FILE", str(boot))
    house = await build()
    upload = await house.create(10)
    (house.directory / upload.upload_id[:2] / upload.upload_id).unlink()
    boot.write_text("second life")
    after = await build()
    await after.append(upload, 0, FedBody(b"0123456789"))
    assert await after.content(upload) == b"0123456789"


async def test_a_record_of_redis_whose_ledger_cannot_be_read_keeps_no_other(build, redis_server):
    house = await build(
        state_url=redis_server.url, grace=0.0, limits=Limits(expire_after=100.0), chores=False
    )
    broken, stays = [await house.create(10) for _ in range(2)]
    gone = await house.create(10)
    for upload in (broken, gone):
        ledger = house.directory / upload.upload_id[:2] / f"{upload.upload_id}.meta"
        ledger.unlink()
        if upload is broken:
            ledger.mkdir()
        else:
            ledger.with_suffix("").unlink()
    house.clock.pass_(60)
    await house.append(stays, 0, FedBody(b"01234"))
    house.clock.pass_(50)
    for _ in range(2):
        await house.engine.sweeper.sweep()
    assert await house.parts.state.get(gone.upload_id) is None
    assert await house.parts.state.get(broken.upload_id) is not None
    assert (await house.head(stays)).offset == 5
