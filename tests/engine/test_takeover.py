"""Take-over inside one process and between engines that share a directory."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FedBody, eventually
from tests.support.waiting import soon
from tusserver.body import BodyEnd
from tusserver.engine import takeover
from tusserver.errors import AppendSuperseded, OffsetMismatch, UploadNotFound
from tusserver.protocol.messages import Checksum


@pytest.fixture(params=["same process", "other process"])
async def two(request, build):
    """Give two engines on one directory; the same one twice, or two with their own mailboxes."""
    first = await build()
    second = first if request.param == "same process" else await build()
    return first, second


async def test_a_patch_at_the_offset_takes_a_silent_append_over(two):
    holder, newcomer = two
    upload = await holder.create(10)
    append = holder.start_append(upload, 0, FedBody(b"01234", end=None))
    work = await holder.receiving(upload)
    await eventually(lambda: work.progress.position == 5)
    done = await newcomer.append(upload, 5, FedBody(b"56789"))
    assert done.is_complete
    with pytest.raises(AppendSuperseded):
        await append
    assert await holder.content(upload) == b"0123456789"


async def test_a_patch_at_another_offset_leaves_the_append_alone(two):
    holder, newcomer = two
    upload = await holder.create(10)
    body = FedBody(b"01234", end=None)
    append = holder.start_append(upload, 0, body)
    work = await holder.receiving(upload)
    await eventually(lambda: work.progress.position == 5)
    with pytest.raises(OffsetMismatch) as refused:
        await newcomer.append(upload, 0, FedBody(b"abcde"))
    assert refused.value.offset == 5
    body.feed(b"56789")
    body.finish()
    assert (await append).is_complete
    assert await holder.content(upload) == b"0123456789"


@pytest.mark.clause("CORE-HEAD-10")
async def test_head_ends_a_silent_append_and_its_offset_is_final(two):
    holder, newcomer = two
    upload = await holder.create(10)
    append = holder.start_append(upload, 0, FedBody(b"01234", end=None))
    await holder.receiving(upload)
    described = await newcomer.head(upload)
    assert described.offset == 5
    with pytest.raises(AppendSuperseded):
        await append
    assert (await newcomer.append(upload, 5, FedBody(b"56789"))).is_complete


@pytest.mark.clause("CORE-HEAD-10")
async def test_head_leaves_a_flowing_append_alone_and_tells_a_committed_offset(two, monkeypatch):
    # Where this machine stands still for a moment the append is not silent: bytes were due.
    for name, seconds in {"SILENCE": 2.5, "LOOK_LIMIT": 3.0, "LET_GO": 10.0}.items():
        monkeypatch.setattr(takeover, name, seconds)
    holder, newcomer = two
    upload = await holder.create(10_000)
    body = FedBody(b"x", end=None)
    append = holder.start_append(upload, 0, body)
    await holder.receiving(upload)

    async def flow():
        while True:
            await asyncio.sleep(0.005)
            body.feed(b"x")

    flowing = asyncio.create_task(flow())
    described = await newcomer.head(upload)
    assert 1 < described.offset < 10_000
    assert (await holder.record(upload)).offset >= described.offset
    assert not append.done()
    flowing.cancel()
    body.finish(BodyEnd.DISCONNECTED)
    with pytest.raises(Exception, match="well-formed"):
        await append


@pytest.mark.clause("TER-06")
async def test_delete_stops_a_running_append(two):
    holder, newcomer = two
    upload = await holder.create(10)
    append = holder.start_append(upload, 0, FedBody(b"01234", end=None))
    await holder.receiving(upload)
    await newcomer.engine.terminate(upload.upload_id)
    with pytest.raises(AppendSuperseded):
        await append
    with pytest.raises(UploadNotFound):
        await holder.head(upload)


@pytest.mark.clause("CORE-PATCH-20")
@pytest.mark.usefixtures("quick_disk")
async def test_of_many_patches_at_one_offset_exactly_one_stores_its_bytes(two):
    holder, newcomer = two
    upload = await holder.create(10)
    bodies = [bytes([letter]) * 10 for letter in b"abcdefgh"]
    results = await asyncio.gather(
        *(
            (holder, newcomer)[place % 2].append(upload, 0, FedBody(body))
            for place, body in enumerate(bodies)
        ),
        return_exceptions=True,
    )
    done = [result for result in results if not isinstance(result, Exception)]
    assert len(done) == 1
    content = await holder.content(upload)
    assert content in bodies
    assert bodies[results.index(done[0])] == content


async def test_an_append_with_a_checksum_is_taken_over_at_its_start(two):
    holder, newcomer = two
    upload = await holder.create(10)
    body = FedBody(b"garbage", end=None)
    append = holder.start_append(upload, 0, body, checksum=Checksum("sha1", b"x" * 20))
    work = await holder.receiving(upload)
    await eventually(lambda: work.progress.position == 7)
    assert (await newcomer.append(upload, 0, FedBody(b"0123456789"))).is_complete
    with pytest.raises(AppendSuperseded):
        await append
    assert await holder.content(upload) == b"0123456789"


async def test_taking_over_takes_a_fraction_of_a_second(two):
    holder, newcomer = two
    upload = await holder.create(10)
    append = holder.start_append(upload, 0, FedBody(b"01234", end=None))
    work = await holder.receiving(upload)
    await eventually(lambda: work.progress.position == 5)
    body = FedBody(b"5678", end=None)
    with soon():
        taking = newcomer.start_append(upload, 5, body)
        assert await eventually(body._chunks.empty)
    # The last byte has the upload synced, which takes what the disk takes.
    body.feed(b"9")
    body.finish()
    assert (await taking).is_complete
    with pytest.raises(AppendSuperseded):
        await append
