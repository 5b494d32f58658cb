"""Digests of whole files, by whatever way their bytes came."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
from contextlib import suppress

import pytest

from tests.engine.conftest import FedBody, eventually
from tusserver.body import BodyEnd
from tusserver.engine import digest as digest_module
from tusserver.errors import (
    ChecksumMismatch,
    DigestMismatch,
    HeaderInvalid,
    HookFailed,
    RequestMalformed,
    ShuttingDown,
    StorageFault,
    UploadLocked,
    UploadNotFound,
)
from tusserver.hooks.callables import CallableHooks
from tusserver.ports import Decision
from tusserver.protocol.digests import DigestRules
from tusserver.protocol.headers import format_metadata
from tusserver.protocol.messages import Checksum
from tusserver.storage.ledger import format_slot
from tusserver.storage.local import LocalStorage
from tusserver.upload import EventState, Status, Upload, new_upload_id

RULES = DigestRules(name="sha-256", keys=("checksum", "sha256"))
DATA = random.Random(3).randbytes(600_000)


def told(data, name="sha256"):
    digest = base64.b64encode(hashlib.new(name, data).digest()).decode()
    return f"{name[:3]}-{name[3:]}=:{digest}:"


def said(data, key="checksum"):
    return format_metadata({key: f"sha256 {hashlib.sha256(data).hexdigest()}".encode()})


class Readings:
    """Counts how often files were read for their digest."""

    def __init__(self, monkeypatch):
        self.count = 0
        step = digest_module._hash_step

        def counted(segment, running):
            self.count += running.offset == 0
            step(segment, running)

        monkeypatch.setattr(digest_module, "_hash_step", counted)


@pytest.fixture
def readings(monkeypatch):
    return Readings(monkeypatch)


@pytest.fixture
async def house(build):
    return await build(digests=RULES)


@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
async def test_one_request_brings_all(build, readings, name):
    house = await build(digests=DigestRules(name=name))
    upload = await house.create(len(DATA))
    done = await house.append(upload, 0, FedBody(DATA[:10], DATA[10:300_000], DATA[300_000:]))
    assert done.digest == told(DATA, name.replace("-", ""))
    assert (await house.record(upload)).digest == done.digest
    assert readings.count == 0


async def test_without_the_setting_nothing_is_computed_or_checked(build, readings):
    house = await build()
    upload = await house.create(5, metadata=said(b"other"))
    assert (await house.append(upload, 0, FedBody(b"bytes"))).digest == ""
    assert readings.count == 0


async def test_many_requests_of_one_process_bring_the_bytes(house, readings):
    upload = await house.create(len(DATA))
    for start in range(0, len(DATA), 50_000):
        done = await house.append(upload, start, FedBody(DATA[start : start + 50_000]))
    assert done.digest == told(DATA)
    assert readings.count == 0


async def test_the_creation_brings_some_or_all(house, readings):
    whole = await house.create(len(DATA), body=FedBody(DATA))
    assert whole.digest == told(DATA)
    some = await house.create(len(DATA), body=FedBody(DATA[:1000]))
    assert (await house.append(some, 1000, FedBody(DATA[1000:]))).digest == told(DATA)
    assert readings.count == 0


async def test_an_empty_upload_has_the_digest_of_nothing(house):
    assert (await house.create(0)).digest == told(b"")


async def test_the_length_comes_with_the_last_request(house, readings):
    upload = await house.create()
    await house.append(upload, 0, FedBody(DATA[:1000]))
    await house.append(upload, 1000, FedBody(DATA[1000:]))
    done = await house.append(upload, len(DATA), FedBody(), declared_length=len(DATA))
    assert done.digest == told(DATA)
    assert readings.count == 0


async def test_bytes_whose_checksum_did_not_hold_do_not_count(house, readings):
    upload = await house.create(len(DATA))
    await house.append(upload, 0, FedBody(DATA[:1000]))
    wrong = Checksum("sha512", hashlib.sha512(b"other").digest())
    with pytest.raises(ChecksumMismatch):
        await house.append(upload, 1000, FedBody(DATA[500:5000]), checksum=wrong)
    right = Checksum("sha512", hashlib.sha512(DATA[1000:]).digest())
    done = await house.append(upload, 1000, FedBody(DATA[1000:]), checksum=right)
    assert done.digest == told(DATA)
    assert readings.count == 0


async def test_a_body_that_breaks_off_counts_as_far_as_it_came(house, readings):
    upload = await house.create(len(DATA))
    with pytest.raises(RequestMalformed):
        await house.append(upload, 0, FedBody(DATA[:70_000], end=BodyEnd.DISCONNECTED))
    done = await house.append(upload, 70_000, FedBody(DATA[70_000:]))
    assert done.digest == told(DATA)
    assert readings.count == 0


async def test_another_process_had_some_of_the_bytes(build, readings):
    first, second = await build(digests=RULES), await build(digests=RULES)
    upload = await first.create(len(DATA))
    await first.append(upload, 0, FedBody(DATA[:1000]))
    await second.append(upload, 1000, FedBody(DATA[1000:2000]))
    done = await first.append(upload, 2000, FedBody(DATA[2000:]))
    assert done.digest == told(DATA)
    assert readings.count == 1


async def test_a_new_process_reads_what_the_one_before_received(build, readings):
    first = await build(digests=RULES)
    upload = await first.create(len(DATA))
    await first.append(upload, 0, FedBody(DATA[:1000]))
    await first.engine.close()
    second = await build(digests=RULES)
    assert (await second.append(upload, 1000, FedBody(DATA[1000:]))).digest == told(DATA)
    assert readings.count == 1


async def test_a_sync_in_between_changes_nothing(house, readings):
    upload = await house.create(len(DATA))
    await house.append(upload, 0, FedBody(DATA[:1000]))
    await house.engine._idle.sync_everything()
    assert (await house.record(upload)).synced == 1000
    done = await house.append(upload, 1000, FedBody(DATA[1000:]))
    assert done.digest == told(DATA)
    assert readings.count == 0


class FailingSync(LocalStorage):
    fails = False

    async def sync(self, upload_id):
        if self.fails:
            raise StorageFault
        await super().sync(upload_id)


async def test_an_offset_that_fell_back_takes_other_bytes(build, readings):
    house = await build(digests=RULES, storage=FailingSync, durability="strict")
    upload = await house.create(len(DATA))
    await house.append(upload, 0, FedBody(DATA[:1000]))
    house.parts.storage.fails = True
    with pytest.raises(StorageFault):
        await house.append(upload, 1000, FedBody(bytes(1000)))
    house.parts.storage.fails = False
    assert (await house.record(upload)).offset == 1000
    await house.append(upload, 1000, FedBody(DATA[1000:2000]))
    done = await house.append(upload, 2000, FedBody(DATA[2000:]))
    assert done.digest == told(DATA)


async def test_another_process_let_it_fall_back_and_come_again(build, readings):
    first = await build(digests=RULES)
    second = await build(digests=RULES, storage=FailingSync)
    upload = await first.create(len(DATA))
    await first.append(upload, 0, FedBody(bytes(1000)))
    # What the other process synced is nothing; then the same offset is reached with other bytes.
    second.parts.storage.fails = True
    second.engine._idle.note(await second.record(upload))
    await second.engine._idle.sync_everything()

    async def fell():
        return (await second.record(upload)).offset == 0

    assert await eventually(fell)
    second.parts.storage.fails = False
    await second.append(upload, 0, FedBody(DATA[:1000]))
    done = await first.append(upload, 1000, FedBody(DATA[1000:]))
    assert done.digest == told(DATA)
    assert readings.count == 1


async def test_a_hook_that_refuses_the_end_costs_no_reading(build, readings):
    answers = iter([HookFailed(), Decision()])
    seen = []

    async def pre_finish(event):
        seen.append(event.upload.digest)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    house = await build(digests=RULES, hooks=CallableHooks(pre_finish=pre_finish))
    upload = await house.create(len(DATA))
    with pytest.raises(HookFailed):
        await house.append(upload, 0, FedBody(DATA))
    offset = (await house.record(upload)).offset
    assert offset == len(DATA) - 1
    done = await house.append(upload, offset, FedBody(DATA[offset:]))
    assert done.digest == told(DATA)
    assert seen == [told(DATA)] * 2
    assert readings.count == 0


async def test_the_finish_event_tells_it(build):
    events = []

    async def post_finish(event):
        events.append(event.upload.digest)

    house = await build(digests=RULES, hooks=CallableHooks(post_finish=post_finish))
    await house.create(5, body=FedBody(b"bytes"))
    assert await eventually(lambda: events == [told(b"bytes")])


async def test_parts_are_hashed_together_once(build, readings):
    events = []

    async def post_finish(event):
        events.append(event.upload.digest)

    house = await build(digests=RULES, hooks=CallableHooks(post_finish=post_finish))
    parts = [await house.create(3, body=FedBody(piece), partial=True) for piece in (b"abc", b"def")]
    assert [part.digest for part in parts] == ["", ""]
    final = await house.join(*parts, parts[0])
    assert await eventually(lambda: events == [told(b"abcdefabc")])
    assert (await house.record(final)).digest == told(b"abcdefabc")
    assert readings.count == 1


# --- what clients say ---------------------------------------------------------------------


async def test_a_file_that_is_what_its_metadata_says_is_finished(house):
    metadata = format_metadata({"checksum": f"sha512 {hashlib.sha512(DATA).hexdigest()}".encode()})
    upload = await house.create(len(DATA), metadata=metadata)
    await house.append(upload, 0, FedBody(DATA[:1000]))
    assert (await house.append(upload, 1000, FedBody(DATA[1000:]))).digest == told(DATA)


@pytest.mark.parametrize("again", [False, True], ids=["one process", "after a restart"])
async def test_a_file_that_is_something_else_is_refused_and_removed(build, again):
    house = await build(digests=RULES)
    upload = await house.create(len(DATA), metadata=said(DATA))
    await house.append(upload, 0, FedBody(DATA[:1000]))
    if again:
        await house.engine.close()
        house = await build(digests=RULES)
    with pytest.raises(DigestMismatch):
        await house.append(upload, 1000, FedBody(DATA[999:-1]))
    assert await house.record(upload) is None
    with pytest.raises(UploadNotFound):
        await house.head(upload)
    assert not list(house.directory.glob(f"??/{upload.upload_id}*"))


@pytest.mark.parametrize("data", [b"bytes", b""], ids=["some", "none"])
async def test_a_creation_with_the_wrong_bytes_makes_nothing(house, data):
    with pytest.raises(DigestMismatch):
        await house.create(len(data), body=FedBody(data), metadata=said(b"other"))
    assert not list(house.directory.glob("??/*"))


async def test_a_part_is_compared_too(house):
    await house.create(3, body=FedBody(b"abc"), partial=True, metadata=said(b"abc"))
    with pytest.raises(DigestMismatch):
        await house.create(3, body=FedBody(b"abc"), partial=True, metadata=said(b"abd"))


async def test_parts_that_make_another_file_are_not_joined(house):
    from tusserver.protocol.messages import Create, Part  # noqa: PLC0415

    part = await house.create(3, body=FedBody(b"abc"), partial=True)
    listed = (Part(upload_id=part.upload_id),)
    command = Create(length=None, parts=listed, concat="final;...", metadata=said(b"other"))

    async def proceed():
        return None

    final = (await house.engine.create(command, FedBody(), proceed=proceed)).upload

    async def gone():
        return await house.record(final) is None

    assert await eventually(gone)
    assert (await house.record(part)).is_complete
    assert await house.parts.storage.pins(part.upload_id) == ()


async def test_a_digest_that_nobody_understands_is_refused_at_once(house):
    with pytest.raises(HeaderInvalid, match="the value of checksum is no digest"):
        await house.create(5, metadata=format_metadata({"checksum": b"crc32 12345678"}))
    assert not list(house.directory.glob("??/*"))


# --- reading at the end -------------------------------------------------------------------


@pytest.fixture
async def slow_end(build, monkeypatch):
    """An upload of which only the last bytes are missing, and whose reading waits for a test."""
    import threading  # noqa: PLC0415

    first = await build(digests=RULES)
    upload = await first.create(len(DATA))
    await first.append(upload, 0, FedBody(DATA[:1000]))
    await first.engine.close()
    house = await build(digests=RULES)
    go_on, reached = threading.Event(), asyncio.Event()
    loop, step = asyncio.get_running_loop(), digest_module._hash_step

    def waiting(segment, running):
        loop.call_soon_threadsafe(reached.set)
        go_on.wait(10)
        step(segment, running)

    monkeypatch.setattr(digest_module, "_hash_step", waiting)
    monkeypatch.setattr(digest_module, "STEP", 100_000)
    appending = house.start_append(upload, 1000, FedBody(DATA[1000:]))
    await reached.wait()
    yield house, upload, appending, go_on
    go_on.set()


async def test_others_wait_while_a_file_is_read(slow_end, monkeypatch):
    house, upload, appending, go_on = slow_end
    monkeypatch.setattr("tusserver.engine.takeover.FINISH_WAIT", 0.1)
    monkeypatch.setattr("tusserver.engine.work.FINISH_WAIT", 0.1)
    with pytest.raises(UploadLocked):
        await house.head(upload)
    with pytest.raises(UploadLocked):
        await house.engine.terminate(upload.upload_id)
    go_on.set()
    assert (await appending).digest == told(DATA)


async def test_a_stop_does_not_wait_for_the_reading(slow_end, build):
    house, upload, appending, go_on = slow_end
    closing = asyncio.create_task(house.engine.close())
    go_on.set()
    with pytest.raises(ShuttingDown):
        await appending
    await closing
    again = await build(digests=RULES)
    offset = (await again.record(upload)).offset
    assert offset == len(DATA) - 1
    assert (await again.append(upload, offset, FedBody(DATA[offset:]))).digest == told(DATA)


async def test_a_file_that_shrank_is_told(build, caplog):
    first = await build(digests=RULES)
    upload = await first.create(len(DATA))
    await first.append(upload, 0, FedBody(DATA[:1000]))
    await first.engine.close()
    house = await build(digests=RULES)
    body = FedBody(DATA[1000:], end=None)
    appending = house.start_append(upload, 1000, body)
    await house.receiving(upload)
    path = house.directory / upload.upload_id[:2] / upload.upload_id
    assert await eventually(lambda: path.read_bytes() == DATA)
    os.truncate(path, 500)
    body.finish()
    with pytest.raises(StorageFault):
        await appending
    assert "is shorter than its record says" in caplog.text


# --- bounds -------------------------------------------------------------------------------


async def test_only_so_many_digests_are_kept(house, readings, monkeypatch):
    monkeypatch.setattr(digest_module, "MAX_KEPT", 3)
    uploads = [await house.create(10) for _ in range(5)]
    for upload in uploads:
        await house.append(upload, 0, FedBody(b"12345"))
    assert len(house.engine._digests._kept) == 3
    for upload in uploads:
        done = await house.append(upload, 5, FedBody(b"67890"))
        assert done.digest == told(b"1234567890")
    assert readings.count == 2
    assert not house.engine._digests._kept


@pytest.mark.parametrize("seed", range(4))
async def test_pieces_of_any_size_by_any_of_two_processes(build, seed):
    rng = random.Random(seed)
    houses = [await build(digests=RULES), await build(digests=RULES)]
    data = rng.randbytes(rng.randrange(1, 400_000))
    upload = await houses[0].create(len(data), metadata=said(data))
    offset = 0
    while offset < len(data):
        count = rng.choice([1, 7, 1000, 65_536, 65_537, 200_000])
        house = rng.choices(houses, weights=[5, 1])[0]
        piece, end = data[offset : offset + count], BodyEnd.COMPLETE
        checksum = None
        match rng.randrange(4):
            case 0:
                checksum = Checksum("sha256", hashlib.sha256(b"wrong").digest())
            case 1:
                checksum = Checksum("sha256", hashlib.sha256(piece).digest())
            case 2 if len(piece) > 1:
                piece, end = piece[: len(piece) // 2], BodyEnd.DISCONNECTED
        with suppress(ChecksumMismatch, RequestMalformed):
            done = await house.append(upload, offset, FedBody(piece, end=end), checksum=checksum)
        record = await house.record(upload)
        offset = record.offset
    assert done.digest == told(data)
    assert done.status is Status.COMPLETE


def test_the_longest_record_still_fits_into_its_sector(house):
    huge = 2**63 - 1
    upload = Upload(
        upload_id=new_upload_id(),
        created_at=house.clock.now(),
        expires_at=house.clock.now(),
        length=huge,
        offset=huge,
        synced=huge,
        epoch=house.parts.storage.epoch,
        status=Status.COMPLETE,
        event=EventState.PENDING,
        event_id="f" * 32,
        digest=told(b"", "sha512"),
        version=huge,
    )
    assert len(format_slot(upload)) == 512
