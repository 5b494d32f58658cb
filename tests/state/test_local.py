"""The ledger as the state: what it notices, and that its answers stay bounded."""

from __future__ import annotations

import pytest

from tests.state.conftest import LocalBench
from tests.state.uploads import NOW, due, make_upload
from tusserver.errors import StateConflict
from tusserver.state import local


@pytest.fixture
async def bench(tmp_path):
    async with LocalBench.opened(tmp_path) as opened:
        yield opened


async def test_it_says_that_it_is_the_ledger(bench):
    assert bench.state.is_ledger
    assert bench.state.kind == "local"


async def test_an_add_before_the_ledger_was_written_is_noticed(bench):
    with pytest.raises(StateConflict, match="The ledger holds no record"):
        await bench.state.add(make_upload())


async def test_a_save_before_the_ledger_was_written_is_noticed(bench):
    upload = make_upload()
    await bench.create(upload)

    with pytest.raises(StateConflict, match="holds version 1 of the upload, not version 2"):
        await bench.state.save(upload.next(offset=10))


async def test_the_ledger_s_record_is_the_truth_even_against_a_higher_version(bench):
    upload = make_upload()
    await bench.create(upload)

    assert await bench.state.restore(upload.next(offset=10)) == upload


async def test_what_is_committed_is_there_when_the_directory_is_opened_again(bench, tmp_path):
    upload = make_upload()
    await bench.create(upload)
    await bench.commit(upload.next(offset=10))

    async with LocalBench.opened(tmp_path) as again:
        assert await again.state.get(upload.upload_id) == upload.next(offset=10)


async def test_the_oldest_are_found_across_batches(bench, monkeypatch):
    monkeypatch.setattr(local, "SCAN_BATCH", 3)
    uploads = [make_upload(expires_at=due(-number)) for number in range(10)]
    for upload in uploads:
        await bench.create(upload)

    found = await bench.state.expired(NOW, 4)

    assert found == [upload.upload_id for upload in reversed(uploads)][:4]
