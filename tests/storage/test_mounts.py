"""On what kind of file system a directory lies."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath

import pytest

from tests.storage.fakes import opened
from tusserver.storage import mounts
from tusserver.storage.mounts import file_system, is_network, parse_mounts

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /sys rw,nosuid - sysfs sysfs rw
41 22 0:52 / /srv/nfs rw,relatime shared:9 - nfs4 host:/export rw,vers=4.2
42 22 0:53 / /srv/my\\040share rw - cifs //host/share rw
43 22 0:54 / /srv/ssh rw - fuse.sshfs user@host: rw
44 22 0:60 /@home /srv/b rw - btrfs /dev/vdb rw
45 44 0:61 / /srv/b/deep rw - tmpfs tmpfs rw
46 22 0:62 / /srv/x rw - fuse/weird x rw
broken line
"""


@pytest.mark.parametrize(
    ("device", "path", "kind"),
    [
        ("254:0", "/srv/uploads", "ext4"),
        ("0:52", "/srv/nfs/uploads", "nfs4"),
        ("0:53", "/srv/my share/uploads", "cifs"),
        ("0:999", "/srv/my share/uploads", "cifs"),
        ("0:54", "/srv/ssh", "fuse.sshfs"),
        ("0:999", "/srv/b/uploads", "btrfs"),
        ("0:999", "/srv/b/deep/er", "tmpfs"),
        ("0:999", "/srv/bother", "ext4"),
    ],
    ids=["root", "nfs", "blank", "blank by path", "fuse", "subvolume", "mount in it", "prefix"],
)
def test_the_file_system_is_found_by_device_or_else_by_path(device, path, kind):
    assert parse_mounts(TABLE, device=device, path=PurePosixPath(path)) == kind


def test_an_empty_table_tells_nothing():
    assert parse_mounts("", device="1:1", path=PurePosixPath("/")) == "unknown"


@pytest.mark.parametrize(
    ("kind", "network"),
    [(kind, True) for kind in ("nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.sshfs", "9p")]
    + [(kind, False) for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "unknown")],
    ids=str,
)
def test_network_file_systems_are_known_by_name(kind, network):
    assert is_network(kind) is network


async def test_on_a_local_disk_writes_are_durable(storage):
    assert storage.durable_writes


async def test_on_a_network_file_system_writes_are_not_taken_for_durable(
    tmp_path, monkeypatch, caplog
):
    table = tmp_path / "mountinfo"
    table.write_text("41 22 0:0 / / rw - nfs4 host:/export rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    with caplog.at_level(logging.WARNING):
        async with opened(tmp_path / "uploads") as storage:
            assert not storage.durable_writes
    assert "nfs4" in caplog.text


def test_without_a_table_the_file_system_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "missing")
    assert file_system(tmp_path) == "unknown"
