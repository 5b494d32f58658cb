"""Joining parts inside the kernel."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import threading
from functools import partial

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import FedBody, append, data_path, opened
from tusserver.errors import StorageFault
from tusserver.storage import files, joining
from tusserver.upload import Kind, new_upload_id

KIB = 1024


@pytest.fixture
async def part(storage):
    """Make finished parts."""

    async def make(data):
        upload = make_upload(length=len(data), kind=Kind.PARTIAL)
        lease = await storage.create(upload, sync=False)
        await append(storage, lease, FedBody(data))
        await storage.trim(lease, len(data))
        await lease.release()
        return upload.upload_id, len(data)

    return make


@pytest.fixture
async def target(storage):
    """Make a final upload of unknown length; its lease is held."""
    upload = make_upload(length=None, kind=Kind.FINAL, assembled=False)
    lease = await storage.create(upload, sync=False)
    yield lease
    await lease.release()


def content(tmp_path, lease):
    return data_path(tmp_path, lease.upload_id).read_bytes()


def never():
    return False


def noise(seed, count):
    return random.Random(seed).randbytes(count)


async def test_parts_are_joined_in_order_repeats_and_empty_ones_included(
    storage, tmp_path, part, target
):
    a, b, empty = await part(b"hello"), await part(b" world"), await part(b"")
    assert await storage.concat(target, [a, b, empty, a], stop=never)
    assert content(tmp_path, target) == b"hello worldhello"


async def test_no_parts_make_an_empty_file(storage, tmp_path, target):
    assert await storage.concat(target, [], stop=never)
    assert content(tmp_path, target) == b""


@pytest.mark.parametrize("limit", [1000, 4096, 64 * KIB], ids=str)
async def test_parts_longer_than_a_step_are_joined_in_pieces(
    storage, tmp_path, part, target, *, monkeypatch, limit
):
    monkeypatch.setattr(joining, "COPY_LIMIT", limit)
    data = noise(1, 150_001), noise(2, 10), noise(3, 70_000)
    parts = [await part(piece) for piece in data]
    assert await storage.concat(target, [*parts, parts[0]], stop=never)
    assert content(tmp_path, target) == b"".join([*data, data[0]])


async def test_bytes_never_pass_through_python(storage, tmp_path, part, target, monkeypatch):
    a = await part(noise(4, 100_000))

    def forbidden(real, *args):
        # It notes that this process goes on.
        assert threading.current_thread().name == "tusserver-pulse", "bytes were read"
        return real(*args)

    for name in ("read", "pread", "pwrite", "preadv"):
        monkeypatch.setattr(files.os, name, partial(forbidden, getattr(os, name)))
    assert await storage.concat(target, [a, a], stop=never)
    monkeypatch.undo()
    assert content(tmp_path, target) == noise(4, 100_000) * 2


@pytest.mark.parametrize(
    "number", [errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get
)
async def test_without_copy_file_range_sendfile_joins(
    storage, tmp_path, part, target, *, monkeypatch, number
):
    def missing(*_args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", missing)
    monkeypatch.setattr(joining, "COPY_LIMIT", 1000)
    data = noise(5, 12_345), noise(6, 999)
    parts = [await part(piece) for piece in data]
    assert await storage.concat(target, [*parts, *parts], stop=never)
    assert content(tmp_path, target) == b"".join(data) * 2


async def test_any_other_fault_of_the_copy_is_a_fault(storage, part, target, monkeypatch, caplog):
    def fail(*_args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with caplog.at_level(logging.ERROR), pytest.raises(StorageFault):
        await storage.concat(target, [await part(b"hello")], stop=never)
    assert "joining" in caplog.text


async def test_joining_again_after_a_crash_gives_the_whole_file(
    storage, tmp_path, part, target, monkeypatch
):
    monkeypatch.setattr(joining, "COPY_LIMIT", 1000)
    data = noise(7, 5000)
    a, answers = await part(data), iter([False, False, True])
    assert not await storage.concat(target, [a], stop=lambda: next(answers))
    assert content(tmp_path, target)[:2000] == data[:2000]
    assert content(tmp_path, target)[2000:] == bytes(3000)
    assert await storage.concat(target, [a], stop=never)
    assert content(tmp_path, target) == data


async def test_what_was_in_the_file_before_is_gone(storage, tmp_path, part, target):
    await append(storage, target, FedBody(b"x" * 5000), window=5000)
    assert await storage.concat(target, [await part(b"hello")], stop=never)
    assert content(tmp_path, target) == b"hello"


async def test_the_space_of_the_whole_is_reserved_before_the_first_byte(
    storage, tmp_path, part, target
):
    a = await part(noise(8, 3_000_000))
    assert not await storage.concat(target, [a], stop=lambda: True)
    found = data_path(tmp_path, target.upload_id).stat()
    assert found.st_size == 3_000_000
    assert found.st_blocks * 512 >= 3_000_000


async def test_space_reserved_at_creation_is_kept_while_joining_begins(storage, part, monkeypatch):
    a = await part(b"x" * 5000)
    upload = make_upload(length=5000, kind=Kind.FINAL, assembled=False)
    lease = await storage.create(upload, sync=False)
    monkeypatch.setattr(storage._store.space, "_reserve", 2**60)
    assert await storage.concat(lease, [a], stop=never)
    await lease.release()


@pytest.mark.parametrize("fault", ["missing", "short"])
async def test_a_part_that_is_not_all_there_is_a_fault_and_is_named(
    storage, tmp_path, part, target, *, caplog, fault
):
    a = await part(b"hello")
    path = data_path(tmp_path, a[0])
    if fault == "missing":
        path.unlink()
    else:
        os.truncate(path, 3)
    with caplog.at_level(logging.ERROR), pytest.raises(StorageFault):
        await storage.concat(target, [a], stop=never)
    assert str(path) in caplog.text


async def test_a_cancelled_assembly_ends_when_its_copy_has_returned(
    storage, part, target, monkeypatch
):
    entered, go_on, real = threading.Event(), threading.Event(), os.copy_file_range

    def slow(*args):
        entered.set()
        go_on.wait(5)
        return real(*args)

    a = await part(b"hello")
    monkeypatch.setattr(os, "copy_file_range", slow)
    task = asyncio.create_task(storage.concat(target, [a], stop=never))
    await asyncio.to_thread(entered.wait, 5)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_assemblies_do_not_keep_other_file_calls_waiting(storage, part, monkeypatch):
    go_on, real = threading.Event(), os.copy_file_range

    def slow(*args):
        go_on.wait(5)
        return real(*args)

    a, leases = await part(b"hello"), []
    monkeypatch.setattr(os, "copy_file_range", slow)
    for _ in range(10):
        upload = make_upload(length=5, kind=Kind.FINAL, assembled=False)
        leases.append(await storage.create(upload, sync=False))
    jobs = [asyncio.create_task(storage.concat(lease, [a], stop=never)) for lease in leases]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(4):
        await storage.peek(a[0])
    go_on.set()
    assert all(await asyncio.gather(*jobs))
    for lease in leases:
        await lease.release()


async def test_many_small_parts_are_joined(storage, tmp_path, part, target):
    parts = [await part(bytes([number % 256])) for number in range(300)]
    assert await storage.concat(target, parts * 10, stop=never)
    assert content(tmp_path, target) == bytes(number % 256 for number in range(300)) * 10


async def test_a_storage_that_can_join_says_so(tmp_path):
    async with opened(tmp_path) as storage:
        assert storage.can_concat
        upload_id = new_upload_id()
        segment = storage.segment(upload_id, 7)
        assert (segment.path, segment.length) == (data_path(tmp_path, upload_id), 7)
