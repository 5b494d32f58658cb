"""Published files: one name each, never in the place of another, also over crashes."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import tempfile
import time
from base64 import b64encode
from pathlib import Path

import pytest

from tests.state.uploads import make_upload
from tusserver.errors import StorageFault, StorageFull
from tusserver.storage import publishing
from tusserver.storage.layout import Places
from tusserver.storage.publications import DONE, INTENT, Publication, PublicationBook
from tusserver.storage.publishing import LinkPublisher
from tusserver.upload import Status, new_upload_id


class House:
    """An upload directory, the operator's directory, and what publishes from one to the other."""

    def __init__(self, root, target):
        self.uploads = root / "uploads"
        Places(self.uploads).private.mkdir(parents=True)
        self.target = target

    def publisher(self, template="{name}", *, collision="number", mode=None, sync=True):
        return LinkPublisher(
            self.uploads,
            self.target,
            template=template,
            collision=collision,
            mode=mode,
            sync=sync,
        )

    async def opened(self, template="{name}", **more):
        made = self.publisher(template, **more)
        await made.open()
        return made

    def finished(self, name, data=b"hello", **fields):
        """Make a finished upload of this name; give its record and its file."""
        upload = make_upload(
            upload_id=new_upload_id(),
            metadata=f"filename {b64encode(name.encode()).decode()}",
            status=Status.COMPLETE,
            length=len(data),
            offset=len(data),
            synced=len(data),
            **fields,
        )
        path = self.uploads / upload.upload_id
        path.write_bytes(data)
        path.chmod(0o640)
        return upload, path

    def tree(self):
        return {
            path.relative_to(self.target).as_posix(): path.read_bytes()
            for path in self.target.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def elsewhere(tmp_path):
    """Give a directory on another file system than that of the uploads."""
    shared = Path("/dev/shm")  # noqa: S108 - a tmpfs everywhere
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system; remedy: mount a tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder) / "published"


@pytest.fixture(params=["link", "copy"])
def house(request, tmp_path):
    """Publish by a link, and to another file system."""
    linked = request.param == "link"
    return House(
        tmp_path, tmp_path / "published" if linked else request.getfixturevalue("elsewhere")
    )


async def test_a_finished_file_gets_its_name_and_keeps_its_own(house):
    publisher = await house.opened("{year}/{owner}/{name}")
    upload, data = house.finished("film.mp4", owner="åsa")
    path = await publisher.publish(upload, data)
    assert path == f"{upload.created_at:%Y}/åsa/film.mp4"
    assert house.tree() == {path: b"hello"}
    assert data.read_bytes() == b"hello"
    assert await publisher.published(upload.upload_id) == path


async def test_it_is_the_same_path_each_time(house):
    publisher = await house.opened()
    upload, data = house.finished("film.mp4")
    assert {await publisher.publish(upload, data) for _ in range(3)} == {"film.mp4"}
    again = await house.opened("other/{id}")
    assert await again.publish(upload, data) == "film.mp4"
    assert list(house.tree()) == ["film.mp4"]


@pytest.mark.parametrize("collision", ["number", "id"])
async def test_a_name_that_is_taken_is_never_replaced(house, collision):
    publisher = await house.opened(collision=collision)
    (house.target / "film.mp4").write_bytes(b"precious")
    upload, data = house.finished("film.mp4")
    expected = "film (2).mp4" if collision == "number" else f"film-{upload.upload_id}.mp4"
    assert await publisher.publish(upload, data) == expected
    assert house.tree() == {"film.mp4": b"precious", expected: b"hello"}


async def test_many_of_one_name_at_the_same_moment_get_names_of_their_own(house):
    publishers = [await house.opened() for _ in range(3)]
    made = [house.finished("film.mp4", b"%d" % number) for number in range(12)]
    paths = await asyncio.gather(
        *(publishers[index % 3].publish(*one) for index, one in enumerate(made))
    )
    assert len(set(paths)) == len(made)
    assert sorted(house.tree().values()) == sorted(b"%d" % number for number in range(12))
    assert all(
        (house.target / path).read_bytes() == data.read_bytes()
        for path, (_, data) in zip(paths, made, strict=True)
    )


async def test_two_processes_publish_one_upload_once(house):
    first, second = await house.opened(), await house.opened()
    upload, data = house.finished("film.mp4", b"x" * 5_000_000)
    results = await asyncio.gather(
        first.publish(upload, data), second.publish(upload, data), first.publish(upload, data)
    )
    assert results == ["film.mp4"] * 3
    assert list(house.tree()) == ["film.mp4"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


@pytest.mark.parametrize("step", range(8))
async def test_a_crash_between_any_two_steps_leaves_one_name(house, monkeypatch, step):
    """Stop before the nth call that changes something outside; a new process goes on."""
    upload, data = house.finished("film.mp4")
    calls = 0

    def dying(function):
        def wrapper(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls > step:
                raise Killed
            return function(*arguments, **named)

        return wrapper

    publisher = await house.opened()
    with monkeypatch.context() as patched:
        patched.setattr(publishing.os, "link", dying(os.link))
        patched.setattr(publishing.os, "fsync", dying(os.fsync))
        patched.setattr(publishing, "_drop", dying(publishing._drop))
        original = publishing.Page.write
        patched.setattr(publishing.Page, "write", dying(original))
        with pytest.raises(Killed):
            publisher._publish(upload, data)
    with monkeypatch.context() as patched:
        # The clean-up that ran in this process would not have run in a killed one; what is left
        # under a temporary name is ours and goes with the next try.
        patched.setattr(publishing.os, "link", os.link)
        fresh = await house.opened()
        path = await fresh.publish(upload, data)
    assert house.tree() == {path: b"hello"}
    assert path == "film.mp4"
    assert [path.name for path in house.target.iterdir()] == ["film.mp4"]


async def test_a_name_that_was_intended_but_went_to_somebody_else_is_left_to_them(house):
    publisher = await house.opened()
    upload, data = house.finished("film.mp4")
    book = PublicationBook(Places(house.uploads).private / "published")
    with book.page(upload.upload_id, sync=True) as page:
        page.write(Publication(INTENT, ("film.mp4",), (1, 2)), sync=True)
    (house.target / "film.mp4").write_bytes(b"precious")
    assert await publisher.publish(upload, data) == "film (2).mp4"
    assert house.tree()["film.mp4"] == b"precious"


async def test_a_torn_line_of_the_book_is_passed_over(house):
    book = PublicationBook(Places(house.uploads).private / "published")
    upload, _ = house.finished("film.mp4")
    done = Publication(DONE, ("a", "film.mp4"), (1, 2))
    with book.page(upload.upload_id, sync=True) as page:
        page.write(done, sync=True)
    path = Places(house.uploads).private / "published" / upload.upload_id
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-5])
    assert book.read(upload.upload_id) == done


async def test_a_planted_symbolic_link_leads_nowhere(house, tmp_path):
    publisher = await house.opened("{owner}/{name}")
    outside = tmp_path / "outside"
    outside.mkdir()
    (house.target / "åsa").symlink_to(outside)
    upload, data = house.finished("film.mp4", owner="åsa")
    with pytest.raises(StorageFault):
        await publisher.publish(upload, data)
    assert list(outside.iterdir()) == []


async def test_a_link_at_the_end_of_the_path_is_a_name_that_is_taken(house, tmp_path):
    publisher = await house.opened()
    (house.target / "film.mp4").symlink_to(tmp_path / "nowhere")
    upload, data = house.finished("film.mp4")
    assert await publisher.publish(upload, data) == "film (2).mp4"
    assert not (tmp_path / "nowhere").exists()


async def test_a_directory_that_is_gone_is_not_made_anew(house, caplog):
    publisher = await house.opened()
    house.target.rmdir()
    upload, data = house.finished("film.mp4")
    with pytest.raises(StorageFault):
        await publisher.publish(upload, data)
    assert not house.target.exists()
    assert str(house.target) in caplog.text
    house.target.mkdir()
    assert await publisher.publish(upload, data) == "film.mp4"


async def test_the_mode_of_what_is_published_can_be_chosen(house):
    publisher = await house.opened(mode=0o644)
    upload, data = house.finished("film.mp4")
    path = await publisher.publish(upload, data)
    assert stat.S_IMODE((house.target / path).stat().st_mode) == 0o644


async def test_forgetting_an_upload_keeps_what_was_published(house):
    publisher = await house.opened()
    upload, data = house.finished("film.mp4")
    await publisher.publish(upload, data)
    await publisher.forget(upload.upload_id)
    await publisher.forget(upload.upload_id)
    data.unlink()
    assert house.tree() == {"film.mp4": b"hello"}
    assert await publisher.published(upload.upload_id) == ""


async def test_without_hard_links_nothing_is_replaced_either(house, monkeypatch):
    """As on vfat: link(2) is refused everywhere, names are given by renaming."""

    def refused(*_arguments, **_named):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(publishing.os, "link", refused)
    publisher = await house.opened()
    (house.target / "film.mp4").write_bytes(b"precious")
    upload, data = house.finished("film.mp4")
    assert await publisher.publish(upload, data) == "film (2).mp4"
    assert house.tree() == {"film.mp4": b"precious", "film (2).mp4": b"hello"}
    # And when the name is taken just before it is given:
    (house.target / ".x").write_bytes(b"x")
    folder = os.open(house.target, os.O_RDONLY)
    try:
        assert publishing._name(".x", "film.mp4", folder) is False
    finally:
        os.close(folder)
    assert house.tree()["film.mp4"] == b"precious"


async def test_a_file_shorter_than_its_record_is_not_published(elsewhere, tmp_path):
    house = House(tmp_path, elsewhere)
    publisher = await house.opened()
    upload, data = house.finished("film.mp4")
    data.write_bytes(b"hel")
    with pytest.raises(StorageFault):
        await publisher.publish(upload, data)
    assert house.tree() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root; remedy: run as root")
async def test_a_full_disk_publishes_nothing_and_the_next_try_does(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", small)
    try:
        house = House(tmp_path, small / "published")
        publisher = await house.opened()
        upload, data = house.finished("film.mp4", b"x" * 3_000_000)
        with pytest.raises(StorageFull):
            await publisher.publish(upload, data)
        assert house.tree() == {}
        mount("-o", "remount,size=8m", small)
        assert await publisher.publish(upload, data) == "film.mp4"
    finally:
        subprocess.run(["umount", small], check=True)  # noqa: ASYNC221 - takes a millisecond


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


async def test_a_program_may_take_the_file_away_as_soon_as_it_has_its_name(house, monkeypatch):
    """As one that watches the directory does."""
    publisher = await house.opened(mode=0o644)
    upload, data = house.finished("film.mp4")
    taken = house.target.parent / "taken"
    give_name = publishing._name

    def named_and_taken(temporary, name, folder):
        named = give_name(temporary, name, folder)
        (house.target / name).rename(taken)
        return named

    monkeypatch.setattr(publishing, "_name", named_and_taken)
    assert await publisher.publish(upload, data) == "film.mp4"
    assert await publisher.publish(upload, data) == "film.mp4"
    assert house.tree() == {}
    assert stat.S_IMODE(taken.stat().st_mode) == 0o644
    taken.unlink()


@pytest.mark.parametrize("killed", [False, True], ids=["in one life", "after a crash"])
async def test_the_number_of_a_copy_that_goes_is_no_proof_any_more(
    elsewhere, tmp_path, monkeypatch, killed
):
    """The next file may get that number, and the name: it must not be taken for the copy."""
    house = House(tmp_path, elsewhere)
    publisher = await house.opened()
    upload, data = house.finished("film.mp4")
    book = PublicationBook(Places(house.uploads).private / "published")
    temporary = house.target / f".{upload.upload_id}.tmp"

    def refuse(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    if killed:
        temporary.write_bytes(b"hel")
        left = temporary.stat()
        with book.page(upload.upload_id, sync=True) as page:
            intent = Publication(INTENT, ("film.mp4",), (left.st_dev, left.st_ino))
            page.write(intent, sync=True)
    monkeypatch.setattr(publishing, "copy_range" if killed else "_name", refuse)
    with pytest.raises(StorageFault):
        await publisher.publish(upload, data)
    assert not temporary.exists()
    assert book.read(upload.upload_id) == Publication(INTENT, ("film.mp4",), (0, 0))


async def test_a_copy_that_takes_long_does_not_hold_up_the_end(elsewhere, tmp_path, monkeypatch):
    house = House(tmp_path, elsewhere)
    publisher = await house.opened()
    upload, data = house.finished("film.mp4", bytes(1000))
    copy_range = publishing.copy_range

    def slow(source, target, *, count, at, to):
        time.sleep(0.005)
        return copy_range(source, target, count=1, at=at, to=to)

    monkeypatch.setattr(publishing, "copy_range", slow)
    copying = asyncio.create_task(publisher.publish(upload, data))
    await asyncio.sleep(0.1)
    publisher.stop()
    async with asyncio.timeout(4):
        with pytest.raises(StorageFault, match="stopping"):
            await copying
        await publisher.close()
    assert list(house.target.iterdir()) == []
    monkeypatch.setattr(publishing, "copy_range", copy_range)
    assert await (await house.opened()).publish(upload, data) == "film.mp4"


async def test_a_file_that_is_gone_holds_up_nothing(house, caplog):
    publisher = await house.opened()
    upload, data = house.finished("film.mp4")
    data.unlink()
    assert await publisher.publish(upload, data) == ""
    assert "its file is gone" in caplog.text
    assert house.tree() == {}
    assert list((Places(house.uploads).private / "published").iterdir()) == []


async def test_a_file_that_is_too_large_there_is_tried_again(elsewhere, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EFBIG, "File too large")

    house = House(tmp_path, elsewhere)
    publisher = await house.opened()
    monkeypatch.setattr(publishing, "copy_range", refuse)
    with pytest.raises(StorageFault):
        await publisher.publish(*house.finished("film.mp4"))
    assert list(house.target.iterdir()) == []
