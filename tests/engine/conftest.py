"""An engine on real files, with a clock that tests turn and bodies that tests feed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tusserver.body import BodyEnd
from tusserver.engine.core import UploadEngine
from tusserver.engine.parts import EngineParts
from tusserver.engine.records import Records
from tusserver.hooks.callables import CallableHooks
from tusserver.protocol.digests import DigestRules
from tusserver.protocol.messages import Append, Create, Part
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.storage.wake import DatagramMailbox
from tusserver.upload import Durability, Limits

ALL = frozenset(
    {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "termination",
        "expiration",
        "concatenation",
        "download",
    }
)


class RecordingStorage(LocalStorage):
    """Real files; every record takes the way by `record`, for tests that stand in it."""

    def record_at_once(self, _lease, _upload):
        return False


class TurnedClock:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.wall = datetime(2026, 1, 1, tzinfo=UTC)
        self.seconds = 0.0

    def now(self):
        return self.wall

    def monotonic(self):
        return self.seconds

    def pass_(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


class FedBody:
    """A body that a test feeds."""

    def __init__(self, *chunks, length=None, end=BodyEnd.COMPLETE, trailers=None):
        self.length = length
        self.end = None
        self.last_byte_at = asyncio.get_running_loop().time()
        self._chunks = asyncio.Queue()
        self._trailers = trailers or {}
        self._closing = end
        for chunk in chunks:
            self.feed(chunk)
        if end is not None:
            self.feed(b"")

    def feed(self, chunk):
        self._chunks.put_nowait(chunk)

    def finish(self, end=BodyEnd.COMPLETE):
        self._closing = end
        self.feed(b"")

    async def read(self):
        if self.end is not None:
            return b""
        chunk = await self._chunks.get()
        if self.end is not None:
            return b""
        if not chunk:
            self.end = self._closing
        else:
            self.last_byte_at = asyncio.get_running_loop().time()
        return chunk

    def stop(self, why):
        if self.end is None:
            self.end = why
            self.feed(b"")

    def trailer(self, name):
        return self._trailers.get(name)


async def no_op():
    return None


class House:
    """An engine and short ways to use it."""

    def __init__(self, engine, directory, clock):
        self.engine = engine
        self.parts = engine.parts
        self.directory = directory
        self.clock = clock

    async def create(self, length=None, *, body=None, partial=False, **more):
        command = Create(
            length=length,
            partial=partial,
            concat="partial" if partial else "",
            has_body=body is not None,
            **more,
        )
        created = await self.engine.create(command, body or FedBody(), proceed=no_op)
        return created.upload

    async def join(self, *uploads):
        parts = tuple(Part(upload_id=upload.upload_id) for upload in uploads)
        command = Create(length=None, parts=parts, concat="final;...")
        return (await self.engine.create(command, FedBody(), proceed=no_op)).upload

    async def append(self, upload, offset, body, **more):
        command = Append(upload_id=upload.upload_id, offset=offset, **more)
        return (await self.engine.append(command, body, proceed=no_op)).upload

    def start_append(self, upload, offset, body, **more):
        return asyncio.create_task(self.append(upload, offset, body, **more))

    async def head(self, upload):
        return await self.engine.describe(upload.upload_id)

    async def record(self, upload):
        return (await self.parts.records.load(upload.upload_id))[0]

    def data(self, upload):
        path = self.directory / upload.upload_id[:2] / upload.upload_id
        return path.read_bytes()

    async def content(self, upload):
        found, segments = await self.engine.content(upload.upload_id)
        data = b"".join(segment.path.read_bytes()[: segment.length] for segment in segments)
        assert len(data) == found.length
        return data

    async def receiving(self, upload):
        """Wait until an append of this process receives."""
        for _ in range(500):
            work = self.parts.slots.holder(upload.upload_id)
            if work is not None and work.progress is not None and work.phase.value == "receiving":
                return work
            await asyncio.sleep(0.005)
        raise AssertionError("nothing is being received")


async def eventually(check, *, seconds=5.0):
    """Wait until `check` holds, an awaitable or a plain one."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value or asyncio.get_running_loop().time() > deadline:
            return value
        await asyncio.sleep(0.01)


@pytest.fixture
async def build(tmp_path):
    """Build engines on one directory; all are closed at the end."""
    houses = []

    async def make(
        *,
        hooks=None,
        limits=None,
        durability="normal",
        storage=LocalStorage,
        grace=300.0,
        state_url=None,
        clock=None,
        started=True,
        chores=True,
        extensions=ALL,
        digests=None,
    ):
        mailbox = DatagramMailbox(tmp_path)
        kind = "redis" if state_url else "local"
        store = storage(tmp_path, reserve=0, state_kind=kind, mailbox_name=mailbox.name)
        state = RedisState(state_url) if state_url else LocalState(store)
        clock = clock or TurnedClock()
        parts = EngineParts(
            storage=store,
            state=state,
            records=Records(store, state),
            mailbox=mailbox,
            hooks=hooks or CallableHooks(),
            clock=clock,
            limits=limits or Limits(),
            durability=Durability(durability),
            extensions=extensions,
            digests=digests or DigestRules(),
        )
        engine = UploadEngine(parts, sweep_interval=3600.0, sweep_grace=grace)
        house = House(engine, tmp_path, clock)
        if started:
            await engine.start(chores=chores)
            houses.append(house)
        return house

    yield make
    for house in reversed(houses):
        await house.engine.close()


@pytest.fixture
async def house(build):
    return await build()
