"""The pages of signed URLs on the disk: one holder, nothing lost, nothing kept for ever."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from tusserver.errors import StorageFault, UploadLocked
from tusserver.gates import GrantEntry
from tusserver.storage import grantbook
from tusserver.storage.files import open_locked
from tusserver.storage.grantbook import FileGrantBook
from tusserver.upload import Kind, UploadId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GRANT = "a" * 32
ENTRY = GrantEntry(UploadId("b" * 32), Kind.PARTIAL, None, 12.5)


@pytest.fixture
async def book(upload_dir: Path) -> AsyncIterator[FileGrantBook]:
    (upload_dir / ".tusserver").mkdir()
    made = FileGrantBook(upload_dir)
    yield made
    await made.close()


@pytest.fixture
def page_file(upload_dir: Path) -> Path:
    return upload_dir / ".tusserver" / "grants" / GRANT


async def test_a_page_is_kept_as_it_was_changed_even_when_an_error_ended_it(book):
    async def fail() -> None:
        async with book.page(GRANT) as page:
            page.used, page.ends = True, 7.0
            page.entries.append(ENTRY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with book.page(GRANT) as page:
        assert (page.used, page.ends, page.entries) == (True, 7.0, [ENTRY])
    async with book.page("c" * 32) as other:
        assert other.entries == []


async def test_many_holders_take_turns(book, upload_dir):
    other = FileGrantBook(upload_dir)

    async def enter(which: FileGrantBook, number: int) -> None:
        async with which.page(GRANT) as page:
            count = len(page.entries)
            await asyncio.sleep(0)
            page.entries.append(GrantEntry(UploadId(f"{number:032x}"), Kind.SINGLE, 1, 0.0))
            assert len(page.entries) == count + 1

    await asyncio.gather(*(enter((book, other)[n % 2], n) for n in range(40)))
    async with book.page(GRANT) as page:
        assert {entry.upload_id for entry in page.entries} == {f"{n:032x}" for n in range(40)}
    await other.close()


async def test_a_page_that_somebody_holds_for_too_long_is_locked(book, page_file, monkeypatch):
    monkeypatch.setattr(grantbook, "LET_GO", 0.1)
    async with book.page(GRANT):
        pass
    descriptor = open_locked(page_file)
    with pytest.raises(UploadLocked):
        async with book.page(GRANT):
            pass
    os.close(descriptor)
    async with book.page(GRANT) as page:
        assert not page.used


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b'{"used": 1}', b"\xff", b"null"])
async def test_a_spoilt_page_is_an_empty_one(book, page_file, spoilt):
    async with book.page(GRANT) as page:
        page.used = True
    page_file.write_bytes(spoilt)
    async with book.page(GRANT) as page:
        assert (page.used, page.entries) == (False, [])
        page.used = True
    async with book.page(GRANT) as page:
        assert page.used


async def test_pages_of_urls_that_ended_long_ago_are_dropped(book, page_file):
    now = time.time()
    for number, ends in enumerate((now - 100, now + 100)):
        async with book.page(f"{number}" * 32) as page:
            page.used, page.ends = True, ends
    left = page_file.with_name(f"{GRANT}.0123abcd.tmp")
    left.touch()
    os.utime(left, (now - 7200, now - 7200))
    await book.forget(now)
    assert [path.name for path in page_file.parent.iterdir()] == ["1" * 32]


async def test_forgetting_before_there_was_a_page_does_nothing(book):
    await book.forget(time.time())


async def test_a_disk_that_fails_is_a_fault(upload_dir, caplog):
    (upload_dir / ".tusserver").touch()
    made = FileGrantBook(upload_dir)
    with pytest.raises(StorageFault):
        async with made.page(GRANT):
            pass
    await made.close()
