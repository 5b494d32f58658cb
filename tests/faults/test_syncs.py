"""A disk that refuses a sync, and a volume that came to another machine."""

from __future__ import annotations

import pytest

from tests.faults.stream import content, first_difference
from tests.support.disk import made_disk
from tests.support.raw import Tus
from tests.support.server import TusServer

MIB = 1024 * 1024
LARGE = 70 * MIB
"""Synced once in the background, before its end."""


class Refusing(TusServer):
    """A server whose disk refuses one sync of data."""

    def _command(self):
        command = super()._command()
        command[1:3] = ["-m", "tests.faults.refusing"]
        return command


@pytest.fixture(
    params=[
        ("normal", 300_000, 1),
        ("strict", 300_000, 1),
        ("normal", LARGE, 1),
        ("strict", LARGE, 3),
    ],
    ids=["at the finish", "before an answer", "in the background", "at a checkpoint"],
)
def refusing(request, upload_dir):
    """A server whose disk refuses a sync, and the length of an upload that meets it."""
    durability, length, refuses_at = request.param
    environment = {"REFUSES_AT": str(refuses_at)}
    with Refusing(
        "--durability", durability, upload_dir=upload_dir, environment=environment
    ) as server:
        yield server, length


@pytest.mark.timeout(120)
def test_bytes_that_a_failed_sync_lost_are_sent_again(refusing, seed):
    server, length = refusing
    tus = Tus(server.url)
    target = tus.create(length)
    offset, refused = 0, 0
    while offset < length:
        with tus.wire(timeout=60) as wire:
            answer = tus.patch(target, offset, content(seed, offset, length), wire=wire)
        assert answer.status in {204, 503}, answer
        refused += answer.status == 503
        offset = tus.offset(target)
    assert refused == 1
    assert server.said("Input/output error")
    expected, found = content(seed, 0, length), tus.content(target)
    assert found == expected, first_difference(found, expected)


def test_a_volume_that_came_to_another_machine_goes_on_from_what_was_synced(seed):
    with made_disk() as disk:
        boot_id = disk.image.with_name("boot-id")
        boot_id.write_text("one machine")
        environment = {"TUSSERVER_BOOT_ID_FILE": str(boot_id)}
        uploads = disk.mount_point / "uploads"
        with TusServer(upload_dir=uploads, environment=environment) as server:
            tus = Tus(server.url)
            whole = tus.upload(content(seed, 0, 200_000))
            half = tus.create(2_000_000)
            assert tus.patch(half, 0, content(seed, 0, 1_200_000)).offset == 1_200_000
            server.kill()
            disk.unmount()
            disk.mount()
            boot_id.write_text("another machine")
            server.start()
            assert tus.content(whole) == content(seed, 0, 200_000)
            # Nobody here knows what the other machine had brought to the disk.
            offset = tus.offset(half)
            assert offset == 0
            assert tus.patch(half, offset, content(seed, offset, 2_000_000)).status == 204
            assert tus.content(half) == content(seed, 0, 2_000_000)
