"""Disks that are full, that fail, or that become read-only: nothing is lost, and it goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.clients import Upload
from tests.faults.disks import MIB, FailingDisk, ImageDisk, SmallDisk, ThinDisk
from tests.hooks.receivers import receiving
from tests.process.program import ROOT, Program
from tests.support.files import pins_of
from tests.support.raw import Tus
from tests.support.waiting import eventually

ORDINARY = (
    "import ctypes as c; c.CDLL(None).capset((c.c_uint32 * 2)(0x20080522, 0), (c.c_uint32 * 6)())"
)
"""Gives up what root may do more than others, before the program begins."""


@pytest.fixture
def small():
    with SmallDisk(24 * MIB) as disk:
        yield disk


@pytest.fixture
def roomy():
    with SmallDisk(80 * MIB) as disk:
        yield disk


@pytest.fixture
def thin():
    with ThinDisk() as disk:
        yield disk


@pytest.fixture
def failing():
    with FailingDisk() as disk:
        yield disk


def forget(path):
    """Have the kernel forget what it keeps of a file in memory: what is on the disk counts."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def outlives(server, upload):
    """Prove that an upload is complete on the disk, for whoever comes after this server."""
    path = server.data_file(upload.target)
    for file in (path, path.with_suffix(".meta")):
        forget(file)
    server.kill()
    server.start()
    upload.tus = Tus(server.url)
    assert upload.offset() == len(upload.data)
    upload.check()


# --- full -----------------------------------------------------------------------------------


@pytest.fixture
def unreserved(tmp_path):
    """An ext2 file system, where space cannot be reserved: somebody else may be faster."""
    image = tmp_path / "image"
    image.write_bytes(bytes(64 * MIB))
    with ImageDisk(image, "ext2") as disk:
        yield disk


def test_a_disk_that_fills_up_in_mid_patch_keeps_what_came(unreserved, make_server, dice):
    server = make_server(upload_dir=unreserved.place / "uploads")
    assert server.said("cannot reserve"), server.log
    upload = Upload(Tus(server.url), dice.randbytes(40 * MIB))
    assert upload.send(4 * MIB).status == 204
    filler = unreserved.place / "filler"
    filler.write_bytes(bytes(40 * MIB))
    answer = upload.send()
    assert (answer.status, answer.code) == (507, "storage_full")
    assert server.said("free some"), server.log
    assert 4 * MIB <= upload.offset() < 40 * MIB
    filler.unlink()
    upload.complete()


def test_a_disk_without_room_for_more_of_an_unknown_length_keeps_what_came(
    make_server, dice, roomy
):
    server = make_server(upload_dir=roomy.place / "uploads")
    tus, data = Tus(server.url), dice.randbytes(2 * MIB) * 34
    target = tus.create(None)
    assert tus.patch(target, 0, data[:MIB]).status == 204
    roomy.fill()
    # 64 MiB were reserved ahead.
    answer = tus.patch(target, MIB, data[MIB:])
    assert (answer.status, answer.code) == (507, "storage_full")
    assert server.said("free some space"), server.log
    offset = tus.offset(target)
    assert 60 * MIB < offset < len(data)
    roomy.make_room()
    end = {"Upload-Length": str(len(data))}
    assert tus.patch(target, offset, data[offset:], end).status == 204
    assert tus.content(target) == data


def test_an_upload_that_has_its_space_is_finished_on_a_full_disk(small, make_server, dice):
    server = make_server(upload_dir=small.place / "uploads")
    upload = Upload(Tus(server.url), dice.randbytes(4 * MIB))
    small.fill()
    assert upload.send(MIB).status == 204
    assert upload.complete(size=MIB).refusals == []


def test_without_room_to_count_what_limits_count_uploads_wait(small, make_server, dice):
    flags = ("--max-stored=1GiB", "--owner-max-appends=5")
    server = make_server(*flags, upload_dir=small.place / "uploads")
    upload = Upload(Tus(server.url), dice.randbytes(4 * MIB))
    assert upload.send(MIB).status == 204
    small.fill()
    answer = upload.send(MIB)
    assert (answer.status, answer.code) == (507, "storage_full")
    assert server.said("no space to count uploads: free some space"), server.log
    assert upload.offset() == MIB
    small.make_room()
    upload.complete()


def test_an_event_that_finds_no_room_is_told_when_there_is_some(small, make_server, dice):
    with receiving() as receiver:
        flags = (f"--webhook-url={receiver.url}", "--webhook-events=post-finish")
        server = make_server(*flags, upload_dir=small.place / "uploads")
        upload = Upload(Tus(server.url), dice.randbytes(MIB))
        small.fill()
        upload.complete()
        small.make_room()
        assert eventually(lambda: receiver.of("post-finish"), within=30.0), server.log


def test_a_log_on_a_full_disk_stops_no_upload(small, upload_dir, dice):
    log = small.place / "log"
    command = [sys.executable, "-m", "tusserver", "--port=0", f"--upload-dir={upload_dir}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        assert eventually(lambda: b"try it with" in log.read_bytes(), within=15.0)
        port = int(log.read_bytes().split(b"http://127.0.0.1:")[1].split(b"/")[0])
        tus = Tus(f"http://127.0.0.1:{port}/files/")
        small.fill()
        length = log.stat().st_size
        for _ in range(100):
            Upload(tus, dice.randbytes(5000)).complete()
        assert log.stat().st_size < length + 8192, "the disk was not full"
        small.make_room()
        late = Upload(tus, b"late").complete()
        upload_id = late.target.rpartition("/")[2].encode()
        assert eventually(lambda: upload_id in log.read_bytes(), within=5.0)
    finally:
        process.kill()
        process.wait()


# --- failing --------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["normal", "strict"])
def test_bytes_that_the_disk_refused_are_sent_again(failing, make_server, dice, durability):
    server = make_server(f"--durability={durability}", upload_dir=failing.place / "uploads")
    upload = Upload(Tus(server.url), dice.randbytes(4 * MIB))
    assert upload.send(MIB).status == 204
    failing.sync()
    failing.break_()
    answer = upload.send()
    assert (answer.status, answer.code) == (503, "storage_fault")
    assert server.said("(Input/output error): the disk or its connection fails"), server.log
    # Nothing is told that is not certain: the offset may fall to what was synced before.
    upload.told = 0
    synced = MIB if durability == "strict" else 0
    assert upload.offset() == synced
    failing.mend()
    upload.complete()
    outlives(server, upload)


def test_bytes_that_could_not_be_synced_at_a_graceful_stop_are_sent_again(
    failing, make_server, dice
):
    server = make_server(upload_dir=failing.place / "uploads")
    upload = Upload(Tus(server.url), dice.randbytes(4 * MIB))
    failing.sync()
    assert upload.send(MIB).status == 204
    failing.break_()
    server.terminate()
    assert server.said("could not be synced and falls back")
    failing.mend()
    server.start()
    upload.tus, upload.told = Tus(server.url), 0
    assert upload.offset() == 0
    upload.complete()
    outlives(server, upload)


def test_parts_that_a_thin_volume_had_no_room_to_join_are_joined_later(thin, make_server, dice):
    flags = ("--max-open=none", "--sweep-interval=1s")
    server = make_server(*flags, upload_dir=thin.place / "uploads")
    tus = Tus(server.url)
    data = dice.randbytes(4 * MIB)
    first = tus.upload(data[: 2 * MIB], {"Upload-Concat": "partial"})
    second = tus.create(2 * MIB, {"Upload-Concat": "partial"})
    final = tus.post({"Upload-Concat": f"final;{first} {second}"})
    target = tus.target(final.get("Location"))
    path = server.data_file(target)
    thin.break_blocks(path, MIB)
    assert tus.patch(second, 0, data[2 * MIB :]).status == 204
    assert server.said(f"no space for syncing {path}"), server.log
    # It is read from its parts meanwhile.
    assert tus.content(target) == data
    thin.mend()
    assert eventually(lambda: not pins_of(server.upload_dir), within=30.0), server.log
    forget(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("durability", ["normal", "strict"])
def test_bytes_that_a_thin_volume_had_no_room_for_are_sent_again(
    thin, make_server, dice, durability
):
    """The kernel took them, and says only at the sync that there was no space (ENOSPC)."""
    server = make_server(f"--durability={durability}", upload_dir=thin.place / "uploads")
    upload = Upload(Tus(server.url), dice.randbytes(4 * MIB))
    assert upload.send(MIB).status == 204
    thin.break_blocks(server.data_file(upload.target), MIB)
    if durability == "normal":
        # Acknowledged, as it would survive the death of the server; not yet on the disk.
        assert upload.send(MIB).offset == 2 * MIB
    answer = upload.send()
    assert (answer.status, answer.code) == (503, "storage_fault")
    assert server.said("no space for syncing"), server.log
    # Only what was synced is certain: the kernel tells of a lost write once.
    upload.told = 0
    assert upload.offset() <= MIB
    thin.mend()
    upload.complete()
    outlives(server, upload)


def test_a_file_that_cannot_be_read_is_not_served_as_something_else(failing, make_server, dice):
    server = make_server(upload_dir=failing.place / "uploads")
    data = dice.randbytes(4 * MIB)
    upload = Upload(Tus(server.url), data).complete()
    forget(server.data_file(upload.target))
    size = failing.image.stat().st_size
    kept = failing.image.read_bytes()
    os.truncate(failing.image, 0)
    try:
        with upload.tus.wire() as wire:
            wire.send(upload.tus.message("GET", upload.target))
            received = wire.socket.recv(65536)
        assert b"200 OK" not in received or data[:4096] not in received
    finally:
        failing.image.write_bytes(kept)
    assert size == len(kept)


# --- read-only ------------------------------------------------------------------------------


@pytest.fixture
def journaled(tmp_path):
    """A file system that becomes read-only when the kernel finds an error in it."""
    image = tmp_path / "image"
    image.write_bytes(bytes(64 * MIB))
    with ImageDisk(image, "ext4", options="errors=remount-ro") as disk:
        yield disk


def test_a_file_system_that_an_error_made_read_only_and_that_was_mended(
    journaled, make_server, dice
):
    server = make_server(upload_dir=journaled.place / "uploads")
    tus = Tus(server.url)
    done = Upload(tus, dice.randbytes(MIB)).complete()
    upload = Upload(tus, dice.randbytes(4 * MIB))
    journaled.sync()
    assert upload.send(MIB).status == 204
    # So the disk has the record of bytes that it does not have.
    with server.data_file(upload.target).with_suffix(".meta").open("rb") as ledger:
        os.fdatasync(ledger)
    journaled.find_error()
    for answer in (upload.send(), tus.post({"Upload-Length": "5"})):
        assert (answer.status, answer.code) == (503, "storage_fault")
        assert answer.get("Retry-After")
    assert server.said("the file system is read-only"), server.log
    assert upload.ask().status in {200, 423}
    done.check()
    assert server.terminate() == 0
    journaled.repair()
    server.start()
    # The machine runs on, but what its file system had not written is gone as after a power cut.
    for each in (upload, done):
        each.tus = Tus(server.url)
    upload.told = 0
    assert upload.offset() == 0
    upload.complete()
    outlives(server, upload)
    done.check()


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
def test_a_directory_that_the_user_may_not_write_any_more(upload_dir, dice, mode):
    with Program(directory=upload_dir, patch=ORDINARY) as program:
        tus = program.ready().tus
        upload = Upload(tus, dice.randbytes(MIB))
        assert upload.send(1000).status == 204
        folder = program.uploads / upload.target.rpartition("/")[2][:2]
        program.uploads.chmod(mode)
        folder.chmod(mode) if mode else None
        try:
            answer = tus.post({"Upload-Length": "5"})
            assert (answer.status, answer.code) == (503, "storage_fault")
            assert answer.get("Retry-After")
            # Its files stay open for a moment.
            expected = 200 if mode else 423
            assert eventually(lambda: upload.ask().status == expected, within=15.0)
            assert upload.send(1000).status == (204 if mode else 503)
            assert program.said("give the server's user the right to read and write there")
        finally:
            program.uploads.chmod(0o700)
            folder.chmod(0o700)
        upload.complete()
        assert tus.post({"Upload-Length": "5"}).status == 201
        assert "Traceback" not in program.log
