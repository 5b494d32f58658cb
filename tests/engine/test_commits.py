"""Commits that follow the bytes: each sentence of the durability contract about an append."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from tests.engine.conftest import FedBody, RecordingStorage, eventually
from tusserver.body import BodyEnd
from tusserver.errors import (
    AppendSuperseded,
    BodyTimeout,
    ChecksumMismatch,
    LengthExceeded,
    OffsetMismatch,
    RequestMalformed,
    StorageFault,
)
from tusserver.protocol.messages import Checksum
from tusserver.storage.local import LocalStorage
from tusserver.upload import Limits

MIB = 1024 * 1024
CHUNK = bytes(range(256)) * 1024  # 256 KiB


def sha1(data):
    return Checksum("sha1", hashlib.sha1(data).digest())  # noqa: S324 - tus asks for it


class FailingSync(LocalStorage):
    """Real files on a disk whose fdatasync fails when told to."""

    failing = False
    synced = 0

    async def sync(self, upload_id):
        type(self).synced += 1
        if self.failing:
            raise StorageFault
        await super().sync(upload_id)


class CountingSync(LocalStorage):
    """Counts what asks the disk to sync."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.syncs = 0

    async def sync(self, upload_id):
        self.syncs += 1
        await super().sync(upload_id)

    async def record(self, lease, upload, *, sync):
        self.syncs += sync
        await super().record(lease, upload, sync=sync)


class SlowLedger(RecordingStorage):
    """A ledger whose writes wait until they may go on."""

    gate: asyncio.Event

    async def record(self, lease, upload, *, sync):
        await self.gate.wait()
        await super().record(lease, upload, sync=sync)


async def test_bytes_arrive_at_their_offsets(house):
    upload = await house.create(10)
    assert (await house.append(upload, 0, FedBody(b"hello"))).offset == 5
    done = await house.append(upload, 5, FedBody(b"wor", b"ld"))
    assert done.is_complete
    assert await house.content(upload) == b"helloworld"


async def test_a_checkpoint_is_committed_each_16_mib(house):
    upload = await house.create(64 * MIB)
    body = FedBody(*[CHUNK] * 4 * 17, end=None)
    append = house.start_append(upload, 0, body)

    async def offset():
        return (await house.record(upload)).offset

    assert await eventually(lambda: _at_least(offset, 16 * MIB))
    assert not append.done()
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append
    assert await offset() == 17 * MIB


async def _at_least(read, value):
    return await read() >= value


async def test_a_checkpoint_is_committed_after_a_second(house):
    upload = await house.create(1000)
    body = FedBody(b"x" * 100, end=None)
    append = house.start_append(upload, 0, body)

    async def committed():
        return (await house.record(upload)).offset == 100

    assert await eventually(committed, seconds=3)
    assert not append.done()
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append


async def test_the_body_pauses_while_32_mib_are_uncommitted(build):
    house = await build(storage=SlowLedger)
    house.parts.storage.gate = asyncio.Event()
    house.parts.storage.gate.set()
    upload = await house.create(128 * MIB)
    house.parts.storage.gate.clear()
    body = FedBody(*[CHUNK] * 4 * 64, end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position >= 32 * MIB)
    await asyncio.sleep(0.1)
    assert 32 * MIB <= work.progress.position < 33 * MIB
    house.parts.storage.gate.set()
    assert await eventually(lambda: work.progress.position == 64 * MIB)
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append


@pytest.mark.clause("CORE-PATCH-16")
@pytest.mark.parametrize(
    ("end", "error"),
    [
        pytest.param(BodyEnd.DISCONNECTED, RequestMalformed, id="disconnected"),
        pytest.param(BodyEnd.MALFORMED, RequestMalformed, id="malformed"),
        pytest.param(BodyEnd.TIMEOUT, BodyTimeout, id="idle"),
        pytest.param(BodyEnd.SUPERSEDED, AppendSuperseded, id="superseded"),
    ],
)
async def test_what_a_broken_body_brought_is_kept(house, end, error):
    upload = await house.create(100)
    with pytest.raises(error):
        await house.append(upload, 0, FedBody(b"x" * 60, end=end))
    assert (await house.head(upload)).offset == 60


async def test_a_cancelled_request_keeps_its_bytes(house):
    upload = await house.create(100)
    append = house.start_append(upload, 0, FedBody(b"x" * 60, end=None))
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 60)
    append.cancel()
    with pytest.raises(asyncio.CancelledError):
        await append
    await eventually(lambda: house.parts.slots.holder(upload.upload_id) is None)
    assert (await house.head(upload)).offset == 60


@pytest.mark.clause("CHK-03")
async def test_bytes_of_a_wrong_checksum_are_overwritten(house):
    upload = await house.create(10)
    with pytest.raises(ChecksumMismatch):
        await house.append(upload, 0, FedBody(b"garbage!"), checksum=sha1(b"other"))
    assert (await house.head(upload)).offset == 0
    await house.append(upload, 0, FedBody(b"01234"), checksum=sha1(b"01234"))
    await house.append(upload, 5, FedBody(b"56789"))
    assert await house.content(upload) == b"0123456789"


@pytest.mark.clause("CHK-08")
async def test_with_a_checksum_there_are_no_checkpoints(house):
    upload = await house.create(64 * MIB)
    body = FedBody(*[CHUNK] * 4 * 20, end=None)
    append = house.start_append(upload, 0, body, checksum=sha1(b""))
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 20 * MIB)
    await asyncio.sleep(1.2)
    assert (await house.record(upload)).offset == 0
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append
    assert (await house.record(upload)).offset == 0


@pytest.mark.clause("CHT-02", "CHT-03", "CHT-04")
async def test_a_digest_that_comes_as_a_trailer_is_checked(house):
    upload = await house.create(10)
    late = Checksum("", None)

    def announce(data):
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return {"Upload-Checksum": f"sha256 {digest}"}

    good = FedBody(b"01234", trailers=announce(b"01234"))
    assert (await house.append(upload, 0, good, checksum=late)).offset == 5
    bad = FedBody(b"56789", trailers=announce(b"other"))
    with pytest.raises(ChecksumMismatch):
        await house.append(upload, 5, bad, checksum=late)
    with pytest.raises(Exception, match="did not come"):
        await house.append(upload, 5, FedBody(b"56789"), checksum=late)
    assert (await house.head(upload)).offset == 5


@pytest.mark.clause("CORE-PATCH-15")
async def test_of_an_over_long_chunked_body_the_prefix_is_kept(house):
    upload = await house.create(10)
    with pytest.raises(LengthExceeded):
        await house.append(upload, 0, FedBody(b"0123456789abc", b"def"))
    assert (await house.head(upload)).offset == 10
    assert await house.content(upload) == b"0123456789"


async def test_no_record_ever_looks_complete_before_it_is(build):
    seen = []

    class Watching(RecordingStorage):
        async def record(self, lease, upload, *, sync):
            seen.append(upload)
            await super().record(lease, upload, sync=sync)

    house = await build(storage=Watching)
    upload = await house.create(20 * MIB)
    body = FedBody(*[CHUNK] * 4 * 20, end=None)
    append = house.start_append(upload, 0, body)
    work = await house.receiving(upload)
    await eventually(lambda: work.progress.position == 20 * MIB)
    assert await work.progress.commit_now(at_once=True) == 20 * MIB - 1
    body.finish()
    assert (await append).is_complete
    early = [record for record in seen if record.offset == record.length]
    assert [record.status.value for record in early] == ["complete"]


async def test_in_a_new_epoch_the_offset_is_what_was_synced(build, tmp_path, monkeypatch):
    boot = tmp_path / "boot-id"
    boot.write_text("first life")
    monkeypatch.setenv("TUSSERVER_BOOT_ID_FILE", str(boot))
    house = await build(durability="process")
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    same = await build()
    assert (await same.head(upload)).offset == 60
    boot.write_text("second life")
    after = await build()
    assert (await after.head(upload)).offset == 0
    with pytest.raises(OffsetMismatch):
        await after.append(upload, 60, FedBody(b"y" * 40))
    await after.append(upload, 0, FedBody(b"z" * 100))
    assert await after.content(upload) == b"z" * 100


async def test_in_a_new_epoch_synced_bytes_stay(build, tmp_path, monkeypatch):
    boot = tmp_path / "boot-id"
    boot.write_text("first life")
    monkeypatch.setenv("TUSSERVER_BOOT_ID_FILE", str(boot))
    house = await build(durability="strict")
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    boot.write_text("second life")
    after = await build()
    assert (await after.head(upload)).offset == 60


async def test_a_graceful_stop_syncs_what_is_open(build):
    house = await build(started=False)
    await house.engine.start()
    upload = await house.create(100)
    await house.append(upload, 0, FedBody(b"x" * 60))
    assert (await house.record(upload)).synced == 0
    await house.engine.close()
    after = await build()
    assert (await after.record(upload)).synced == 60


async def test_strict_acknowledges_only_what_is_synced(build):
    house = await build(durability="strict")
    upload = await house.create(100)
    after = await house.append(upload, 0, FedBody(b"x" * 60))
    assert (after.offset, after.synced) == (60, 60)


async def test_process_never_syncs_while_serving(build):
    house = await build(durability="process", storage=CountingSync)
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234"))
    done = await house.append(upload, 5, FedBody(b"56789"))
    assert done.is_complete
    assert house.parts.storage.syncs == 0


async def test_normal_syncs_completion(build):
    house = await build(storage=CountingSync)
    upload = await house.create(5)
    done = await house.append(upload, 0, FedBody(b"01234"))
    assert done.synced == 5
    assert house.parts.storage.syncs == 2  # data, then ledger


async def test_the_background_sync_moves_synced_up(build, monkeypatch):
    monkeypatch.setattr("tusserver.engine.checkpoints.SYNC_SECONDS", 0.0)
    house = await build()
    upload = await house.create(64 * MIB)
    body = FedBody(*[CHUNK] * 4 * 17, end=None)
    append = house.start_append(upload, 0, body)

    async def synced():
        return (await house.record(upload)).synced >= 16 * MIB

    assert await eventually(synced)
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(RequestMalformed):
        await append


async def test_after_a_failed_sync_the_offset_falls_to_what_was_synced(build):
    house = await build(storage=FailingSync)
    upload = await house.create(10)
    await house.append(upload, 0, FedBody(b"01234"))
    house.parts.storage.failing = True
    before = FailingSync.synced
    with pytest.raises(StorageFault):
        await house.append(upload, 5, FedBody(b"56789"))
    assert FailingSync.synced == before + 1  # never tried again
    record = await house.record(upload)
    assert (record.offset, record.synced, record.is_complete) == (0, 0, False)
    house.parts.storage.failing = False
    await house.append(upload, 0, FedBody(b"abcdefghij"))
    assert await house.content(upload) == b"abcdefghij"


@pytest.mark.clause("EXP-07")
async def test_expiry_slides_with_each_patch_also_an_empty_one(build):
    house = await build(limits=Limits(expire_after=100.0))
    upload = await house.create(10)
    house.clock.pass_(50)
    second = await house.append(upload, 0, FedBody(b"x"))
    house.clock.pass_(10)
    third = await house.append(upload, 1, FedBody())
    assert upload.expires_at < second.expires_at < third.expires_at
