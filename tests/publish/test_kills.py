"""Servers that are killed while they publish: one name an upload, whole, and told once."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import pytest

from tests.hooks.receivers import receiving
from tests.support.raw import Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually

ROUNDS = 6


@pytest.mark.timeout(90)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["linked", "copied"])
def test_killed_at_any_moment_each_upload_gets_one_name(tmp_path, elsewhere, second_file_system):
    target = (second_file_system if elsewhere else tmp_path) / "films"
    dice = random.Random(7)
    data = {}
    with receiving() as receiver:
        flags = ["--publish", "{name}", "--publish-dir", str(target), "--sweep-interval", "1s"]
        flags += ["--webhook-url", receiver.url, "--webhook-events", "post-finish"]
        with TusServer(*flags) as server:
            for number in range(ROUNDS):
                content = bytes([number]) * 300_000
                tus = Tus(server.url)
                upload = tus.create(len(content), {"Upload-Metadata": "filename ZmlsbS5tcDQ="})
                data[upload.rpartition("/")[2]] = content
                with tus.wire() as wire:
                    wire.send(tus.append_message(upload, 0, content))
                    time.sleep(dice.random() * 0.05)
                    server.kill()
                server.start()
                tus = Tus(server.url)
                offset = tus.offset(upload)
                if offset < len(content):
                    tus.patch(upload, offset, content[offset:])

            def all_told():
                return {got.upload_id for got in receiver.of("post-finish")} == set(data)

            assert eventually(all_told, within=15)
            paths = {}
            for got in receiver.of("post-finish"):
                path = got.message["Tusserver"]["Published"]
                assert paths.setdefault(got.upload_id, path) == path
            assert server.terminate() == 0
    assert len(set(paths.values())) == ROUNDS
    names = {path.name for path in target.iterdir()}
    assert names == set(paths.values())
    for upload_id, path in paths.items():
        assert (target / path).read_bytes() == data[upload_id]


@pytest.fixture
def second_file_system():
    shared = Path("/dev/shm")  # noqa: S108 - a tmpfs everywhere
    if not shared.is_dir():
        pytest.skip("there is no second file system; remedy: mount a tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)
