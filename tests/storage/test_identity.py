"""Whose directory it is, and in which life of the machine."""

from __future__ import annotations

import asyncio
import json
import logging
import stat

import pytest

from tests.state.uploads import make_upload
from tests.storage.fakes import opened
from tusserver.errors import ConfigError, StoreMismatch
from tusserver.storage import identity
from tusserver.storage.identity import BOOT_ID_VARIABLE, read_epoch
from tusserver.storage.local import LocalStorage


def store_json(directory):
    return directory / ".tusserver" / "store.json"


async def test_a_new_directory_gets_an_identity_that_stays(tmp_path):
    directory = tmp_path / "deep" / "uploads"
    async with opened(directory) as storage:
        first = storage.store_id
    async with opened(directory) as storage:
        assert storage.store_id == first
    assert json.loads(store_json(directory).read_text()) == {
        "store": first,
        "state": "local",
        "format": 1,
    }


async def test_what_is_not_an_upload_is_private(tmp_path):
    async with opened(tmp_path):
        private = tmp_path / ".tusserver"
        assert stat.S_IMODE(store_json(tmp_path).stat().st_mode) == 0o600
        for directory in (private, private / "run", private / "pins"):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert sorted(entry.name for entry in private.iterdir()) == ["pins", "run", "store.json"]


async def test_workers_that_start_at_once_agree_on_one_identity(tmp_path):
    storages = [
        LocalStorage(tmp_path, reserve=0, state_kind="local", mailbox_name="") for _ in range(8)
    ]
    await asyncio.gather(*(storage.open() for storage in storages))
    assert len({storage.store_id for storage in storages}) == 1
    for storage in storages:
        await storage.close()


async def test_another_kind_of_state_is_refused_naming_both_and_the_way_out(tmp_path):
    async with opened(tmp_path):
        pass
    with pytest.raises(ConfigError) as refused:
        async with opened(tmp_path, state="redis"):
            pass
    assert (refused.value.key, refused.value.value) == ("state", "redis")
    for word in ("'local'", "'redis'", "tusserver adopt", str(tmp_path)):
        assert word in refused.value.reason


async def test_adopting_changes_the_kind_of_state_and_keeps_the_store(tmp_path):
    async with opened(tmp_path) as storage:
        store_id = storage.store_id
    adopting = LocalStorage(tmp_path, reserve=0, state_kind="redis", mailbox_name="")
    assert await adopting.adopt() == store_id
    async with opened(tmp_path, state="redis") as storage:
        assert storage.store_id == store_id


async def test_adopting_a_new_directory_makes_a_store(tmp_path):
    adopting = LocalStorage(tmp_path / "new", reserve=0, state_kind="redis", mailbox_name="")
    store_id = await adopting.adopt()
    async with opened(tmp_path / "new", state="redis") as storage:
        assert storage.store_id == store_id


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"store": 1, "state": "local", "format": 1}'],
    ids=["empty", "cut", "list", "nothing", "number"],
)
async def test_a_damaged_identity_is_not_replaced(tmp_path, text):
    async with opened(tmp_path):
        pass
    store_json(tmp_path).write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        async with opened(tmp_path):
            pass
    assert store_json(tmp_path).read_text() == text


async def test_a_store_of_a_later_format_is_refused(tmp_path):
    async with opened(tmp_path):
        pass
    store_json(tmp_path).write_text('{"store": "a", "state": "local", "format": 2}')
    with pytest.raises(ConfigError, match="format 2"):
        async with opened(tmp_path):
            pass


async def test_a_directory_that_is_a_file_is_a_wrong_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as refused:
        async with opened(tmp_path / "file"):
            pass
    assert refused.value.key == "upload_dir"


async def test_a_record_of_another_store_is_a_mismatch_and_stays(tmp_path):
    upload = make_upload()
    async with opened(tmp_path) as storage:
        await (await storage.create(upload, sync=False)).release()
    store_json(tmp_path).unlink()
    async with opened(tmp_path) as storage:
        with pytest.raises(StoreMismatch):
            await storage.peek(upload.upload_id)
        assert await storage.scan(None, 10) == []
        assert await storage.sweep_orphans(older_than=-1) == 0
    assert len(list(tmp_path.glob("??/*"))) == 2


# --- the epoch ------------------------------------------------------------------------------


def test_the_epoch_is_the_same_at_each_start_of_one_boot(tmp_path, monkeypatch):
    monkeypatch.delenv(BOOT_ID_VARIABLE, raising=False)
    epoch = read_epoch(tmp_path)
    assert epoch == read_epoch(tmp_path)
    assert epoch.startswith(identity.BOOT_ID.read_text().strip())
    assert f"-{tmp_path.stat().st_dev:x}" in epoch


def test_the_file_that_the_variable_names_makes_the_epoch(tmp_path, monkeypatch):
    named = tmp_path / "boot"
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(named))
    named.write_text("first\n")
    first = read_epoch(tmp_path)
    named.write_text("second\n")
    assert first.startswith(f"first-{tmp_path.stat().st_dev:x}")
    assert read_epoch(tmp_path) == first.replace("first", "second")


@pytest.mark.parametrize(
    "content", [b"two words", b"x" * 500, b"\xff\xfe"], ids=["blank", "long", "binary"]
)
def test_an_epoch_is_short_and_has_no_blanks_whatever_the_file_holds(
    tmp_path, monkeypatch, content
):
    named = tmp_path / "boot"
    named.write_bytes(content)
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(named))
    epoch = read_epoch(tmp_path)
    assert epoch == read_epoch(tmp_path)
    assert len(epoch) <= 82
    assert epoch.isascii()
    assert not any(letter.isspace() for letter in epoch)


@pytest.mark.parametrize("content", [None, b" \n"], ids=["missing", "empty"])
def test_an_unreadable_boot_id_makes_a_new_epoch_each_time_with_one_warning(
    tmp_path, monkeypatch, caplog, content
):
    named = tmp_path / "boot"
    if content is not None:
        named.write_bytes(content)
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(named))
    with caplog.at_level(logging.WARNING):
        first = read_epoch(tmp_path)
    assert len(caplog.records) == 1
    assert BOOT_ID_VARIABLE in caplog.text
    assert read_epoch(tmp_path) != first


async def test_the_epoch_is_read_once_at_start(tmp_path, monkeypatch):
    named = tmp_path / "boot"
    named.write_text("first")
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(named))
    async with opened(tmp_path / "uploads") as storage:
        named.write_text("second")
        assert storage.epoch.startswith("first-")
