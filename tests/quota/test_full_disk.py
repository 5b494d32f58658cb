"""A full disk is told as one, whoever meets it first."""

from __future__ import annotations

import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.raw import Tus


@pytest.fixture
def small_disk():
    """Give a directory on a file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; remedy: run as root")
    folder = Path(tempfile.mkdtemp(prefix="tus-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


def test_a_creation_on_a_full_disk_is_507_and_the_remedy_is_space(small_disk, make_server):
    server = make_server(upload_dir=small_disk / "uploads")
    tus = Tus(server.url)
    tus.create(5)
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass
    answers = [tus.post({"Upload-Length": "5"}) for _ in range(3)]
    assert {answer.status for answer in answers} == {507}
    assert {answer.code for answer in answers} == {"storage_full"}
    assert server.said("free some"), server.log
    assert "--max-open none" not in server.log
    told = ready(server)
    assert "free some space" in told
    assert "make it writable" not in told
    (small_disk / "filler").unlink()
    assert tus.post({"Upload-Length": "5"}).status == 201


def ready(server):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
