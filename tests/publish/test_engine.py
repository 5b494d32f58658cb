"""When finished files are published: before anybody is told, and after any crash."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import pytest

from tests.engine.conftest import FedBody, eventually, no_op
from tusserver import CallableHooks, Settings, build_engine
from tusserver.ports import Decision
from tusserver.protocol.messages import Append, Create, Part
from tusserver.upload import EventState, UploadId

NAME = f"filename {b64encode(b'film.mp4').decode()}"


@pytest.fixture
async def build(tmp_path):
    """Build engines that publish, on one directory; all are closed at the end."""
    engines = []

    async def make(hooks=None, *, template="{name}", state="local", start=True):
        settings = Settings(
            upload_dir=tmp_path / "uploads",
            publish=template,
            publish_dir=tmp_path / "films",
            state=state,
            sweep_interval=3600.0,
        )
        engine = build_engine(settings, hooks)
        if start:
            await engine.start()
            engines.append(engine)
        return engine

    yield make
    for engine in engines:
        await engine.close()


def films(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "films").iterdir()}


async def create(engine, length, *, body=None, **more):
    command = Create(length=length, metadata=NAME, has_body=body is not None, **more)
    return (await engine.create(command, body or FedBody(), proceed=no_op)).upload


async def append(engine, upload, data, offset=0):
    command = Append(upload_id=upload.upload_id, offset=offset)
    return (await engine.append(command, FedBody(data), proceed=no_op)).upload


async def sent(engine, upload):
    record, _ = await engine.parts.records.load(upload.upload_id)
    return record is not None and record.event is EventState.SENT


@pytest.mark.parametrize("state", ["local", "redis"])
async def test_the_event_tells_the_path_and_the_file_is_there(build, tmp_path, request, state):
    told = []

    async def post_finish(event):
        told.append((event.published, films(tmp_path)))

    url = request.getfixturevalue("redis_server").url if state == "redis" else "local"
    engine = await build(CallableHooks(post_finish=post_finish), state=url)
    upload = await create(engine, 5)
    assert films(tmp_path) == {}
    await append(engine, upload, b"hello")
    assert await eventually(lambda: told)
    assert told == [("film.mp4", {"film.mp4": b"hello"})]


async def test_without_anybody_to_tell_it_is_published_all_the_same(build, tmp_path):
    engine = await build()
    made = [
        await create(engine, 5, body=FedBody(b"hello")),
        await create(engine, 0),
        await append(engine, await create(engine, 5), b"world"),
    ]
    for upload in made:
        assert await eventually(lambda upload=upload: sent(engine, upload))
    assert sorted(films(tmp_path).values()) == [b"", b"hello", b"world"]


async def test_parts_are_not_published_and_what_is_made_of_them_is(build, tmp_path):
    engine = await build()
    parts = []
    for data in (b"hello ", b"world"):
        part = await create(engine, len(data), partial=True, concat="partial")
        parts.append(await append(engine, part, data))
    command = Create(
        length=None,
        metadata=NAME,
        parts=tuple(Part(upload_id=part.upload_id) for part in parts),
        concat="final;x y",
    )
    final = (await engine.create(command, FedBody(), proceed=no_op)).upload
    assert await eventually(lambda: sent(engine, final))
    assert films(tmp_path) == {"film.mp4": b"hello world"}
    _, segments = await engine.content(final.upload_id)
    assert [segment.length for segment in segments] == [11]


async def test_while_it_cannot_be_published_nobody_is_told_and_it_is_tried_again(
    build, tmp_path, monkeypatch, caplog
):
    told = []

    async def post_finish(event):
        told.append(event.published)

    monkeypatch.setattr("tusserver.engine.events.RETRY_FIRST", 0.05)
    engine = await build(CallableHooks(post_finish=post_finish))
    (tmp_path / "films").rmdir()
    upload = await append(engine, await create(engine, 5), b"hello")
    assert upload.is_complete
    assert await eventually(lambda: "films" in caplog.text)
    await asyncio.sleep(0.2)
    assert told == []
    (tmp_path / "films").mkdir()
    assert await eventually(lambda: told)
    assert set(told) == {"film.mp4"}
    assert films(tmp_path) == {"film.mp4": b"hello"}


async def test_what_a_crash_left_unpublished_is_published_by_the_next_process(build, tmp_path):
    first = await build()
    (tmp_path / "films").rmdir()
    upload = await append(first, await create(first, 5), b"hello")
    await first.close()
    second = await build()
    assert await eventually(lambda: sent(second, upload))
    assert films(tmp_path) == {"film.mp4": b"hello"}


async def test_removing_the_upload_leaves_what_was_published(build, tmp_path):
    engine = await build()
    upload = await append(engine, await create(engine, 5), b"hello")
    assert await eventually(lambda: sent(engine, upload))
    await engine.terminate(upload.upload_id)
    assert films(tmp_path) == {"film.mp4": b"hello"}
    assert await engine.parts.publisher.published(upload.upload_id) == ""


async def test_an_upload_that_is_removed_at_once_is_published_before(build, tmp_path):
    engine = await build()
    for _ in range(10):
        upload = await append(engine, await create(engine, 5), b"hello")
        await engine.terminate(upload.upload_id)
    assert list(films(tmp_path).values()) == [b"hello"] * 10


async def test_an_id_that_is_given_again_is_published_again(build, tmp_path):
    given = UploadId("0123456789abcdef" * 2)

    async def before_create(_event):
        return Decision(upload_id=given)

    engine = await build(CallableHooks(pre_create=before_create))
    upload = await create(engine, 3, body=FedBody(b"abc"))
    assert await eventually(lambda: sent(engine, upload))
    [note] = (tmp_path / "uploads" / ".tusserver" / "published").iterdir()
    written = note.read_bytes()
    await engine.terminate(given)
    note.write_bytes(written)  # As where a crash came before it was forgotten.
    again = await create(engine, 3, body=FedBody(b"xyz"))
    assert await eventually(lambda: sent(engine, again))
    assert films(tmp_path) == {"film.mp4": b"abc", "film (2).mp4": b"xyz"}
