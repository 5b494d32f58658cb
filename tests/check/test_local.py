"""What `check` finds on this machine: real directories, a real Redis, real certificates."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.support.proxies import make_certificate
from tests.support.raw import Tus
from tests.support.waiting import eventually
from tusserver.check import Level, check_settings, machine
from tusserver.check.redis import _health
from tusserver.config import Settings
from tusserver.storage.identity import BOOT_ID_VARIABLE
from tusserver.storage.mounts import file_system

if TYPE_CHECKING:
    from tusserver.check import Finding

E, W = Level.ERROR, Level.WARNING


@pytest.fixture(autouse=True)
def right_clock(monkeypatch):
    """The clocks of machines that tests run on are of all kinds."""
    monkeypatch.setattr(machine, "is_synchronized", lambda: True)


@pytest.fixture
def directory(upload_dir) -> Path:
    upload_dir.chmod(0o750)
    return upload_dir


def found(directory: Path, **settings) -> dict[str, Finding]:
    """Give what is wrong, by its code."""
    chosen = Settings(**{"upload_dir": directory, "max_connections": 10, **settings})
    findings = [finding for finding in check_settings(chosen) if finding.level is not Level.OK]
    assert all(finding.remedy for finding in findings)
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}


def levels(findings: dict[str, Finding]) -> dict[str, Level]:
    return {code: finding.level for code, finding in findings.items()}


def test_nothing_is_wrong_with_a_directory_of_its_own_and_nothing_is_made(directory):
    assert found(directory) == {}
    assert list(directory.iterdir()) == []


def test_a_directory_that_is_not_there_is_not_made(directory):
    assert found(directory / "new" / "uploads") == {}
    assert list(directory.iterdir()) == []


def test_what_is_no_directory_is_found(directory):
    (directory / "file").touch()
    findings = found(directory / "file" / "uploads")
    assert findings["upload_dir"].level is E
    assert "--upload-dir" in findings["upload_dir"].remedy


def test_a_directory_that_cannot_be_written_is_found(directory):
    if os.geteuid() != 0:
        directory.chmod(0o550)
        assert found(directory)["upload_dir"].level is E
        return
    # Root can write everywhere but where nobody can.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", directory], check=True)
    try:
        assert found(directory)["upload_dir"].level is E
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_file_system_that_takes_no_files_is_found():
    findings = found(Path("/proc/tusserver"))
    assert findings["file_system_write" if os.geteuid() == 0 else "upload_dir"].level is E


@pytest.mark.parametrize(("mode", "level"), [(0o777, E), (0o755, W), (0o1777, E)], ids=str)
def test_a_directory_that_is_open_to_all_is_found(directory, mode, level):
    directory.chmod(mode)
    findings = found(directory)
    assert levels(findings) == {"upload_dir_mode": level}
    assert "chmod o-rwx" in findings["upload_dir_mode"].remedy


def test_a_reserve_that_is_larger_than_the_disk_is_found(directory):
    findings = found(directory, reserve="1000TiB")
    assert levels(findings) == {"space": E}
    assert "--reserve" in findings["space"].remedy


def test_a_disk_that_is_nearly_full_is_found(directory):
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    assert levels(found(directory, reserve=free - 2**29)) == {"space": W}


@pytest.mark.skipif(
    file_system(Path("/dev/shm")) != "tmpfs", reason="there is no tmpfs"  # noqa: S108
)  # fmt: skip
def test_a_file_system_in_memory_is_found():
    findings = found(Path("/dev/shm/tusserver-check"))  # noqa: S108
    assert findings["file_system"].level is W
    assert "tmpfs" in findings["file_system"].text


def test_weak_durability_is_found(directory):
    assert levels(found(directory, durability="process")) == {"durability": W}


def test_a_directory_that_was_made_for_another_state_is_found(make_server, redis_server):
    server = make_server()
    findings = found(server.upload_dir, state=redis_server.url)
    assert findings["store"].level is E
    assert "tusserver adopt" in findings["store"].remedy


def test_a_damaged_store_is_found(directory):
    (directory / ".tusserver").mkdir()
    (directory / ".tusserver" / "store.json").write_text("{")
    assert levels(found(directory)) == {"store": E}


def _settled(directory: Path) -> list[Path]:
    """Give what lies there once nothing comes or goes by itself (counters open when first used)."""
    seen: list[list[Path]] = [[]]

    def is_settled() -> bool:
        seen.append(sorted(directory.rglob("*")))
        time.sleep(0.3)
        return sorted(directory.rglob("*")) == seen[-1]

    assert eventually(is_settled)
    return seen[-1]


def test_a_running_server_is_not_disturbed(make_server):
    server = make_server()
    Tus(server.url).upload(b"settled")
    before = _settled(server.upload_dir)
    assert not [finding for finding in found(server.upload_dir).values() if finding.level is E]
    assert sorted(server.upload_dir.rglob("*")) == before
    assert server.is_running


# --- Redis


def test_a_redis_that_keeps_what_it_is_told_is_right_and_left_alone(directory, redis_server):
    assert found(directory, state=redis_server.url) == {}
    assert redis_server.cli("DBSIZE") == 0


WRONG = {
    "no append-only file": ({"appendonly": "no"}, ("redis_appendonly", W, "appendonly yes")),
    "eviction": ({"maxmemory_policy": "allkeys-lru"}, ("redis_eviction", E, "noeviction")),
    "little memory": ({"maxmemory": "900kb"}, ("redis_memory", W, "maxmemory")),
    "a replica": ({"replicaof": "127.0.0.1 9"}, ("redis_role", E, "master")),
}


@pytest.mark.parametrize(("options", "expected"), WRONG.values(), ids=WRONG)
def test_a_redis_that_may_lose_records_is_found(directory, start_redis, options, expected):
    code, level, remedy = expected
    findings = found(directory, state=start_redis(**options).url)
    assert levels(findings) == {code: level}
    assert remedy in findings[code].remedy


def test_a_redis_that_cannot_write_to_its_disk_is_found():
    info = {"aof_last_write_status": "err", "rdb_last_bgsave_status": "ok", "maxmemory": 0}
    [finding] = _health(info)
    assert (finding.code, finding.level) == ("redis_persistence", E)


def test_a_redis_that_asks_for_a_password_is_found_and_none_is_shown(directory, start_redis):
    server = start_redis(requirepass="open sesame")
    url = f"redis://:wrong-password@127.0.0.1:{server.port}/0"
    findings = found(directory, state=url)
    assert levels(findings) == {"redis": E}
    assert "wrong-password" not in findings["redis"].text
    assert found(directory, state=url.replace("wrong-password", "open%20sesame")) == {}


def test_a_redis_that_is_not_there_is_found(directory):
    findings = found(directory, state=f"redis://127.0.0.1:{free_port()}/0")
    assert levels(findings) == {"redis": E}
    assert "--state" in findings["redis"].remedy


def test_a_redis_that_hangs_is_not_waited_for_long(directory, redis_server):
    redis_server.pause()
    start = time.monotonic()
    assert levels(found(directory, state=redis_server.url)) == {"redis": E}
    assert time.monotonic() - start < 8


def test_a_redis_of_another_store_is_found(directory, redis_server):
    redis_server.cli("SET", "tus:store", "of somebody else")
    findings = found(directory, state=redis_server.url)
    assert levels(findings) == {"redis_store": E}
    assert "of another store" in findings["redis_store"].text


# --- the machine


def test_a_boot_id_that_cannot_be_read_is_found(directory, monkeypatch):
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(directory / "missing"))
    findings = found(directory)
    assert levels(findings) == {"boot_id": W}
    assert BOOT_ID_VARIABLE in findings["boot_id"].remedy


def test_a_clock_that_nobody_sets_is_found(directory, monkeypatch):
    monkeypatch.setattr(machine, "is_synchronized", lambda: False)
    assert levels(found(directory)) == {"clock": W}
    monkeypatch.setattr(machine, "OLDEST_YEAR", 2999)
    assert levels(found(directory)) == {"clock": E}


def test_the_kernel_is_asked_for_its_clock(monkeypatch):
    monkeypatch.undo()
    assert machine.is_synchronized() in {True, False}


def test_more_connections_than_files_are_found(directory, monkeypatch):
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (1024, 4096))
    assert found(directory, max_connections=1000) == {}
    findings = found(directory, max_connections=2000)
    assert levels(findings) == {"descriptors": W}
    assert "LimitNOFILE=" in findings["descriptors"].remedy


# --- credentials, and whom the server calls


@pytest.mark.parametrize(
    ("days", "expected"), [(30, {}), (3, {"tls": W}), (-1, {"tls": E})], ids=str
)
def test_a_certificate_is_found_before_it_ends(directory, tmp_path, days, expected):
    file = tmp_path / "both.pem"
    make_certificate(file, days=days)
    assert levels(found(directory, tls_certificate=file, tls_key=file)) == expected


def test_a_certificate_without_its_key_is_found(directory, tmp_path):
    one, other, none = tmp_path / "one.pem", tmp_path / "other.pem", tmp_path / "none.pem"
    make_certificate(one)
    make_certificate(other)
    assert levels(found(directory, tls_certificate=one, tls_key=other)) == {"tls": E}
    assert levels(found(directory, tls_certificate=one, tls_key=none)) == {"tls": E}
    none.write_text("no certificate")
    assert levels(found(directory, tls_certificate=none, tls_key=one)) == {"tls": E}


def test_a_server_that_is_open_to_all_is_found(directory):
    findings = found(directory, host="0.0.0.0")  # noqa: S104
    assert levels(findings) == {"access": W}
    guarded = found(directory, host="0.0.0.0", jwt_secret="x" * 32)  # noqa: S104
    assert guarded == {}
    assert found(directory, host="0.0.0.0", unix_socket="/run/x") == {}  # noqa: S104


def test_a_key_that_is_none_is_found(directory, tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    assert levels(found(directory, jwt_public_key=tmp_path / "key.pem")) == {"jwt_key": E}


def test_trust_in_everybody_is_found(directory):
    assert levels(found(directory, trusted_proxies="0.0.0.0/0,unix")) == {"trusted_proxies": W}


def test_a_receiver_of_events_that_is_not_there_is_found(directory):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        there = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        assert found(directory, webhook_url=there) == {}
    findings = found(directory, webhook_url=there)
    assert levels(findings) == {"webhook": E}
    assert "--webhook-url" in findings["webhook"].remedy
